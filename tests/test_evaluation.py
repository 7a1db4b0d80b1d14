"""Whether a dataset helps: arms, trials that are found again, intervals, verdicts."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import TOY_CONFIG, CommandLine, contents, put_stand_in_adapter

from defectfill.config.run import load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import ConfigError, DataError, DefectFillError, ModelError
from defectfill.model.evaluation.arms import ARMS
from defectfill.operations import requirements
from defectfill.operations.announced import fingerprint, mark_announced
from defectfill.operations.evaluation import Evaluator
from defectfill.operations.finished import is_settled, settle
from defectfill.operations.prepare import latest_run, start_run
from defectfill.operations.promotion import finish_evaluation, needs_verdict, refuse_harmful
from defectfill.operations.protocols import anomalydiffusion, protocol_lines
from defectfill.operations.requirements import check_evaluation
from defectfill.painting.painter import FlatPainter
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.runs.verdict import VERDICT_FILE, VERDICT_KEY, read_verdict
from defectfill.synthesis.shards import inpaint_shard
from defectfill.toy import write_category

QUICK = """
evaluate: {arms: [real_augmented, synthetic, mixed_50, gates_off], detectors: [unet, linear], seeds: 1, steps: 12,
  checks: 2, batch_size: 4, crop_px: 64, learning_rate: 2.0e-3, features: vae}
dataset: {promote: unless_harmful}
"""


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Run:
    """Return a run over toys with holes and stains whose dataset, painted in grey, is written; not to be changed."""
    root = tmp_path_factory.mktemp("evaluation")
    defects = ("hole", "stain")
    write_category(root / "data", "washer", 1, normals=8, test_normals=4, defective=8, size_px=96, defects=defects)
    text = TOY_CONFIG.format(root=root, base=base_folder).replace("[hole, scratch]", "[hole, stain]")
    text = text.replace("max_off_mask_fraction: 1}", "max_off_mask_fraction: 0.016}")  # which some do not pass
    (root / "toy.yaml").write_text(text.replace("count: 2}", "count: 3}") + QUICK)
    run = start_run(load_config(root / "toy.yaml"))
    for defect in defects:
        put_stand_in_adapter(run, defect, base_folder)
    while shards := plan_samples(run):
        for shard in shards:
            inpaint_shard(run, shard, FlatPainter())
    write_dataset(run)
    return run


@pytest.fixture(scope="module")
def evaluated(painted: Run) -> Run:
    """Return that run with its evaluation; not to be changed."""
    assert latest_run(painted.config) is None
    assert needs_verdict(painted)
    evaluate(painted)
    return painted


@pytest.fixture
def run(evaluated: Run, tmp_path: Path) -> Run:
    """Return a copy of that run, which a test may change."""
    shutil.copytree(evaluated.category_output, tmp_path / "washer", symlinks=True)
    return Run.at(tmp_path / "washer" / "runs" / evaluated.folder.name)


def evaluate(run: Run) -> Evaluator:
    evaluator = Evaluator(run)
    for trial in evaluator.trials:
        evaluator.try_out(trial)
    evaluator.conclude()
    return evaluator


def test_all_arms_are_tried_and_the_verdict_stands_in_dataset_and_card(run: Run) -> None:
    assert [trial.name for trial in Evaluator(run).trials] == [
        f"{arm}-{detector}-0"
        for detector in ("unet", "linear")
        for arm in ("real_augmented", "synthetic", "mixed_50", "gates_off")
    ]
    found = read_verdict(run)
    assert found is not None
    assert found.defects.keys() == {"hole", "stain"}
    assert found.detectors["linear"].startswith("linear head per pixel on frozen features of VAE encoder of small")
    assert all(0 <= (each.scores.pixel_ap or 0) <= 1 for each in found.figures)
    assert {each.scores.images for each in found.figures} == {5}
    write_dataset(run)
    judged = json.loads(pq.read_schema(run.dataset / "manifest.parquet").metadata[VERDICT_KEY])
    assert judged["hole"]["sentence"] == found.defects["hole"].sentence
    assert f"- {found.defects['stain'].sentence}." in (run.dataset / "README.md").read_text(encoding="utf-8")
    verify_dataset(run.dataset)
    assert not needs_verdict(run)


def test_what_was_tried_is_found_again_and_the_same_comes_out(run: Run) -> None:
    before = contents(run.folder / "evaluation")
    times = {path: path.stat().st_mtime_ns for path in run.folder.glob("evaluation/trials/*/*")}
    assert len(times) == 16
    gone = run.folder / "evaluation" / "trials" / "synthetic-unet-0"
    shutil.rmtree(gone)
    evaluate(run)
    after = {path: path.stat().st_mtime_ns for path in run.folder.glob("evaluation/trials/*/*")}
    assert {path for path in times if times[path] != after[path]} == {path for path in times if path.parent == gone}
    assert without_times(contents(run.folder / "evaluation")) == without_times(before)


def test_without_what_gates_keep_out_or_with_other_labels_there_is_no_arm_of_it(run: Run) -> None:
    assert Evaluator(run).material.pools.keys() >= {"dataset", "gates_off"}
    dataset = run.config.dataset.model_copy(update={"label": "planned"})
    relabelled = run.record.model_copy(update={"config": run.config.model_copy(update={"dataset": dataset})})
    assert "gates_off" not in Evaluator(Run(relabelled, run.folder)).material.pools
    rejected = pq.read_table(run.dataset / "rejected.parquet")
    pq.write_table(rejected.slice(0, 0), run.dataset / "rejected.parquet")
    assert "gates_off" not in Evaluator(run).material.pools


def without_times(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the contents of files but for the seconds that trials took."""
    return {name: b"" if name.endswith("trial.json") else content for name, content in files.items()}


