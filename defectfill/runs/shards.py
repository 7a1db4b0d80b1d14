"""Shards: blocks of consecutive samples, those of a run that are finished, and what they say of its samples."""

import re
from enum import IntEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from defectfill.io.files import damage_named, read_rows
from defectfill.records.manifest import SHARD_SCHEMA
from defectfill.records.plan import Shard
from defectfill.runs.plan import placed_samples
from defectfill.runs.review import read_review
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
    REPLACED = 4
    """The gates let it pass, a person took it out, and another is to be painted for it."""


NOT_KEPT = (Outcome.REJECTED, Outcome.REPLACED)
"""Of samples that were painted and are not in the dataset."""


TRIED = 50
"""So many of a defect's samples tell whether it is worth painting."""
HOPELESS_RATE = 0.05
"""Of them at least this share is to be kept."""


def is_hopeless(run: Run, defect: str) -> bool:
    """Return whether the first TRIED samples of a defect are painted and the gates kept fewer than HOPELESS_RATE.

    It depends on them alone: not on how many others were painted meanwhile, nor on how many are wanted, nor on reviews.
    """
    return are_hopeless(sample_outcomes(run, defect, TRIED))


def are_hopeless(outcomes: NDArray[np.int8]) -> bool:
    """Return the same by the `Outcome` [N] of the planned samples."""
    first = outcomes[outcomes != Outcome.UNPLACED][:TRIED]
    counts = np.bincount(first, minlength=len(Outcome)).tolist()
    passed = counts[Outcome.KEPT] + counts[Outcome.REPLACED]
    return len(first) == TRIED and counts[Outcome.PENDING] == 0 and passed < HOPELESS_RATE * TRIED


def sample_outcomes(run: Run, defect: str, most: int | None = None, *, refill: bool = True) -> NDArray[np.int8]:
    """Return the `Outcome` [N] of each planned sample of a defect, as far as finished shards tell it.

    Those that a person took out count as replaced where others are to be painted for them, else as kept; without
    `refill` as kept in any case. most: so many placed samples are enough, the first ones.
    """
    placed = placed_samples(run, defect)
    if most is not None:
        placed = placed[: np.searchsorted(np.cumsum(placed), most) + 1]
    replaced = pa.array(read_review(run).replaced if refill else [], pa.string())
    outcomes = np.where(placed, Outcome.PENDING, Outcome.UNPLACED).astype(np.int8)
    for shard in finished_shards(run, defect):
        if shard.start >= len(placed):
            break
        rows = shard_rows(run, shard)
        rows = rows.filter(pc.equal(rows["defect"], defect))
        passed, out = (
            column.to_numpy() for column in (pc.equal(rows["reason"], ""), pc.is_in(rows["sample_id"], replaced))
        )
        painted = shard.start + np.flatnonzero(placed[shard.start : shard.stop])
        found = np.where(passed, np.where(out, Outcome.REPLACED, Outcome.KEPT), Outcome.REJECTED)[: len(painted)]
        outcomes[painted] = Outcome.REJECTED
        outcomes[painted[: len(found)]] = found
    return outcomes


def painted_count(run: Run, defect: str) -> int:
    """Return how many samples of a defect are painted, as far as the finished shards on this machine tell it."""
    placed = placed_samples(run, defect)
    return sum(int(placed[shard.start : shard.stop].sum()) for shard in finished_shards(run, defect))


def finished_shards(run: Run, defect: str) -> list[Shard]:
    """Return the shards of `defect` that are on disk, in order."""
    names = (folder.name for folder in (run.folder / "shards" / defect).glob("*"))
    names = (name for name in names if re.fullmatch(r"\d{6,}-\d{6,}", name, re.ASCII))
    return sorted((Shard.named(f"{defect}/{name}") for name in names), key=lambda shard: shard.start)


def shard_rows(run: Run, shard: Shard) -> pa.Table:
    """Return the rows of a finished shard, as manifest.SHARD_SCHEMA has them; DataError where they are damaged."""
    folder = run.shard_folder(shard)
    with damage_named(folder / ROWS_FILE, f"remove {folder} and run again"):
        rows = read_rows(folder / ROWS_FILE, SHARD_SCHEMA)
        if rows["reason"].null_count or pc.count_distinct(rows["sample_id"]).as_py() < len(rows):
            raise ValueError("a sample twice, or one of which it is not said whether it is kept")
        return rows


def rejected_files(run: Run, defect: str, sample_id: str) -> tuple[Path, Path] | None:
    """Return image and drawn mask of a rejected sample, in the folder of its shard; None where they are not there.

    Those that a person took out lie among the kept ones there.
    """
    folders = (each / part for each in (run.folder / "shards" / defect).glob("*") for part in ("rejected", "."))
    files = ((each / kind / defect / f"{sample_id}.png" for kind in ("images", "masks")) for each in folders)
    return next(((image, mask) for image, mask in files if image.is_file() and mask.is_file()), None)
