"""Finished datasets that lose files, what a power cut leaves behind, and paths of the wrong kind."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.mutations.common import Expected, Sandbox, Trial, loop, put

PARTS = {
    "an image": lambda dataset: min((dataset / "images" / "hole").iterdir()),
    "a normal": lambda dataset: min((dataset / "images" / "good").iterdir()),
    "a mask": lambda dataset: min((dataset / "masks" / "hole").iterdir()),
    "a planned mask": lambda dataset: min(path for path in (dataset / "planned_masks").rglob("*") if path.is_file()),
    **{
        name: lambda dataset, name=name: dataset / f"{name}.parquet"
        for name in ("manifest", "rejected", "metadata", "trainmetadata", "testmetadata")
    },
    "all images": lambda dataset: dataset / "images",
    "everything": lambda dataset: dataset,
}
"""Of a dataset."""


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _replaced_by_folder(path: Path) -> None:
    _remove(path)
    path.mkdir()


LOSSES: dict[str, Callable[[Path], Any]] = {"is gone": _remove, "is a folder": _replaced_by_folder}
FILE_LOSSES: dict[str, Callable[[Path], Any]] = {**LOSSES, "is empty": lambda path: put(path, b"")}

GONE = 2**22 + 1
"""The number of no process: Linux gives none as high."""
LEFT: dict[str, Callable[[Sandbox], Any]] = {
    "a half-written image": lambda sandbox: put(sandbox.shard / f".x.png.partial-{GONE}", b"x"),
    "a half-written shard": lambda sandbox: put(sandbox.shard.parent / f".000000.partial-{GONE}" / "x", b"x"),
    "a half-written dataset": lambda sandbox: put(sandbox.run / f".dataset.partial-{GONE}" / "x", b"x"),
    "an old dataset": lambda sandbox: shutil.copytree(sandbox.dataset, sandbox.run / f".dataset.partial-old-{GONE}"),
    "a half-written adapter": lambda sandbox: put(sandbox.output / "adapters" / f".hole.partial-{GONE}" / "x", b"x"),
    "an empty latest": lambda sandbox: put(sandbox.output / "latest", b""),
    "an empty mark": lambda sandbox: put(sandbox.run / "finished.json", b""),
    "an empty record": lambda sandbox: put(sandbox.run / "run.json", b""),
    "empty timings": lambda sandbox: put(sandbox.run / "timings.jsonl", b""),
    "half a line of timings": lambda sandbox: put(sandbox.run / "timings.jsonl", b'{"step": "tra'),
    "no contact sheet": lambda sandbox: (sandbox.run / "contact_sheet.png").unlink(),
}
"""What a power cut leaves; a run afterwards ends with the same dataset."""

WRONG: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "an empty folder": lambda path: path.mkdir(),
    "a folder of text": lambda path: put(path / "a.txt", "x"),
    "a file": lambda path: put(path, "x"),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "a loop": loop,
}
"""What a path in a config, or of a command, may lead to instead."""

KEYS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "masks.folder": ({"masks": {"samplers": {"folder": 1}, "folder": "wrong"}}, ("check", "masks", "status")),
    "masks.zones.allowed": ({"masks": {"zones": {"allowed": "wrong"}}}, ("check", "masks")),
    "data.root": ({"data": {"root": "wrong"}}, ("check", "masks", "status")),
    "base.model": ({"base": {"model": "./wrong"}}, ("check",)),
}


def trials() -> Iterator[Trial]:
    for part, find in PARTS.items():
        for name, change in (FILE_LOSSES if part not in ("all images", "everything") else LOSSES).items():

            def mutate(sandbox: Sandbox, find: Any = find, change: Any = change) -> None:
                change(find(sandbox.dataset))

            yield Trial("reader", f"{part} {name}: status", "status", mutate, "accepted", tells=("stale",))
            yield Trial("reader", f"{part} {name}: run", "run", mutate, "accepted", heals=True)
    for name, leave in LEFT.items():
        yield Trial("power", name, "run", leave, "accepted", heals=True)
    yield Trial("reader", "text in the manifest: gc", "gc", _no_table, "refused", ("manifest.parquet",))
    for key, (content, commands) in KEYS.items():
        for name, make in WRONG.items():
            for command in commands:
                yield wrong_path(key, name, make, content, command)
    for name, make in WRONG.items():
        yield wrong_output(name, make, "gc")
        yield wrong_output(name, make, "status")


def wrong_path(key: str, name: str, make: Callable[[Path], Any], content: Any, command: Any) -> Trial:
    """Return a trial of a config in which a key names a path of the wrong kind."""

    def mutate(sandbox: Sandbox) -> None:
        make(sandbox.root / "wrong")
        config = yaml.safe_load(sandbox.config.read_text())
        for block, values in content.items():
            config[block] = {**config.get(block, {}), **values}
        put(sandbox.config, yaml.safe_dump(config))

    return Trial("path", f"{key} is {name}: {command}", command, mutate, "refused", (key, "wrong", "nothing"))


def wrong_output(name: str, make: Callable[[Path], Any], command: Any) -> Trial:
    """Return a trial of an output that is no folder: there is nothing in it, or it is refused by name."""

    def mutate(sandbox: Sandbox) -> None:
        make(sandbox.root / "wrong")
        text = sandbox.config.read_text()
        put(sandbox.config, text.replace("output: {root: out}", "output: {root: wrong}"))

    expected: Expected = "accepted" if name in ("missing", "an empty folder") and command == "status" else "either"
    return Trial("path", f"output.root is {name}: {command}", command, mutate, expected, ("output.root", "wrong"))


def _no_table(sandbox: Sandbox) -> None:
    put(sandbox.dataset / "manifest.parquet", "sample_id,split\n")