def test_trials_side_by_side_find_what_they_find_one_after_the_other(run: Run) -> None:
    trials = run.folder / "evaluation" / "trials"
    before = without_times(contents(trials))
    shutil.rmtree(trials)
    evaluator = Evaluator(run)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(evaluator.try_out, evaluator.trials))
    assert without_times(contents(trials)) == before
    shutil.rmtree(trials)
    evaluator.bench.stopped.set()
    with pytest.raises(KeyboardInterrupt):
        evaluator.try_out(evaluator.trials[0])


def test_another_dataset_is_tried_anew_and_an_old_verdict_is_not_about_it(run: Run) -> None:
    key = json.loads((run.folder / "evaluation/trials/mixed_50-unet-0/trial.json").read_bytes())["key"]
    real = json.loads((run.folder / "evaluation/trials/real_augmented-unet-0/trial.json").read_bytes())["key"]
    dataset = run.config.dataset.model_copy(update={"label": "planned"})
    other = Run(
        run.record.model_copy(update={"config": run.config.model_copy(update={"dataset": dataset})}), run.folder
    )
    write_dataset(other)
    assert read_verdict(other) is None
    evaluate(other)
    assert json.loads((run.folder / "evaluation/trials/mixed_50-unet-0/trial.json").read_bytes())["key"] != key
    assert json.loads((run.folder / "evaluation/trials/real_augmented-unet-0/trial.json").read_bytes())["key"] == real


def test_a_harmful_dataset_does_not_become_the_latest(run: Run) -> None:
    found = read_verdict(run)
    assert found is not None
    verdicts = {
        name: each.model_copy(update={"verdict": "no difference found"}) for name, each in found.defects.items()
    }
    harmless = found.model_copy(update={"defects": verdicts})
    harmful = found.model_copy(
        update={"defects": {**verdicts, "hole": verdicts["hole"].model_copy(update={"verdict": "harms"})}}
    )
    (run.folder / VERDICT_FILE).write_text(harmful.model_dump_json())
    with pytest.raises(DefectFillError, match="kept, but not made the latest"):
        finish_evaluation(run)
    assert not (run.category_output / "latest").exists()
    assert run.is_finished()
    with pytest.raises(DefectFillError, match="hole: "):
        refuse_harmful(run)
    assert not needs_verdict(run)
    for other in ({"settings": {**harmful.settings, "steps": 1}}, {"version": harmful.version - 1}):
        (run.folder / VERDICT_FILE).write_text(harmful.model_copy(update=other).model_dump_json())
        assert needs_verdict(run)
        refuse_harmful(run)
    (run.folder / VERDICT_FILE).write_text(harmless.model_dump_json())
    finish_evaluation(run)
    assert (run.category_output / "latest").read_text().strip() == run.record.key


