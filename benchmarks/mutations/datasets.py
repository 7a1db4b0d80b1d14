"""Broken datasets, which `verify` reads."""

import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq

from benchmarks.mutations.common import Expected, Sandbox, Trial, cut, flip, loop, pickled, put
from benchmarks.mutations.tables import TABLES, Rows, rewrite, row
from defectfill.records.manifest import REJECTED_SCHEMA

PATHS = {
    "above the folder": "../../../../../trial/washer.yaml",
    "above and back": "../dataset/{}",
    "in and out": "images/../../../{}",
    "absolute": "{root}/washer.yaml",
    "absolute elsewhere": "/etc/hostname",
    "with a backslash": "..\\..\\washer.yaml",
    "of a drive": "C:/washer.yaml",
    "with a NUL": "images/\0.png",
    "of 5000 letters": "i" * 5000,
    "of a folder": "images",
    "of the folder itself": ".",
    "empty": "",
    "not normal": "./{}",
    "of a home": "~/washer.yaml",
    "of the manifest": "manifest.parquet",
}

SYNTHETIC: dict[str, tuple[dict[str, Any], Expected]] = {
    "a window of negative numbers": ({"window": [-900, -900, -800, -800]}, "refused"),
    "a window inside out": ({"window": [90, 90, 10, 10]}, "refused"),
    "a window of no size": ({"window": [10, 10, 10, 10]}, "refused"),
    "the widest window": ({"window": [-(2**31), -(2**31), 2**31 - 1, 2**31 - 1]}, "refused"),
    "a window that is not square": ({"window": [0, 0, 96, 10]}, "refused"),
    "no window": ({"window": None}, "refused"),
    "no width": ({"width": 0}, "refused"),
    "a negative height": ({"height": -96}, "refused"),
    "a label of 7": ({"label_index": 7}, "refused"),
    "an unknown split": ({"split": "validation"}, "refused"),
    "an unknown origin": ({"origin": "painted"}, "refused"),
    "real": ({"origin": "real"}, "refused"),
    "the defect good": ({"defect": "good"}, "refused"),
    "the IoU nan": ({"planned_iou": float("nan")}, "refused"),
    "a fraction too large": ({"drawn_fraction": 3.0}, "refused"),
    "no image's hash": ({"image_sha256": ""}, "refused"),
    "no mask's hash": ({"mask_sha256": ""}, "refused"),
    "no planned mask's hash": ({"planned_mask_sha256": ""}, "refused"),
    "another image's hash": ({"image_sha256": "0" * 64}, "refused"),
    "a weight of nan": ({"sampling_weight": float("nan")}, "refused"),
    "a negative weight": ({"sampling_weight": -1.0}, "refused"),
    "an infinite weight": ({"sampling_weight": float("inf")}, "refused"),
    "no name": ({"sample_id": None}, "refused"),
    "no background": ({"background_intact": None}, "either"),
    "a reason": ({"reason": "ugly"}, "refused"),
}


