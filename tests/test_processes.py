"""Several processes train one adapter: the same batches and losses, errors told, and none outlives its starter."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import write_toy_config

from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.io.errors import DataError
from defectfill.io.files import read_table
from defectfill.model.training.distributed import SINGLE_PROCESS, DistributedState
from defectfill.operations.prepare import start_run
from defectfill.runs.run import Run

pytestmark = pytest.mark.runs

TRAIN = """
train: {{steps: {steps}, batch_size: 3, dropout: 0, rank: 2, latent_cache: 6, processes: {processes},
        checkpoint_every: 3}}
""".strip()
STARTER = """
import sys
from pathlib import Path
from defectfill.adapters.train import train_adapter
from defectfill.runs.run import Run
train_adapter(Run.at(Path(sys.argv[1])), "hole")
"""


def start(folder: Path, base_folder: Path, toy_data: Path, processes: int, steps: int = 6) -> Run:
    path = write_toy_config(folder, base_folder, toy_data)
    train = TRAIN.format(steps=steps, processes=processes)
    path.write_text("\n".join(train if line.startswith("train:") else line for line in path.read_text().splitlines()))
    return start_run(load_config(path))


def test_every_row_of_a_batch_is_that_of_one_process() -> None:
    for count in (1, 2, 3):
        rows = [row for index in range(count) for row in range(4)[DistributedState(index, count).own_rows(4)]]
        assert rows == [0, 1, 2, 3]


def test_the_sum_over_a_single_process_changes_nothing() -> None:
    tensor = torch.ones(3)
    SINGLE_PROCESS.all_reduce_sum([tensor])
    assert tensor.tolist() == [1, 1, 1]


def test_two_processes_have_the_losses_of_one(tmp_path: Path, base_folder: Path, toy_data: Path) -> None:
    curves = []
    for processes in (1, 2):
        run = start(tmp_path / str(processes), base_folder, toy_data, processes)
        train_adapter(run, "hole")
        curves.append(read_table(run.adapter_folder("hole") / "losses.parquet"))
        assert not run.training_folder("hole").exists()
    one, two = curves
    assert len(one) == 6
    for alone, together in zip(one, two, strict=True):
        for term in ("total", "defect", "object", "attention"):
            assert together[term] == pytest.approx(alone[term], rel=1e-4), (alone["step"], term)


def test_what_stops_a_process_is_raised_where_it_was_started(tmp_path: Path, base_folder: Path, toy_data: Path) -> None:
    run = start(tmp_path, base_folder, toy_data, processes=2)
    (run.config.category_folder / "ground_truth").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="ground_truth"):
        train_adapter(run, "hole")


def test_the_processes_end_with_a_starter_that_is_killed(tmp_path: Path, base_folder: Path, toy_data: Path) -> None:
    run = start(tmp_path, base_folder, toy_data, processes=2, steps=100_000)
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(run.folder)], stderr=subprocess.DEVNULL)
    wait_until(lambda: list(run.training_folder("hole").glob("*.checkpoint")))
    assert len(workers(run)) >= 2
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not workers(run))


def wait_until(holds, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def workers(run: Run) -> list[int]:
    """Return the ids of the living processes that were started for a run, their launcher included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(run.folder).encode() in words and b"defectfill.adapters.processes" in words:
            found.append(int(path.parent.name))
    return found