def test_a_latest_that_turns_out_to_harm_gives_way_to_the_one_before(run: Run) -> None:
    found = read_verdict(run)
    assert found is not None
    verdicts = {name: each.model_copy(update={"verdict": "harms"}) for name, each in found.defects.items()}
    (run.folder / VERDICT_FILE).write_text(found.model_copy(update={"defects": verdicts}).model_dump_json())
    latest = run.category_output / "latest"
    run.promote()
    with pytest.raises(DefectFillError, match=r"no longer the latest .* none is"):
        finish_evaluation(run)
    assert not latest.exists()
    with pytest.raises(DefectFillError, match="kept, but not made the latest"):
        settle(run)

    always = run.config.model_copy(update={"dataset": run.config.dataset.model_copy(update={"promote": "always"})})
    trusted = Run(run.record.model_copy(update={"config": always}), run.folder)
    assert not is_settled(trusted)
    settle(trusted)
    assert latest.read_text().strip() == run.record.key

    record = run.record.model_copy(update={"config": always.model_copy(update={"seed": 4})})
    before = Run(record, shutil.copytree(run.folder, run.folder.with_name(record.key)))
    (before.folder / "run.json").write_text(record.model_dump_json())
    before.mark_finished()
    copy = shutil.copytree(run.folder, run.folder.with_name(f"{run.folder.name}-backup"))
    (copy / "run.json").write_text(trusted.record.model_dump_json())
    (copy / VERDICT_FILE).unlink()
    run.promote()
    assert not is_settled(run)
    with pytest.raises(DefectFillError, match="none is"):  # a copy of what harms
        settle(run)
    (before.folder / VERDICT_FILE).unlink()
    run.promote()
    with pytest.raises(DefectFillError, match=rf"no longer the latest .* that is {before.uri} again"):
        settle(run)
    assert latest.read_text().strip() == before.record.key
    assert is_settled(run)


def test_a_dataset_without_the_verdict_that_is_asked_for_is_not_done(
    painted: Run, run: Run, tmp_path: Path, command_line: CommandLine
) -> None:
    from flows.fleet import category_problem

    text = (Path(painted.config.output.root).parent / "toy.yaml").read_text()
    config = tmp_path / "toy.yaml"
    config.write_text(text.replace(painted.config.output.root, str(tmp_path)))
    assert "its evaluation is to be made" in command_line("check", config).out, "the verdict is beside it, not in it"
    write_dataset(run)
    assert f"everything is done: {run.dataset}" in command_line("check", config).out
    assert "up to date" in command_line("status", config).out
    assert category_problem(config, changed_only=True) is None, "no one was told of it"
    mark_announced(run, fingerprint(run))
    assert category_problem(config, changed_only=True) == "up to date"
    found = read_verdict(run)
    assert found is not None
    harmful = {name: each.model_copy(update={"verdict": "harms"}) for name, each in found.defects.items()}
    (run.folder / VERDICT_FILE).write_text(found.model_copy(update={"defects": harmful}).model_dump_json())
    write_dataset(run)
    assert category_problem(config, changed_only=True) == "up to date", "no one is told of what harms"
    run.promote()
    assert category_problem(config, changed_only=True) is None, "it is no longer to be the latest"
    shutil.rmtree(run.folder / "evaluation")
    assert category_problem(config, changed_only=True) is None
    ended = command_line("status", config)
    assert ended.out.splitlines() == [
        f"washer: stale: {run.dataset}",
        "  it has no verdict by the settings of now",
        "its evaluation is to be made, since dataset.promote is unless_harmful",
        f"all is painted: {run.dataset}",
    ]
    assert ended.code == 0
    ended = command_line("check", config, "--measure")
    assert "its evaluation is to be made" in ended.out
    assert "everything is done" not in ended.out


def test_the_protocol_that_selects_on_test_says_so(run: Run) -> None:
    scores = anomalydiffusion(Evaluator(run))
    assert scores.keys() == {"hole", "stain"}
    page = (run.folder / "evaluation" / "anomalydiffusion.md").read_text()
    assert page.startswith("**SELECTED ON TEST**")
    assert page == "\n".join(protocol_lines(scores))


def test_what_an_evaluation_lacks_is_told_before_anything_is_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    check_evaluation(run)
    with monkeypatch.context() as without_extra:
        without_extra.setattr(requirements, "_is_installed", lambda *packages: False)
        with pytest.raises(ConfigError, match=r"detectors need an extra: pip install 'defectfill\[detector\]'"):
            check_evaluation(run)
    (run.folder / "snapshot.parquet").unlink()
    with pytest.raises(DataError, match=r"no finished dataset of this config: .*snapshot\.parquet is missing; run it"):
        check_evaluation(run)


def test_a_loss_that_is_not_finite_is_told_with_its_step(run: Run) -> None:
    evaluator = Evaluator(run)
    (part,) = evaluator.parts("real_augmented")
    settings = evaluator.bench.settings.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ModelError, match=r"unet: step .: the loss is not finite; try a smaller learning_rate"):
        replace(evaluator.bench, settings=settings).train_and_test(part, ARMS["real_augmented"], "unet", 0)
