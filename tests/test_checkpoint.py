"""Checkpoints: the newest whole one, and no more than are needed."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch

from defectfill.io.files import PARTIAL, remove_partials
from defectfill.model.training.checkpoint import load_checkpoint, save_checkpoint


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"step": step, "weights": [torch.full((3,), float(step))]})


def newest(folder: Path) -> Path:
    return max(folder.iterdir())


def loaded_step(folder: Path) -> int:
    state = load_checkpoint(folder)
    assert state is not None
    assert state["weights"][0].tolist() == [state["step"]] * 3
    return int(state["step"])


def test_the_newest_is_loaded_and_the_two_newest_are_kept(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "work") is None
    save(tmp_path / "work", 90, 100, 1000)
    assert loaded_step(tmp_path / "work") == 1000
    assert len(list((tmp_path / "work").iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1, 2)
    content = newest(tmp_path).read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    newest(tmp_path).write_bytes({"empty": b"", "cut": content[: len(content) // 2], "flipped": flipped}[damage])
    assert loaded_step(tmp_path) == 1
    newest(tmp_path).unlink()
    newest(tmp_path).write_bytes(b"x")
    assert load_checkpoint(tmp_path) is None


class Bomb:
    """Makes a folder when its pickle is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_of_anything_else_gives_way_too_and_is_not_opened(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    content = pickle.dumps(Bomb(tmp_path / "opened"), protocol=2)  # as torch writes
    newest(tmp_path).write_bytes(hashlib.sha256(content).digest() + content)
    assert loaded_step(tmp_path) == 1
    assert not (tmp_path / "opened").exists()


def test_half_a_checkpoint_is_cleared_away_and_whole_ones_stay(tmp_path: Path) -> None:
    work = tmp_path / "adapters" / ".hole-0123.work"
    save(work, 1)
    (work / f".00000002.checkpoint{PARTIAL}{2**22 + 1}").write_bytes(b"half")
    remove_partials(tmp_path)
    assert [path.name for path in work.iterdir()] == ["00000001.checkpoint"]
