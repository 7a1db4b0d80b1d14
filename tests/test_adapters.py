"""Training an adapter: killed or stopped anywhere, it ends with the bytes of a training that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import contents, write_toy_config

from defectfill.adapters.files import is_trained
from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.io.errors import ConfigError
from defectfill.io.files import read_table
from defectfill.io.images import read_image
from defectfill.model.training import loop
from defectfill.operations.check import check_config
from defectfill.operations.prepare import start_run
from defectfill.runs.plan import read_plan
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run

TRAIN = "train: {steps: 12, batch_size: 1, rank: 2, alpha: 2, latent_cache: 4, checkpoint_every: 3}"


def write_config(folder: Path, base_folder: Path, toy_data: Path) -> Path:
    """Write a toy config whose training takes a dozen steps and makes four checkpoints."""
    path = write_toy_config(folder, base_folder, toy_data)
    lines = [TRAIN if line.startswith("train:") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, toy_data: Path) -> dict[str, bytes]:
    """Return the files of an adapter whose training was left alone."""
    run = start_run(load_config(write_config(tmp_path_factory.mktemp("alone"), base_folder, toy_data)))
    train_adapter(run, "hole")
    return contents(run.adapter_folder("hole"))


@pytest.fixture
def config_path(tmp_path: Path, base_folder: Path, toy_data: Path) -> Path:
    return write_config(tmp_path, base_folder, toy_data)


@pytest.fixture
def run(config_path: Path) -> Run:
    return start_run(load_config(config_path))


def stop(run: Run, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Train the adapter until the step `at`, which fails."""
    whole, steps = loop.take_step, iter(range(at))

    def take_step(*arguments: Any) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", take_step)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(run, "hole")
    assert not is_trained(run, "hole")


@pytest.mark.parametrize(("at", "checkpoints"), [(0, []), (2, []), (4, [3]), (11, [6, 9])])
def test_a_training_stopped_anywhere_ends_with_the_same_bytes(
    adapter: dict[str, bytes], run: Run, monkeypatch: pytest.MonkeyPatch, at: int, checkpoints: list[int]
) -> None:
    stop(run, monkeypatch, at)
    work = run.training_folder("hole")
    assert sorted(path.name for path in work.glob("*.checkpoint")) == [f"{step:08d}.checkpoint" for step in checkpoints]
    train_adapter(run, "hole")
    assert contents(run.adapter_folder("hole")) == adapter
    assert not work.exists()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    adapter: dict[str, bytes], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(run, monkeypatch, at=10)
    newest = run.training_folder("hole") / "00000009.checkpoint"
    newest.write_bytes(newest.read_bytes()[:-1000])
    stop(run, monkeypatch, at=2)  # two steps on from the sixth
    train_adapter(run, "hole")
    assert contents(run.adapter_folder("hole")) == adapter


def test_what_a_kill_between_adapter_and_clearing_up_left_is_cleared_up(run: Run) -> None:
    train_adapter(run, "hole")
    run.training_folder("hole").mkdir()
    train_adapter(run, "hole")
    assert not run.training_folder("hole").exists()


KILLED_TRAINING = """
import sys
from pathlib import Path
from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.operations.lock import locked
from defectfill.operations.prepare import start_run
config = load_config(Path(sys.argv[1]))
with locked(config):
    train_adapter(start_run(config), "hole")
"""


def test_a_killed_process_loses_nothing_but_the_interval_in_hand(
    adapter: dict[str, bytes], config_path: Path, run: Run
) -> None:
    command = [sys.executable, "-c", KILLED_TRAINING, str(config_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    work, deadline = run.training_folder("hole"), time.monotonic() + 120
    while not list(work.glob("*.checkpoint")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list(work.glob("*.checkpoint"))
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    assert contents(run.adapter_folder("hole")) == adapter


def test_how_often_checkpoints_are_written_changes_neither_run_nor_adapter(
    adapter: dict[str, bytes], config_path: Path, run: Run
) -> None:
    config_path.write_text(config_path.read_text().replace("checkpoint_every: 3", "checkpoint_every: 5"))
    other = start_run(load_config(config_path))
    assert (other.folder, other.adapter_folder("hole")) == (run.folder, run.adapter_folder("hole"))
    train_adapter(other, "hole")
    assert contents(other.adapter_folder("hole")) == adapter


def test_joint_training_makes_one_adapter_with_a_word_for_every_defect(config_path: Path) -> None:
    joint = TRAIN.replace("{", "{joint: true, tokens: {hole: q, scratch: z}, ")
    config_path.write_text(config_path.read_text().replace(TRAIN, joint))
    run = start_run(load_config(config_path))
    train_adapter(run, "hole")
    before = contents(run.adapter_folder("hole"))
    assert is_trained(run, "scratch")
    train_adapter(run, "scratch")
    [folder] = (run.category_output / "adapters").iterdir()
    assert folder.name.startswith("joint-")
    assert contents(folder) == before
    record = json.loads(before["training.json"])
    assert record["tokens"] == {"hole": "q", "scratch": "z"}
    assert record["prompts"]["scratch"] == ["A photo of z", "A washer with z"]
    assert {path.split("/")[1] for path in record["references"]} == {"hole", "scratch"}
    plan_samples(run)
    assert {defect: read_plan(run, defect)[0].prompt for defect in ("hole", "scratch")} == {
        "hole": "A washer with q",
        "scratch": "A washer with z",
    }


def test_the_best_evaluation_is_kept_previews_and_curve_lie_beside_the_adapter(config_path: Path) -> None:
    evaluated = TRAIN.replace("{", "{eval_every: 5, validation_references: 1, select: best, tensorboard: true, ")
    config_path.write_text(config_path.read_text().replace(TRAIN, evaluated))
    run = start_run(load_config(config_path))
    train_adapter(run, "hole")
    folder = run.adapter_folder("hole")
    curve = read_table(folder / "losses.parquet")
    evaluations = [row["step"] + 1 for row in curve if row["validation"] is not None]
    assert evaluations == [5, 10, 12]
    assert all(-1 <= curve[step - 1]["preview_similarity"] <= 1 for step in evaluations)
    assert sorted(path.name for path in (folder / "previews").iterdir()) == ["000005.png", "000010.png", "000012.png"]
    assert read_image(folder / "losses.png").shape == (400, 700, 4)
    record = json.loads((folder / "training.json").read_bytes())
    assert len(record["references"]) == len(record["validation_references"]) == 1
    assert not record["references"].keys() & record["validation_references"].keys()
    [events] = (run.category_output / "tensorboard" / folder.name).iterdir()
    assert events.stat().st_size > 0


def test_validation_that_leaves_nothing_to_learn_from_is_told_before_the_run(config_path: Path) -> None:
    text = config_path.read_text().replace(TRAIN, TRAIN.replace("{", "{validation_references: 2, "))
    config_path.write_text(text)
    with pytest.raises(ConfigError, match="expected fewer than the 2 references of hole, found 2"):
        check_config(load_config(config_path))
