"""A run begun again: what is done is found, what was cut short or changed is made anew, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import contents, paint, run_all_steps
from PIL import Image
from test_pipeline import manifest

from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.dataset.annotated import annotation_margin_px
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.images import read_mask, write_png
from defectfill.operations.lock import locked
from defectfill.operations.prepare import start_run
from defectfill.painting.label import grown
from defectfill.records.plan import Shard
from defectfill.runs.plan import read_plan
from defectfill.runs.planner import plan_samples, shards_to_do
from defectfill.runs.run import Run
from defectfill.synthesis.shards import inpaint_shard

pytestmark = pytest.mark.runs


def test_raising_the_count_extends_the_dataset_and_touches_nothing_made_before(
    finished: Run, finished_config: Path
) -> None:
    finished_config.write_text(finished_config.read_text().replace("count: 5", "count: 7"))
    before = contents(finished.dataset)
    run = run_all_steps(finished_config)
    after = contents(run.dataset)
    assert run.folder.name == finished.folder.name
    assert all(after[path] == content for path, content in before.items() if path.endswith(".png"))
    shutil.rmtree(run.category_output)
    assert contents(run_all_steps(finished_config).dataset) == after


def test_what_is_done_is_found_and_not_done_again(finished: Run) -> None:
    config_path = Path(finished.config.output.root).parent / "toy.yaml"
    stamps = {path: path.stat().st_mtime_ns for path in finished.category_output.rglob("*.safetensors")}
    run = start_run(load_config(config_path))
    assert run.is_finished()
    assert shards_to_do(run) == []
    train_adapter(run, "hole")
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.category_output.rglob("*.safetensors")}


KILLED_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import run_all_steps
run_all_steps(Path({config!r}))
"""


