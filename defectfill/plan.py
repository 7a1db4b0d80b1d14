"""The plan: one row per image to be made, written before any painting."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from defectfill.config import RunConfig
from defectfill.errors import DataError
from defectfill.files import read_table, write_table
from defectfill.hashing import derive_seed, digest
from defectfill.images import read_image, read_mask, write_png
from defectfill.masks import CategoryMasks
from defectfill.progress import progress
from defectfill.run import Run, Shard
from defectfill.snapshot import ImageRecord
from defectfill.window import window_box
from mask_sampling import DoesNotFit
from mask_sampling.sampling import SampledMask, Spot, spot_of

SOURCES_TRIED = 5
"""Normals that are tried for a sample before its mask counts as impossible to place."""


class SampleSpec(BaseModel):
    """One row of the plan."""

    model_config = ConfigDict(frozen=True)

    sample_id: str
    defect: str
    index: int
    """0, 1, 2 ... within the defect."""
    seed: int
    """Of the painting; depends on the run's seed, category, defect and index alone."""
    prompt: str
    source_path: str
    """The normal, relative to the category's folder."""
    source_sha256: str
    planned_mask_path: str
    """Relative to the run's folder."""
    window: tuple[int, int, int, int]
    """left, top, right, bottom in source pixels."""
    mask_sampler: str
    mask_like: tuple[str, ...]
    """The references that the mask's defects follow in size and direction."""
    mask_area_fraction: float
    """Of the whole image."""
    reason: str = ""
    """Why no mask could be placed; such a sample is not painted."""


SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("defect", pa.string()),
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("source_path", pa.string()),
        ("source_sha256", pa.string()),
        ("planned_mask_path", pa.string()),
        ("window", pa.list_(pa.int32(), 4)),
        ("mask_sampler", pa.string()),
        ("mask_like", pa.list_(pa.string())),
        ("mask_area_fraction", pa.float32()),
        ("reason", pa.string()),
    ]
)


def read_plan(run: Run) -> list[SampleSpec]:
    """The plan so far, by defect and index; empty when there is none."""
    if not run.plan_path.is_file():
        return []
    return [SampleSpec.model_validate(row) for row in read_table(run.plan_path)]


def plan_samples(run: Run) -> list[SampleSpec]:
    """The plan for at least generate.count samples per defect; what was planned before stays as it is.

    A sample whose mask finds no room on any of several normals is kept with the reason. Raises DataError when that
    is so for every sample of a defect.
    """
    config = run.config
    planned = read_plan(run)
    count_of = {defect: sum(spec.defect == defect for spec in planned) for defect in config.data.defects}
    snapshot = run.snapshot()
    for defect in config.data.defects:
        if count_of[defect] < config.generate.count:
            known = [spec for spec in planned if spec.defect == defect]
            planned += _plan_defect(run, snapshot, defect, known)
    order = {defect: position for position, defect in enumerate(config.data.defects)}
    planned.sort(key=lambda spec: (order[spec.defect], spec.index))
    write_table(run.plan_path, [spec.model_dump() for spec in planned], SCHEMA)
    return planned


def _plan_defect(
    run: Run, snapshot: Sequence[ImageRecord], defect: str, known: Sequence[SampleSpec]
) -> list[SampleSpec]:
    """Specs of the samples that follow the `known` ones; each normal is read once.

    No mask is nearly one of a smaller index on the same normal, as far as either is there at its first attempt: so
    a plan that grows is the plan that was made at once.
    """
    config = run.config
    indices = range(len(known), config.generate.count)
    normals = [record for record in snapshot if record.role == "normal"]
    masks = CategoryMasks(config, snapshot, defect)
    spots: dict[int, list[tuple[int, Spot]]] = defaultdict(list)
    for spec in known:
        source = _source_of(config, defect, spec.index, 0, len(normals))
        if spec.source_path == normals[source].path:
            spots[source].append((spec.index, spot_of(read_mask(run.folder / spec.planned_mask_path))))
    specs: list[SampleSpec] = []
    waiting = dict.fromkeys(indices, "")
    for attempt in range(min(SOURCES_TRIED, len(normals))):
        by_source: dict[int, list[int]] = defaultdict(list)
        for index in waiting:
            by_source[_source_of(config, defect, index, attempt, len(normals))].append(index)
        for source in progress(sorted(by_source), f"plan {defect}"):
            path = config.category_folder / normals[source].path
            try:
                scene = masks.scene(read_image(path))
            except DoesNotFit as problem:
                waiting.update(dict.fromkeys(by_source[source], f"{path}: {problem}"))
                continue
            for index in by_source[source]:
                before = [spot for other, spot in spots[source] if other < index]
                try:
                    sampled = masks.sampler.sample(scene, index, before)
                except DoesNotFit as problem:
                    waiting[index] = f"{path}: {problem}"
                else:
                    if attempt == 0:
                        spots[source].append((index, sampled.spot))
                    specs.append(_write_spec(run, normals[source], defect, index, sampled, masks.names))
                    del waiting[index]
        if not waiting:
            return specs
    if not specs and not known:
        raise DataError(f"{defect}: no mask finds a place, see masks in the config; {next(iter(waiting.values()))}")
    return [*specs, *(_unplaced(config, defect, index, reason) for index, reason in waiting.items())]


