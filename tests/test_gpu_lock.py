"""A GPU is one process's at a time."""

import threading
from pathlib import Path

import pytest

from defectfill.io.gpu_lock import gpu_lock


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