def test_a_run_killed_while_painting_ends_with_the_same_bytes(finished: Run, trained_config: Path) -> None:
    code = KILLED_RUN.format(tests=str(Path(__file__).parent), config=str(trained_config))
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    out = trained_config.parent / "out"
    deadline = time.monotonic() + 120
    while not list(out.rglob("shards/hole/0*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not list(out.rglob("manifest.parquet"))
    assert contents(run_all_steps(trained_config).dataset) == contents(finished.dataset)


def test_a_source_that_changed_after_ingest_is_a_data_error(toy_config: Path) -> None:
    run = start_run(load_config(toy_config))
    train_adapter(run, "hole")
    plan_samples(run)
    [spec] = read_plan(run, "hole", 0, 1)
    (run.config.category_folder / spec.source_path).write_bytes(b"another")
    with pytest.raises(DataError, match=spec.source_path):
        inpaint_shard(run, Shard("hole", 0, 1))
    assert not list(run.folder.rglob("shards/hole/*"))


def test_changed_references_make_another_run_and_another_adapter(toy_config: Path) -> None:
    first = start_run(load_config(toy_config))
    record = next(record for record in first.snapshot() if record.role == "reference" and record.defect == "hole")
    path = first.config.category_folder / record.path
    image = np.array(Image.open(path))
    image[0, 0] += 1
    Image.fromarray(image).save(path)
    second = start_run(load_config(toy_config))
    assert first.folder != second.folder
    assert first.adapter_folder("hole") != second.adapter_folder("hole")
    assert first.adapter_folder("scratch") == second.adapter_folder("scratch")


def test_a_second_process_is_kept_out(toy_config: Path) -> None:
    config = load_config(toy_config)
    with (
        locked(config),
        pytest.raises(ConfigError, match="another run is working"),
        locked(config),
    ):
        pass
    with locked(config):
        pass


@pytest.fixture
def copied(finished_config: Path) -> Run:
    """The finished run, to break."""
    return start_run(load_config(finished_config))


def test_the_dataset_is_replaced_whole(copied: Run, finished: Run) -> None:
    (copied.dataset / "images" / "stray.png").write_bytes(b"stray")
    write_dataset(copied)
    assert contents(copied.dataset) == contents(finished.dataset)


def test_a_shard_that_is_missing_in_the_middle_is_painted_again(copied: Run, finished: Run) -> None:
    shutil.rmtree(copied.shard_folder(Shard("hole", 2, 4)))
    assert shards_to_do(copied) == [Shard("hole", 2, 4)]
    with pytest.raises(DataError, match="expected the planned sample hole-000002"):
        write_dataset(copied)
    assert copied.is_finished(), "the dataset is as it was"
    inpaint_shard(copied, Shard("hole", 2, 4))
    write_dataset(copied)
    assert contents(copied.dataset) == contents(finished.dataset)


def test_a_shards_file_that_was_changed_does_not_reach_the_dataset(copied: Run) -> None:
    image = next(copied.shard_folder(Shard("hole", 0, 2)).rglob("images/hole/*.png"))
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(DataError, match=image.name):
        write_dataset(copied)


def test_a_lowered_count_paints_no_more_and_makes_a_smaller_dataset(copied: Run) -> None:
    config = Path(copied.config.output.root).parent / "toy.yaml"
    config.write_text(config.read_text().replace("count: 5", "count: 3"))
    fewer = start_run(load_config(config))
    shutil.rmtree(fewer.folder / "shards" / "hole")
    assert shards_to_do(fewer) == [Shard("hole", 0, 2), Shard("hole", 2, 3)]
    run_all_steps(config)
    assert sum(row["origin"] == "synthetic" for row in manifest(fewer)) == 6


def test_the_planned_mask_is_the_label_where_that_is_asked_for(copied: Run, finished: Run) -> None:
    config = Path(copied.config.output.root).parent / "toy.yaml"
    config.write_text(config.read_text() + "dataset: {label: planned}\n")
    run = run_all_steps(config)
    for row, drawn in zip(manifest(run), manifest(finished), strict=True):
        assert row["drawn_mask_path"] == drawn["drawn_mask_path"]
        assert row["mask_path"] == (row["planned_mask_path"] or drawn["mask_path"])
    assert verify_dataset(run.dataset).rows == len(manifest(run))


def test_the_label_is_as_wide_as_people_draw_where_that_is_asked_for(copied: Run, finished: Run) -> None:
    config = Path(copied.config.output.root).parent / "toy.yaml"
    config.write_text(config.read_text() + "dataset: {label: annotated}\n")
    run = run_all_steps(config)
    for row, drawn in zip(manifest(run), manifest(finished), strict=True):
        if row["origin"] == "real":
            assert row["mask_path"] == drawn["mask_path"]
            continue
        assert row["drawn_mask_path"] == drawn["mask_path"]
        label, tight = (read_mask(run.dataset / str(row[name])) for name in ("mask_path", "drawn_mask_path"))
        np.testing.assert_array_equal(label, grown(tight, annotation_margin_px(run.folder, str(row["defect"]))))
    assert f"{annotation_margin_px(run.folder, 'hole')} px for hole" in (run.dataset / "README.md").read_text()
    assert verify_dataset(run.dataset).rows == len(manifest(run))


def test_a_run_stopped_between_dataset_and_mark_is_not_finished(copied: Run) -> None:
    assert copied.is_finished()
    copied.mark_unfinished()
    (copied.category_output / "latest").unlink()
    assert not copied.is_finished()
    write_dataset(copied)
    assert copied.is_finished()
    assert (copied.category_output / "latest").read_text().strip() == copied.folder.name
    assert (copied.folder / "contact_sheet.png").is_file()


def test_precision_and_kind_of_device_make_another_run_and_the_bases_name_no_other_adapter(
    toy_config: Path, base_folder: Path
) -> None:
    text = toy_config.read_text()
    first = start_run(load_config(toy_config))
    toy_config.write_text(text.replace("device: cpu", "device: cpu, precision: bf16"))
    rough = start_run(load_config(toy_config))
    assert first.folder != rough.folder
    assert first.adapter_folder("hole") != rough.adapter_folder("hole")
    renamed = shutil.copytree(base_folder, toy_config.parent / "renamed")
    toy_config.write_text(text.replace(str(base_folder), str(renamed)))
    assert start_run(load_config(toy_config)).adapter_folder("hole") == first.adapter_folder("hole")


def test_a_corrected_reference_paints_its_own_defect_anew_and_no_other(finished_config: Path) -> None:
    before = start_run(load_config(finished_config))
    reference = next(record for record in before.snapshot() if (record.role, record.defect) == ("reference", "hole"))
    mask = before.config.category_folder / reference.mask_path
    corrected = read_mask(mask)
    corrected[:, : corrected.any(axis=0).argmax() + 2] = False
    write_png(mask, corrected)
    after = run_all_steps(finished_config)
    assert after.folder != before.folder

    def written(run: Run, defect: str) -> dict[str, int]:
        folder = run.folder / "shards" / defect
        return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.png")}

    assert written(after, "scratch") == written(before, "scratch")  # copied
    assert written(after, "hole") != written(before, "hole")
    dataset = contents(after.dataset)
    for damaged in (before.folder / "shards/scratch").rglob("images/scratch/*.png"):
        damaged.write_bytes(damaged.read_bytes() + b"more")
    shutil.rmtree(after.folder / "shards/scratch")
    paint(after)  # what is damaged is not copied
    write_dataset(after)
    assert contents(after.dataset) == dataset
    shutil.rmtree(after.folder.parent)
    assert contents(run_all_steps(finished_config).dataset) == dataset