def _source_of(config: RunConfig, defect: str, index: int, attempt: int, normals: int) -> int:
    """Which normal a sample is painted on: all in random order before any comes twice; the next one per attempt."""
    epoch, position = divmod(index, normals)
    rng = np.random.default_rng(derive_seed(config.seed, config.category, defect, "sources", epoch))
    return int(rng.permutation(normals)[(position + attempt) % normals])


def _identity(config: RunConfig, defect: str, index: int) -> dict[str, Any]:
    """What a sample is, wherever its mask lies."""
    parts = (config.seed, config.category, defect, index)
    return {
        "sample_id": f"{defect}-{index:06d}-{digest(parts)[:8]}",
        "defect": defect,
        "index": index,
        "seed": derive_seed(*parts, "painting"),
        "prompt": config.prompts(defect)[1],
    }


def _write_spec(
    run: Run, source: ImageRecord, defect: str, index: int, sampled: SampledMask, names: Sequence[str]
) -> SampleSpec:
    """Writes the planned mask and gives the row that points to it; `names` are the references'."""
    identity = _identity(run.config, defect, index)
    mask_path = Path("planned_masks") / defect / f"{identity['sample_id']}.png"
    write_png(run.folder / mask_path, sampled.mask)
    return SampleSpec(
        **identity,
        source_path=source.path,
        source_sha256=source.sha256,
        planned_mask_path=mask_path.as_posix(),
        window=window_box(sampled.mask, run.config.window, run.config.base.resolution),
        mask_sampler=sampled.sampler,
        mask_like=tuple(names[like] for like in sampled.like),
        mask_area_fraction=float(sampled.mask.mean()),
    )


def _unplaced(config: RunConfig, defect: str, index: int, reason: str) -> SampleSpec:
    """The row of a sample that is not painted."""
    nothing: dict[str, Any] = {"source_path": "", "source_sha256": "", "planned_mask_path": "", "mask_sampler": ""}
    return SampleSpec(
        **_identity(config, defect, index),
        **nothing,
        window=(0, 0, 0, 0),
        mask_like=(),
        mask_area_fraction=0.0,
        reason=reason,
    )


def shards_to_do(run: Run, plan: Sequence[SampleSpec]) -> list[Shard]:
    """The shards that are missing up to generate.count, in order: runs of unpainted samples, shard_size at most."""
    missing = []
    for defect in run.config.data.defects:
        painted = {index for shard in finished_shards(run, defect) for index in range(shard.start, shard.stop)}
        count = min(sum(spec.defect == defect for spec in plan), run.config.generate.count)
        start = 0
        while start < count:
            stop = start
            while stop < count and stop not in painted and stop - start < run.config.generate.shard_size:
                stop += 1
            if stop > start:
                missing.append(Shard(defect, start, stop))
            start = max(stop, start + 1)
    return missing


def finished_shards(run: Run, defect: str) -> list[Shard]:
    """The shards of `defect` that are on disk, in order."""
    names = sorted(path.name for path in (run.folder / "shards" / defect).glob("[0-9]*-[0-9]*"))
    return [Shard(defect, int(start), int(stop)) for start, stop in (name.split("-") for name in names)]
