"""A GPU is one process's at a time, and processes that paint side by side have one each."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from defectfill.config.run import load_config
from defectfill.io.errors import ModelError
from defectfill.io.gpu_lock import gpu_lock
from defectfill.operations.prepare import start_run
from defectfill.operations.requirements import requirement_problems
from defectfill.runs.run import Run
from defectfill.synthesis.painter_pool import PainterProcess
from defectfill.synthesis.painters import open_painter


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")


def wants(device: str, index: int = 0) -> tuple[threading.Thread, threading.Event]:
    """A thread that takes the lock, and the event that it has."""
    taken = threading.Event()

    def take() -> None:
        with gpu_lock(device, index):
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, taken


def test_a_gpu_is_waited_for_and_others_are_not(tmp_path: Path) -> None:
    with gpu_lock("cuda bf16"):
        assert [path.name for path in tmp_path.iterdir()] == ["defectfill-gpu-2.lock"]
        same, waiting = wants("cuda bf16")
        free = [wants("cuda bf16", 1), wants("cpu fp32")]
        for thread, taken in free:
            thread.join(timeout=10)
            assert taken.is_set()
        assert not waiting.wait(timeout=0.2)
    same.join(timeout=10)
    assert waiting.is_set()


def on_gpus(run: Run) -> Run:
    """Return the run as if it had been begun on a GPU."""
    return Run(run.record.model_copy(update={"device": "cuda bf16"}), run.folder)


def test_each_painting_process_has_one_of_the_gpus_that_there_are(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visible_to(run: Run) -> list[str]:
        return [PainterProcess(run, number).environment["CUDA_VISIBLE_DEVICES"] for number in range(3)]

    assert visible_to(on_gpus(finished)) == ["2", "5", "2"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("defectfill.model.base.device.gpu_count", lambda: 1)
    assert visible_to(on_gpus(finished)) == ["0", "0", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert PainterProcess(finished, 1).environment == dict(os.environ), "GPUs are hidden from a run on CPUs"


def test_a_process_without_the_gpu_of_its_run_paints_nothing(trained_config: Path) -> None:
    run = start_run(load_config(trained_config))
    gpus = on_gpus(run)
    shutil.copytree(run.adapter_folder("hole"), gpus.adapter_folder("hole"))
    with pytest.raises(ModelError, match="was begun on cuda bf16, but this process finds a cpu only"):
        open_painter(gpus, "hole")


def test_one_gpu_by_its_number_is_for_one_process(toy_config: Path) -> None:
    toy_config.write_text(toy_config.read_text().replace("device: cpu", "device: cuda:1") + "runner: {processes: 2}\n")
    [problem] = requirement_problems(load_config(toy_config), [])
    assert problem.startswith("base.device: cuda:1 is one GPU, for one process")
