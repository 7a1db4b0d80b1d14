"""Shards: blocks of consecutive samples, and those of a run that are finished."""

import re
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from defectfill.io.files import damage_named, read_rows
from defectfill.records.manifest import REJECTED_SCHEMA
from defectfill.records.plan import Shard
from defectfill.runs.plan import (
    plan_table,
)
from defectfill.runs.run import Run

ROWS_FILE = "rows.arrow"
"""In the folder of a shard."""


def count_rejected(run: Run, defect: str) -> int:
    """How many planned samples of a defect will not be in the dataset, as far as is known."""
    unplaced = pc.sum(pc.not_equal(plan_table(run, defect, columns=["reason"])["reason"], "")).as_py() or 0
    reasons = (shard_rows(run, shard)["reason"].to_pylist() for shard in finished_shards(run, defect))
    return unplaced + sum(map(bool, chain.from_iterable(reasons)))


def finished_shards(run: Run, defect: str) -> list[Shard]:
    """The shards of `defect` that are on disk, in order."""
    names = (folder.name for folder in (run.folder / "shards" / defect).glob("*"))
    names = (name for name in names if re.fullmatch(r"\d{6,}-\d{6,}", name, re.ASCII))
    return sorted((Shard.named(f"{defect}/{name}") for name in names), key=lambda shard: shard.start)


def shard_rows(run: Run, shard: Shard) -> pa.Table:
    """The rows of a finished shard, as manifest.REJECTED_SCHEMA has them; DataError where they are damaged."""
    folder = run.shard_folder(shard)
    with damage_named(folder / ROWS_FILE, f"remove {folder} and run again"):
        return read_rows(folder / ROWS_FILE, REJECTED_SCHEMA)
