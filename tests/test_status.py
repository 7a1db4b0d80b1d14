"""The status: what is up to date, what is stale and why; and what garbage collection removes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import CommandLine, contents, run_all_steps

from defectfill.api import run_category
from defectfill.cli_format import status_lines
from defectfill.config.run import load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import read_table
from defectfill.io.images import read_mask, write_png
from defectfill.operations.garbage import collect_garbage
from defectfill.operations.prepare import latest_run, prepare_run, start_run
from defectfill.operations.report import finished_run
from defectfill.operations.review.apply import apply_review
from defectfill.operations.status import status
from defectfill.runs.keys import METHOD_VERSION
from defectfill.runs.run import Run

pytestmark = pytest.mark.runs


def edit(config: Path, old: str, new: str) -> Path:
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    return config


def lines_of(config: Path) -> list[str]:
    """Return what the command prints."""
    return list(status_lines(status(load_config(config))))


def test_status_says_what_is_stale_and_why_and_what_is_to_do(finished_config: Path) -> None:
    run = start_run(load_config(finished_config))
    assert lines_of(finished_config) == [f"washer: up to date: {run.dataset}"]
    with (run.folder / "timings.jsonl").open("ab") as timings:
        timings.write(b'{"step": "inpaint", "sec')  # as a killed process leaves it

    edit(finished_config, "count: 5", "count: 7")
    lines = lines_of(finished_config)
    assert lines[:2] == [f"washer: stale: {run.dataset}", "  generate.count was 5, is 7"]
    assert lines[2].startswith("hole: adapter is there; 2 of 7 samples to paint")
    assert lines[-1].endswith("by what the last run took")

    edit(finished_config, "count: 7, candidates: 2", "count: 5, candidates: 3")
    assert lines_of(finished_config)[1] == "  generate.candidates was 2, is 3"
    edit(finished_config, "candidates: 3", "candidates: 2")

    reference = next(each for each in run.snapshot() if (each.role, each.defect) == ("reference", "hole"))
    mask = run.config.category_folder / reference.mask_path
    whole = read_mask(mask)
    write_png(mask, whole & (whole.cumsum(axis=1) > 1))
    normal = run.config.category_folder / "train" / "good" / "000.png"
    (normal.parent / "more.png").write_bytes((normal.parent / "001.png").read_bytes()[:-12] + b"broken")
    with pytest.raises(Exception, match=r"more\.png"):
        status(load_config(finished_config))
    (normal.parent / "more.png").unlink()
    normal.unlink()
    lines = lines_of(finished_config)
    assert lines[1:3] == ["  1 files removed: train/good/000.png", f"  1 files changed: {reference.mask_path}"]
    assert lines[3].startswith("hole: adapter to be trained for 2 steps; 5 of 5 samples to paint")
    assert lines[4].startswith("scratch: adapter is there")


def test_the_work_that_is_left_says_that_an_older_runs_shards_are_taken_over(toy_config: Path) -> None:
    edit(toy_config, "generate: {", "generate: {painter: paste, ")
    taken_over = "at most: what an older run has painted, and would come out the same, is taken over"
    assert taken_over not in lines_of(toy_config)
    run = run_all_steps(toy_config)
    (run.config.category_folder / "train" / "good" / "000.png").unlink()
    lines = lines_of(toy_config)
    assert [line for line in lines if line.startswith("hole: ")] == ["hole: 5 of 5 samples to paint"]
    assert lines[lines.index("scratch: 5 of 5 samples to paint") + 1] == taken_over


def test_a_run_of_a_version_with_other_keys_is_stale_and_in_no_ones_way(finished_config: Path) -> None:
    run = start_run(load_config(finished_config))
    record = json.loads((run.folder / "run.json").read_bytes())
    record["method_version"] = METHOD_VERSION - 1
    record["config"]["train"]["pool"] = record["config"]["train"].pop("latent_cache")
    old = run.folder.rename(run.folder.with_name("000000000000"))
    (old / "run.json").write_text(json.dumps(record))
    (run.category_output / "latest").write_text("000000000000\n")

    config = load_config(finished_config)
    assert latest_run(config) is None
    lines = lines_of(finished_config)
    assert lines[:2] == [f"washer: stale: {old}/dataset", "  it was made by another version of defectfill"]
    assert lines[2].startswith("hole: adapter is there; 5 of 5 samples to paint")
    assert collect_garbage(config, keep=0).removed == ()
    assert run_all_steps(finished_config).folder == run.folder
    assert lines_of(finished_config) == [f"washer: up to date: {run.dataset}"]
    assert collect_garbage(config, keep=0).removed == (str(old),)


def test_a_dataset_that_lost_files_is_not_up_to_date_and_a_run_puts_them_back(finished_config: Path) -> None:
    run = start_run(load_config(finished_config))
    dataset = contents(run.dataset)
    image, *more = sorted((run.dataset / "images" / "hole").iterdir())
    image.unlink()
    lines = lines_of(finished_config)
    assert lines[:2] == [
        f"washer: stale: {run.dataset}",
        f"  1 files of the dataset are missing: images/hole/{image.name}",
    ]
    assert lines[2].startswith("hole: adapter is there; 0 of 5 samples to paint")
    more[0].write_bytes(b"")
    image.write_bytes(dataset[f"images/hole/{image.name}"])
    assert lines_of(finished_config)[1].startswith("  the dataset's files have ")
    (run.dataset / "manifest.parquet").unlink()
    assert lines_of(finished_config)[1].startswith("  1 files of the dataset are missing: manifest.parquet")
    shutil.rmtree(run.dataset)
    assert lines_of(finished_config)[1] == f"  {run.dataset} is missing"
    run_all_steps(finished_config)
    assert contents(run.dataset) == dataset
    for damage in (b"\xff", b"../../elsewhere"):
        (run.category_output / "latest").write_bytes(damage)
        assert latest_run(load_config(finished_config)) is None
    (run.dataset / "Thumbs.db").write_bytes(b"of a file browser")
    assert lines_of(finished_config) == [f"washer: up to date: {run.dataset}"]


def test_a_latest_that_names_no_run_is_not_another_versions_and_a_run_mends_it(finished_config: Path) -> None:
    run = start_run(load_config(finished_config))
    latest = run.category_output / "latest"
    whole = latest.read_bytes()
    for content in (b"", b"0123456789ab\n"):
        latest.write_bytes(content)
        assert lines_of(finished_config) == [f"washer: up to date: {run.dataset}"]
        assert finished_run(str(finished_config)) == run
        assert run_category(load_config(finished_config)) == str(run.dataset)
        assert latest.read_bytes() == whole
    edit(finished_config, "candidates: 2", "candidates: 3")
    shutil.rmtree(run.folder)
    with pytest.raises(DataError, match=f"expected a finished run of it, found none that {latest} names; run it"):
        finished_run(str(finished_config))
    assert lines_of(finished_config)[0] == "washer: no run has been finished"


def test_the_run_that_was_asked_for_last_is_the_latest_and_a_config_names_its_own(toy_config: Path) -> None:
    edit(toy_config, "{count: 5,", "{count: 2, painter: paste,")
    text = toy_config.read_text()
    first = run_all_steps(toy_config)
    toy_config.write_text(text.replace("seed: 3", "seed: 4"))
    second = run_all_steps(toy_config)
    assert second.is_latest()
    toy_config.write_text(text)
    assert finished_run(str(toy_config)) == first
    assert run_category(load_config(toy_config)) == first.dataset_uri
    assert first.is_latest()
    toy_config.write_text(text.replace("seed: 3", "seed: 5"))
    assert finished_run(str(toy_config)) == first
    (toy_config.parent / "data").rename(toy_config.parent / "on another disk")
    assert finished_run(str(toy_config)) == first


def test_a_finished_run_follows_its_moved_data_and_output(toy_config: Path) -> None:
    root = toy_config.parent
    edit(toy_config, "{count: 5,", "{count: 1, painter: paste,")
    run = run_all_steps(toy_config)
    for name in ("out", "data"):
        (root / name).rename(root / f"moved-{name}")
        edit(toy_config, f"{root}/{name}", f"{root}/moved-{name}")
    config = load_config(toy_config)
    moved = Run.at(config.category_output / "runs" / run.folder.name)
    assert moved.config != config
    assert run_category(config) == moved.dataset_uri
    assert Run.at(moved.folder).config == config
    rows = read_table(moved.dataset / "manifest.parquet")
    sample = next(row["sample_id"] for row in rows if row["origin"] == "synthetic")
    (root / "review.csv").write_text(f"id,decision,note\n{sample},reject,\n")
    assert apply_review(finished_run(str(toy_config)), root / "review.csv").taken_out == 1


def test_status_verifies_contents_where_it_is_asked_to(finished_config: Path, command_line: CommandLine) -> None:
    run = start_run(load_config(finished_config))
    image = min((run.dataset / "images" / "hole").iterdir())
    content = bytearray(image.read_bytes())
    content[-20] ^= 1
    image.write_bytes(content)
    assert command_line("status", finished_config).code == 0
    ended = command_line("status", finished_config, "--verify")
    assert ended.code == 2
    assert f"images/hole/{image.name} has changed: its hash is not the row's" in ended.err
    assert ended.err.endswith(f"remove {run.dataset} and run again to have it written anew")
    shutil.rmtree(run.dataset)
    assert verify_dataset(run_all_steps(finished_config).dataset).rows > 0


def test_who_may_only_read_an_output_is_told_its_status(finished_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(load_config(finished_config))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # also where the tests may write anywhere
    assert lines_of(finished_config) == [f"washer: up to date: {run.dataset}"]
    with pytest.raises(ConfigError, match="is not a folder that can be written to"):
        prepare_run(load_config(finished_config))


def test_a_run_that_was_moved_reads_its_own_files(toy_config: Path, tmp_path: Path) -> None:
    run = start_run(load_config(toy_config))
    snapshot = run.snapshot()
    shutil.copytree(run.category_output, tmp_path / "elsewhere")
    shutil.rmtree(run.category_output)
    moved = Run.at(tmp_path / "elsewhere" / "runs" / run.folder.name)
    assert moved.record == run.record
    assert moved.snapshot() == snapshot
    assert moved.uri == str(moved.folder)
    assert moved.adapter_folder("hole").parent == tmp_path / "elsewhere" / "adapters"
    assert Run.at(Path(os.path.relpath(moved.folder))) == moved


def test_garbage_is_what_no_kept_run_points_to(finished_config: Path) -> None:
    def made(old: str, new: str) -> Run:
        return run_all_steps(edit(finished_config, old, new))

    first = made("count: 5", "count: 1")
    adapters = [str(first.adapter_folder(defect)) for defect in ("hole", "scratch")]
    second = made("steps: 2, batch_size: 1", "steps: 3, batch_size: 1")
    third = made("candidates: 2", "candidates: 1")
    dataset = contents(third.dataset)
    config = load_config(finished_config)
    assert collect_garbage(config, keep=2).removed == (first.uri, *adapters)
    assert collect_garbage(config, keep=2).removed == ()
    assert second.folder.is_dir()
    assert collect_garbage(config, keep=0).removed == (second.uri,)
    assert contents(third.dataset) == dataset
    others = [third.folder.with_name(f"{third.folder.name}-backup"), third.adapter_folder("hole").with_name("mine")]
    for folder in others:
        folder.mkdir()
    (third.category_output / "latest").write_bytes(b"\xff\xfe")
    assert collect_garbage(config, keep=0).removed == ()
    assert all(folder.is_dir() for folder in others)
    assert third.adapter_folder("hole").is_dir()
    assert lines_of(finished_config) == [f"washer: up to date: {third.dataset}"]
    rows = next(third.folder.glob("shards/*/*/rows.arrow"))
    rows.write_bytes(b"")
    with pytest.raises(DataError, match=f"{rows}: expected what a step of the run wrote, .*; remove {rows.parent} and"):
        collect_garbage(config, keep=0)


def test_garbage_is_a_stopped_training_that_no_kept_run_goes_on_with(toy_config: Path) -> None:
    trainings = []
    for steps in (2, 3, 4):
        edit(toy_config, f"steps: {max(steps - 1, 2)}, batch", f"steps: {steps}, batch")
        run = start_run(load_config(toy_config))
        os.utime(run.folder, (steps, steps))
        trainings.append(run.training_folder("hole"))
        trainings[-1].mkdir(parents=True)
        (trainings[-1] / "00000001.checkpoint").write_bytes(b"checkpoint")
    foreign = trainings[0].with_name(".mine.work")
    foreign.mkdir()
    config = load_config(toy_config)
    assert collect_garbage(config, keep=3).removed == ()
    oldest = min(config.category_output.glob("runs/*"), key=os.path.getmtime)
    assert collect_garbage(config, keep=2).removed == (str(oldest), str(trainings[0]))
    assert [path.is_dir() for path in (*trainings, foreign)] == [False, True, True, True]
    assert collect_garbage(config, keep=0).removed[1:] == (str(trainings[1]),)
    assert [path.is_dir() for path in trainings] == [False, False, True]
    assert [path.name for path in trainings[2].iterdir()] == ["00000001.checkpoint"]
