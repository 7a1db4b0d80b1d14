"""Broken files that the steps of a run leave for one another."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.mutations.common import JSONS, Change, Expected, Sandbox, Stage, Trial, cut, pickled, put
from benchmarks.mutations.tables import TABLES, Rows, bytes_of, rewrite, row
from defectfill.io.files import read_rows, write_rows
from defectfill.records.manifest import SHARD_SCHEMA

PLAN: dict[str, tuple[dict[str, Any], Expected]] = {
    "a window of negative numbers": ({"window": [-900, -900, -800, -800]}, "refused"),
    "a window inside out": ({"window": [90, 90, 10, 10]}, "refused"),
    "a window of no size": ({"window": [10, 10, 10, 10]}, "refused"),
    "a window far off": ({"window": [10**6, 10**6, 10**6 + 64, 10**6 + 64]}, "refused"),
    "the widest window": ({"window": [-(2**31), -(2**31), 2**31 - 1, 2**31 - 1]}, "refused"),
    "a window that is not square": ({"window": [0, 0, 96, 10]}, "refused"),
    "no window": ({"window": None}, "refused"),
    "no defect": ({"defect": None}, "either"),
    "an unknown defect": ({"defect": "rust"}, "either"),
    "no index": ({"index": None}, "either"),
    "a negative index": ({"index": -1}, "either"),
    "a far index": ({"index": 2**31 - 1}, "refused"),
    "no name": ({"sample_id": None}, "refused"),
    "a name above": ({"sample_id": "../../../../../../../elsewhere/x"}, "refused"),
    "an absolute name": ({"sample_id": "/tmp/x"}, "refused"),
    "another sample's name": ({"sample_id": "hole-000007-01234567"}, "refused"),
    "a negative seed": ({"seed": -1}, "refused"),
    "no seed": ({"seed": None}, "refused"),
    "no prompt": ({"prompt": None}, "refused"),
    "an unknown source": ({"source_path": "train/good/999.png"}, "refused"),
    "a source above": ({"source_path": "../../washer.yaml"}, "refused"),
    "an absolute source": ({"source_path": "/etc/hostname"}, "refused"),
    "no source": ({"source_path": ""}, "refused"),
    "another source": ({"source_path": "train/good/001.png"}, "either"),
    "another source's hash": ({"source_sha256": "0" * 64}, "refused"),
    "an unknown mask": ({"planned_mask_path": "planned_masks/hole/x.png"}, "refused"),
    "a mask above": ({"planned_mask_path": "../../../../data/washer/ground_truth/hole/000_mask.png"}, "refused"),
    "an absolute mask": ({"planned_mask_path": "/etc/hostname"}, "refused"),
    "no mask": ({"planned_mask_path": ""}, "refused"),
    "an area of nan": ({"mask_area_fraction": float("nan")}, "refused"),
}

SNAPSHOT: dict[str, tuple[dict[str, Any], Expected]] = {
    "a path above": ({"path": "../../washer.yaml"}, "refused"),
    "an absolute path": ({"path": "/etc/hostname"}, "refused"),
    "an empty path": ({"path": ""}, "refused"),
    "an unknown path": ({"path": "train/good/999.png"}, "refused"),
    "a mask above": ({"mask_path": "../../../x.png"}, "refused"),
    "a defect above": ({"defect": "../../../../../../elsewhere"}, "refused"),
    "an absolute defect": ({"defect": "/tmp/defectfill-nowhere"}, "refused"),
    "an unknown role": ({"role": "spare"}, "refused"),
    "an unknown split": ({"split": "validation"}, "refused"),
    "no width": ({"width": None}, "refused"),
    "another hash": ({"sha256": "0" * 64}, "refused"),
    "a hash that is a path": ({"sha256": "../../../elsewhere"}, "refused"),
}

SHARD: dict[str, dict[str, Any]] = {
    "an image above": {"image_path": "../../../../../../../elsewhere/x.png"},
    "an absolute image": {"image_path": "/etc/hostname"},
    "no image": {"image_path": None},
    "an unknown image": {"image_path": "images/hole/x.png"},
    "a mask above": {"mask_path": "../../x.png"},
    "an absolute planned mask": {"planned_mask_path": "/etc/hostname"},
    "a planned mask above": {"planned_mask_path": "../../../../washer.yaml"},
    "an unknown source": {"source_path": "train/good/999.png"},
    "no source": {"source_path": None},
    "another hash": {"image_sha256": "0" * 64},
    "another name": {"sample_id": "hole-000009-00000000"},
    "no reason": {"reason": None},
    "a window inside out": {"window": [90, 90, 10, 10]},
    "an unknown origin": {"origin": "painted"},
    "a defect above": {"defect": "../hole"},
}

HEALING = ("no file", "a link to itself", "all null", "all text")
"""A table without usable rows is made anew, numbers that are written as text are numbers, and a link to nothing is
written over: the dataset that comes out is the same."""

SPOILT: dict[str, Change] = {
    "an empty file": lambda path: put(path, b""),
    "text": lambda path: put(path, "x"),
    "cut in half": lambda path: cut(path, 0.5),
    "no file": lambda path: path.unlink(),
}
"""What is done to a picture."""

ARROW: dict[str, Change] = {
    **SPOILT,
    "cut at its end": lambda path: cut(path, 0.98),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a parquet file": lambda path: put(path, bytes_of(read_rows(path))),
    "a pickle": lambda path: put(path, pickled(Sandbox(path.parents[7]))),
}


def trials() -> Iterator[Trial]:
    for file, stage in (("plan.parquet", "paint"), ("snapshot.parquet", "plan")):
        for name, change in TABLES.items():
            expected: Expected = "either" if name in HEALING else "refused"
            yield in_run(file, name, stage, change, expected)
        yield in_run(file, "no rows", stage, lambda path: rewrite(path, lambda rows: rows.clear()), "either")
        yield in_run(
            file, "a row twice", stage, lambda path: rewrite(path, lambda rows: rows.append(rows[-1])), "refused"
        )
    for name, (values, expected) in PLAN.items():
        yield in_run("plan.parquet", name, "paint", changing(-1, **values), expected, "train/good", "planned_masks")
    for name, (values, expected) in SNAPSHOT.items():
        number = -1 if "mask_path" in values else 0
        yield in_run("snapshot.parquet", name, "dataset", changing(number, **values), expected, "train/good")
    for name, change in SPOILT.items():
        for stage in ("paint", "dataset"):
            yield in_run("planned_masks/hole", f"{name}, to {stage}", stage, first(change), "refused")
    for name, change in JSONS.items():
        for file in ("run.json", "finished.json", "../../latest"):
            yield in_run(file, name, None, change, "accepted")
        yield in_run("../../adapters", f"training.json: {name}", "paint", training(change), "refused", "training.json")
    for name, size in (("text", "many"), ("empty", ""), ("zero", "0\n"), ("negative", "-3"), ("huge", "9" * 30)):
        yield in_run("samples_per_batch", name, "paint", lambda path, size=size: put(path, size), "refused")
    yield from shards()


def in_run(
    file: str, name: str, stage: Stage | None, change: Change, expected: Expected, *culprits: str, kind: str = "run"
) -> Trial:
    """Return a trial that changes a file in the run's folder, after which `stage` and those after it are done again."""

    def mutate(sandbox: Sandbox) -> None:
        if stage:
            sandbox.undo(stage)
        change((sandbox.run / file).resolve() if ".." in file else sandbox.run / file)

    return Trial(kind, f"{file}: {name}", "run", mutate, expected, (file, *culprits), heals=True)


