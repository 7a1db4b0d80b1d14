"""The plan: one row per image to be made, written before any painting."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.files import checked, damage_named
from defectfill.io.hashing import derive_seed, digest
from defectfill.io.images import file_sha256, read_mask
from defectfill.records.plan import SCHEMA, SampleSpec
from defectfill.runs.run import Run

REMEDY = "remove it and run again"
"""For a damaged plan, which then comes out as it was."""


def read_plan(run: Run, defect: str, start: int = 0, stop: int | None = None) -> list[SampleSpec]:
    """The planned samples of a defect from index `start` to before `stop`, in order; those that are there."""
    rows = plan_table(run, defect, start, stop).to_pylist()
    with damage_named(run.plan_path, REMEDY):
        specs = [SampleSpec.model_validate(row) for row in rows]
        for spec in specs:
            identity = identity_of(run.config, defect, spec.index)
            if wrong := [name for name, value in identity.items() if getattr(spec, name) != value]:
                raise ValueError(f"row {spec.sample_id}: another {', '.join(wrong)} than was planned")
            if not spec.reason and not (spec.source_path and spec.planned_mask_path):
                raise ValueError(f"row {spec.sample_id}: no source or no planned mask")
    return specs


def plan_table(
    run: Run, defect: str, start: int = 0, stop: int | None = None, columns: list[str] | None = None
) -> pa.Table:
    """The same as a table."""
    if not run.plan_path.exists():
        return SCHEMA.empty_table()
    wanted = (pc.field("defect") == defect) & (pc.field("index") >= start)
    if stop is not None:
        wanted &= pc.field("index") < stop
    with damage_named(run.plan_path, REMEDY):
        checked(pq.read_schema(run.plan_path).empty_table(), SCHEMA)
        return checked(pq.read_table(run.plan_path, columns=columns, filters=wanted))


def count_planned(run: Run) -> Counter[str]:
    """How many samples of each defect are planned; DataError where their indices are not 0, 1, 2 ..."""
    counts: Counter[str] = Counter()
    for defect in run.config.data.defects:
        indices = plan_table(run, defect, columns=["index"])["index"].to_numpy()
        with damage_named(run.plan_path, REMEDY):
            if not np.array_equal(indices, np.arange(len(indices))):
                raise ValueError(f"gaps among the samples of {defect}")
        counts[defect] = len(indices)
    return counts


def read_planned_mask(run: Run, path: str) -> NDArray[np.bool_]:
    """A mask of the plan [H, W], by its path there; DataError where its file is damaged."""
    with _plan_to_remove(run):
        return read_mask(run.folder / path)


def planned_mask_sha256(run: Run, path: str) -> str:
    """The SHA-256 of the same file."""
    with _plan_to_remove(run):
        return file_sha256(run.folder / path)


@contextmanager
def _plan_to_remove(run: Run) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; remove {run.plan_path} and run again") from error


def identity_of(config: RunConfig, defect: str, index: int) -> dict[str, Any]:
    """What a sample is, wherever its mask lies."""
    parts = (config.seed, config.category, defect, index)
    return {
        "sample_id": f"{defect}-{index:06d}-{digest(parts)[:8]}",
        "defect": defect,
        "index": index,
        "seed": derive_seed(*parts, "painting"),
        "prompt": config.prompts(defect)[1],
    }
