"""The plan as a table on disk: one row per image to be made, written before any painting."""

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
from defectfill.io.names import safe_name
from defectfill.records.plan import SCHEMA, SampleSpec
from defectfill.runs.run import Run

REMEDY = "remove it and run again"
"""The advice for a damaged plan, which then comes out as it was."""


def read_plan(run: Run, defect: str, start: int = 0, stop: int | None = None) -> list[SampleSpec]:
    """Return the planned samples of a defect from index `start` to before `stop`, in order, as far as there are any."""
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
    """Return the same rows as a table, or only some of their columns."""
    if not run.plan_path.exists():
        return SCHEMA.empty_table()
    wanted = (pc.field("defect") == defect) & (pc.field("index") >= start)
    if stop is not None:
        wanted &= pc.field("index") < stop
    with damage_named(run.plan_path, REMEDY):
        checked(pq.read_schema(run.plan_path).empty_table(), SCHEMA)
        return checked(pq.read_table(run.plan_path, columns=columns, filters=wanted))


def placed_samples(run: Run, defect: str) -> NDArray[np.bool_]:
    """Return for each planned sample [N] of a defect whether its mask found room.

    DataError where their indices are not 0, 1, 2 ...
    """
    rows = plan_table(run, defect, columns=["index", "reason"])
    with damage_named(run.plan_path, REMEDY):
        if not np.array_equal(rows["index"].to_numpy(), np.arange(len(rows))):
            raise ValueError(f"gaps among the samples of {defect}")
    return np.asarray(pc.equal(rows["reason"], "").to_numpy(), dtype=bool)


def read_planned_mask(run: Run, path: str) -> NDArray[np.bool_]:
    """Return a mask [H, W] of the plan, by its path there; DataError where its file is damaged."""
    with _remedy_named(run):
        return read_mask(run.folder / path)


def planned_mask_sha256(run: Run, path: str) -> str:
    """Return the SHA-256 of the same file."""
    with _remedy_named(run):
        return file_sha256(run.folder / path)


@contextmanager
def _remedy_named(run: Run) -> Iterator[None]:
    """Add to a DataError that the plan is to be removed."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; remove {run.plan_path} and run again") from error


def identity_of(config: RunConfig, defect: str, index: int) -> dict[str, Any]:
    """Return the fields of a plan row that depend on its index alone, not on its mask."""
    parts = (config.seed, config.category, defect, index)
    return {
        "sample_id": f"{safe_name(defect)}-{index:06d}-{digest(parts)[:8]}",
        "defect": defect,
        "index": index,
        "seed": derive_seed(*parts, "painting"),
        "prompt": config.prompts(defect)[1] if config.generate.uses_base else "",
    }
