"""The sandbox of a trial, what a trial is, and ways to break a file."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CANARY = "unpickled"
"""The file that a pickle writes if it is opened."""
ELSEWHERE = "elsewhere"
"""The folder beside the trial's that nothing may be written to."""

Expected = Literal["refused", "accepted", "either"]
Stage = Literal["data", "train", "plan", "paint", "dataset"]
Change = Callable[[Path], Any]
"""What is done to a file."""
STAGES: tuple[Stage, ...] = ("data", "train", "plan", "paint", "dataset")


@dataclass(frozen=True)
class Sandbox:
    """Where the things of a trial lie."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "washer.yaml"

    @property
    def category(self) -> Path:
        return self.root / "data" / "washer"

    @property
    def output(self) -> Path:
        return self.root / "out" / "washer"

    @property
    def run(self) -> Path:
        first, *others = (self.output / "runs").iterdir()
        return self.output / "runs" / (self.output / "latest").read_text().strip() if others else first

    @property
    def dataset(self) -> Path:
        return self.run / "dataset"

    @property
    def shard(self) -> Path:
        return next((self.run / "shards" / "hole").iterdir())

    @property
    def adapter(self) -> Path:
        return next((self.output / "adapters").iterdir())

    @property
    def elsewhere(self) -> Path:
        return self.root.parent / ELSEWHERE

    def undo(self, stage: Stage) -> None:
        """Remove what a step and those after it have made, so that it is done again."""
        first = STAGES.index(stage)
        made = [
            [self.output],
            [self.output / "adapters"],
            [self.run / "plan.parquet", self.run / "planned_masks"],
            [self.run / "shards", self.run / "samples_per_batch"],
            [self.run / "finished.json", self.dataset, self.run / "contact_sheet.png"],
        ]
        for path in [path for paths in reversed(made[first:]) for path in paths]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Trial:
    """One broken thing."""

    kind: str
    name: str
    command: Literal["check", "masks", "verify", "run", "status", "gc", "server"]
    mutate: Callable[[Sandbox], Any]
    expected: Expected
    culprits: Sequence[str] = ()
    """What a refusal has to name, any of them; the config's file, if empty."""
    tells: Sequence[str] = ()
    """What has to be said where it is accepted, all of them."""
    heals: bool = False
    """The dataset ends with the bytes of the unbroken one, if need be after what a message says is removed."""
    listed: bool = True
    """Not made at random."""
    within: Callable[[Sandbox], AbstractContextManager[Any]] = lambda _: nullcontext()
    """What is the case while the command runs."""

    def names(self, sandbox: Sandbox) -> list[str]:
        return list(self.culprits) or [str(sandbox.config)]


def put(path: Path, content: bytes | str) -> None:
    """Write a file, new or in place of another; a link is replaced, not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    put(path, content[: int(len(content) * share)])


def flip(path: Path, share: float) -> None:
    """Flip one bit of the byte at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0x10
    put(path, bytes(content))


class Bomb:
    """Tells by a file that its pickle was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def pickled(sandbox: Sandbox) -> bytes:
    return pickle.dumps(Bomb(sandbox.root.parent / CANARY))


def loop(path: Path) -> None:
    """Replace a path by a symbolic link that leads to itself."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(path)


def edit_json(change: Callable[[dict[str, Any]], Any]) -> Change:
    def mutate(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        put(path, json.dumps(content))

    return mutate


JSONS: dict[str, Change] = {
    "an empty file": lambda path: put(path, b""),
    "cut in half": lambda path: cut(path, 0.5),
    "a list": lambda path: put(path, "[]"),
    "a number": lambda path: put(path, "1"),
    "null": lambda path: put(path, "null"),
    "no keys": lambda path: put(path, "{}"),
    "nested without end": lambda path: put(path, "[" * 100_000),
    "not UTF-8": lambda path: put(path, b'{"settings": "\xff"}'),
}