def changing(number: int, **values: Any) -> Change:
    return lambda path: rewrite(path, row(number, **values))


def first(change: Change) -> Change:
    """Return what does this to the first thing in a folder."""
    return lambda folder: change(min(folder.iterdir()))


def training(change: Change) -> Change:
    return lambda folder: change(min(folder.iterdir()) / "training.json")


def shards() -> Iterator[Trial]:
    def trial(name: str, change: Change, *culprits: str, expected: Expected = "refused") -> Trial:
        """Return a trial of the only shard, whose folder is given."""
        return in_run("shards/hole", name, "dataset", first(change), expected, *culprits, kind="shard")

    for name, change in ARROW.items():
        yield trial(f"rows.arrow: {name}", lambda folder, change=change: change(folder / "rows.arrow"), "rows.arrow")
    for name, values in SHARD.items():
        yield trial(f"rows.arrow: {name}", lambda folder, values=values: rewrite_arrow(folder, row(-1, **values)))
    yield trial("rows.arrow: no rows", lambda folder: rewrite_arrow(folder, lambda rows: rows.clear()))
    yield trial("rows.arrow: a row twice", lambda folder: rewrite_arrow(folder, lambda rows: rows.append(rows[-1])))
    one, text = (pa.schema([(name, pa.string()) for name in names]) for names in (["sample_id"], SHARD_SCHEMA.names))
    yield trial("rows.arrow: other columns", lambda folder: rewrite_arrow(folder, lambda rows: None, one), "rows.arrow")
    yield trial("rows.arrow: all text", lambda folder: rewrite_arrow(folder, as_text, text), "rows.arrow")
    for name in ("000001-000002 (copy)", "1-2-3", "0-x", "7-7", "notes"):
        yield trial(f"a folder {name}", lambda folder, name=name: (folder.parent / name).mkdir(), expected="accepted")
    for name, expected in {
        "000003-000001": "accepted",
        "000000-999999999999": "refused",
    }.items():  # the first is not needed
        yield trial(
            f"a folder {name}", lambda folder, name=name: (folder.parent / name).mkdir(), name, expected=expected
        )
    yield trial("a file in its place", lambda folder: put(folder, b""))
    for name, change in SPOILT.items():
        for part in ("images", "masks"):
            yield trial(
                f"{part}: {name}", lambda folder, part=part, change=change: first(change)(folder / part / "hole"), part
            )


def rewrite_arrow(folder: Path, change: Callable[[Rows], Any], schema: pa.Schema = SHARD_SCHEMA) -> None:
    """Change the rows of a shard, with their own schema or another."""
    path = folder / "rows.arrow"
    rows = read_rows(path).to_pylist()
    change(rows)
    write_rows(path, [{name: each[name] for name in schema.names} for each in rows], schema)


def as_text(rows: Rows) -> None:
    for each in rows:
        each.update({name: str(value) for name, value in each.items()})