def trials() -> Iterator[Trial]:
    def trial(name: str, mutate: Callable[[Sandbox], Any], expected: Expected, *culprits: str) -> Trial:
        return Trial("dataset", f"dataset: {name}", "verify", mutate, expected, culprits)

    for table in ("manifest", "rejected", "metadata"):
        for name, change in TABLES.items():
            # Of an empty table of the right columns there is nothing to be wrong.
            yield trial(
                f"{table}: {name}",
                lambda sandbox, change=change, table=table: change(sandbox.dataset / f"{table}.parquet"),
                "refused",
                f"{table}.parquet",
            )
    for column in ("image_path", "mask_path", "planned_mask_path", "drawn_mask_path", "source_path"):
        for name, path in PATHS.items():
            yield trial(f"{column} {name}", renaming(column, path), "refused", "row hole-000000")
        for name in ("a link out", "a folder that links out", "a link to itself", "no file"):
            yield trial(f"{column} {name}", linking(column, name), "refused", "hole-000000", "real-")
    for name, (values, expected) in SYNTHETIC.items():
        yield trial(f"a row with {name}", changing(**values), expected, "row hole-000000", "row 7")
    for name in ("images", "masks"):
        yield trial(
            f"no {name}", lambda sandbox, name=name: shutil.rmtree(sandbox.dataset / name), "refused", f"{name}/"
        )
    yield trial(
        "a stray file",
        lambda sandbox: put(sandbox.dataset / "masks/hole/stray.png", b""),
        "refused",
        "masks/hole/stray.png",
    )
    yield trial(
        "a row twice", lambda sandbox: both(sandbox, lambda rows: [*rows, rows[-1]]), "refused", "row hole-000000"
    )
    yield trial("a row less", lambda sandbox: both(sandbox, lambda rows: rows[:-1]), "refused", "listed in no row")
    yield trial("rows reversed", lambda sandbox: both(sandbox, lambda rows: rows[::-1]), "accepted")
    yield trial("no rows", lambda sandbox: both(sandbox, lambda rows: rows.clear()), "refused", "listed in no row")
    yield trial("no dataset", lambda sandbox: shutil.rmtree(sandbox.dataset), "refused", "manifest.parquet")
    yield trial(
        "a file in its place",
        lambda sandbox: (shutil.rmtree(sandbox.dataset), put(sandbox.dataset, b"")),
        "refused",
        "manifest.parquet",
    )
    yield trial("no card", lambda sandbox: (sandbox.dataset / "README.md").unlink(), "accepted")
    yield trial("a pickle beside it", lambda sandbox: put(sandbox.dataset / "cache.pkl", pickled(sandbox)), "accepted")


def both(sandbox: Sandbox, change: Callable[[Rows], Any]) -> None:
    """Change the manifest, and the tables of metadata as they belong to it."""
    from defectfill.records.manifest import SPLIT_TABLES, metadata_table

    manifest = sandbox.dataset / "manifest.parquet"
    rewrite(manifest, change)
    for split, name in ((None, "metadata.parquet"), *SPLIT_TABLES.items()):
        pq.write_table(metadata_table(pq.read_table(manifest), split), sandbox.dataset / name)


def changing(**values: Any) -> Callable[[Sandbox], None]:
    """Return what puts other values into the row of the painted sample; with a reason it moves to rejected.parquet."""

    def mutate(sandbox: Sandbox) -> None:
        if "reason" not in values:
            return both(sandbox, row(-1, **values))
        moved: Rows = []
        both(sandbox, lambda rows: moved.append(rows.pop()))
        rejected = {**moved[0], **values}
        return rewrite(sandbox.dataset / "rejected.parquet", lambda rows: rows.append(rejected), REJECTED_SCHEMA)

    return mutate


def renaming(column: str, path: str) -> Callable[[Sandbox], None]:
    def mutate(sandbox: Sandbox) -> None:
        both(
            sandbox,
            lambda rows: rows[-1].update(
                {column: path.replace("{root}", str(sandbox.root)).replace("{}", rows[-1][column])}
            ),
        )

    return mutate


def linking(column: str, name: str) -> Callable[[Sandbox], None]:
    """Return what replaces a file of a row by a link to the same bytes outside of the dataset, or removes it."""

    def mutate(sandbox: Sandbox) -> None:
        path = sandbox.dataset / pq.read_table(sandbox.dataset / "manifest.parquet").to_pylist()[-1][column]
        if name == "no file":
            path.unlink()
        elif name == "a link to itself":
            loop(path)
        elif name == "a link out":
            path.rename(sandbox.root / path.name)
            path.symlink_to(sandbox.root / path.name)
        else:
            path.parent.rename(sandbox.root / path.parent.name)
            path.parent.symlink_to(sandbox.root / path.parent.name)

    return mutate


def random_trial(rng: random.Random, number: int) -> Trial:
    """Return a trial of a table of the dataset of which one bit is another, or whose end is missing."""
    table, share = rng.choice(["manifest", "rejected", "metadata"]), rng.random()
    change, word = rng.choice([(cut, "cut"), (flip, "flipped")])
    expected: Expected = "refused" if word == "cut" else "either"
    return Trial(
        "dataset",
        f"{table}.parquet {word} at {share:.4f} ({number})",
        "verify",
        lambda sandbox: change(sandbox.dataset / f"{table}.parquet", share),
        expected,
        (f"{table}.parquet", "row "),
        listed=False,
    )
