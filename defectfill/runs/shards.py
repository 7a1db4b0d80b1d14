"""Shards: blocks of consecutive samples, those of a run that are finished, and what they say of its samples."""

import re
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from defectfill.io.files import damage_named, read_rows
from defectfill.records.manifest import REJECTED_SCHEMA
from defectfill.records.plan import Shard
from defectfill.runs.plan import placed_samples
from defectfill.runs.run import Run

ROWS_FILE = "rows.arrow"
"""In the folder of a shard."""


class Outcome(IntEnum):
    """The state of a planned sample."""

    PENDING = 0
    """Not painted yet."""
    KEPT = 1
    REJECTED = 2
    UNPLACED = 3
    """No mask found room; it is never painted."""


def sample_outcomes(run: Run, defect: str) -> NDArray[np.int8]:
    """Return the `Outcome` [N] of each planned sample of a defect, as far as finished shards tell it."""
    placed = placed_samples(run, defect)
    outcomes = np.where(placed, Outcome.PENDING, Outcome.UNPLACED).astype(np.int8)
    for shard in finished_shards(run, defect):
        rows = shard_rows(run, shard)
        kept = pc.equal(rows.filter(pc.equal(rows["defect"], defect))["reason"], "").to_numpy()
        painted = shard.start + np.flatnonzero(placed[shard.start : shard.stop])
        outcomes[painted] = Outcome.REJECTED
        outcomes[painted[: len(kept)][kept[: len(painted)]]] = Outcome.KEPT
    return outcomes


def finished_shards(run: Run, defect: str) -> list[Shard]:
    """Return the shards of `defect` that are on disk, in order."""
    names = (folder.name for folder in (run.folder / "shards" / defect).glob("*"))
    names = (name for name in names if re.fullmatch(r"\d{6,}-\d{6,}", name, re.ASCII))
    return sorted((Shard.named(f"{defect}/{name}") for name in names), key=lambda shard: shard.start)


def shard_rows(run: Run, shard: Shard) -> pa.Table:
    """Return the rows of a finished shard, as manifest.REJECTED_SCHEMA has them; DataError where they are damaged."""
    folder = run.shard_folder(shard)
    with damage_named(folder / ROWS_FILE, f"remove {folder} and run again"):
        return read_rows(folder / ROWS_FILE, REJECTED_SCHEMA)
