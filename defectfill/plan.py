"""The plan: one row per image to be made, written before any painting."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from defectfill.config import RunConfig
from defectfill.errors import DataError
from defectfill.files import read_table, write_table
from defectfill.hashing import derive_seed, digest
from defectfill.images import ImageArray, read_image, read_mask, write_png
from defectfill.progress import progress
from defectfill.run import Run, Shard, references_of
from defectfill.snapshot import ImageRecord
from defectfill.window import window_box
from mask_sampling import DoesNotFit
from mask_sampling.placement import find_foreground
from mask_sampling.sampling import SampledMask, sample_mask
from mask_sampling.shapes import ShapeSettings

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
    mask_area_fraction: float
    """Of the whole image."""


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
        ("mask_area_fraction", pa.float32()),
    ]
)


def read_plan(run: Run) -> list[SampleSpec]:
    """The plan so far, by defect and index; empty when there is none."""
    if not run.plan_path.is_file():
        return []
    return [SampleSpec.model_validate(row) for row in read_table(run.plan_path)]


def plan_samples(run: Run) -> list[SampleSpec]:
    """The plan for at least generate.count samples per defect; what was planned before stays as it is.

    Raises DataError when a sample's mask finds no room on any of several normals.
    """
    config = run.config
    planned = read_plan(run)
    count_of = {defect: sum(spec.defect == defect for spec in planned) for defect in config.data.defects}
    snapshot = run.snapshot()
    for defect in config.data.defects:
        missing = range(count_of[defect], config.generate.count)
        planned += _plan_defect(run, snapshot, defect, missing)
    order = {defect: position for position, defect in enumerate(config.data.defects)}
    planned.sort(key=lambda spec: (order[spec.defect], spec.index))
    write_table(run.plan_path, [spec.model_dump() for spec in planned], SCHEMA)
    return planned


def _plan_defect(run: Run, snapshot: Sequence[ImageRecord], defect: str, indices: range) -> list[SampleSpec]:
    """Specs of the samples `indices`; each normal is read once, since a sample depends on no other."""
    folder = run.config.category_folder
    normals = [record for record in snapshot if record.role == "normal"]
    references = [read_mask(folder / record.mask_path) for record in references_of(snapshot, defect)] if indices else []
    specs: list[SampleSpec] = []
    waiting = list(indices)
    for attempt in range(min(SOURCES_TRIED, len(normals))):
        by_source: dict[int, list[int]] = defaultdict(list)
        for index in waiting:
            by_source[_source_of(run.config, defect, index, attempt, len(normals))].append(index)
        waiting = []
        for source in progress(sorted(by_source), f"plan {defect}"):
            image = read_image(folder / normals[source].path)
            foreground = foreground_of(run.config, image)
            for index in by_source[source]:
                try:
                    mask = _sample(run.config, references, foreground, defect, index, attempt)
                except DoesNotFit:
                    waiting.append(index)
                else:
                    specs.append(_write_spec(run, normals[source], defect, index, mask))
        if not waiting:
            return specs
    raise DataError(
        f"{folder}: no mask of {defect} finds room inside the object on any of {SOURCES_TRIED} normal images tried "
        f"for sample {waiting[0]}; see masks.foreground and masks.reference.scale"
    )


def _source_of(config: RunConfig, defect: str, index: int, attempt: int, normals: int) -> int:
    """Which normal a sample is painted on: all in random order before any comes twice; the next one per attempt."""
    epoch, position = divmod(index, normals)
    rng = np.random.default_rng(derive_seed(config.seed, config.category, defect, "sources", epoch))
    return int(rng.permutation(normals)[(position + attempt) % normals])


def foreground_of(config: RunConfig, image: ImageArray) -> NDArray[np.bool_]:
    """Where defects may lie in a normal."""
    if config.masks.foreground == "full":
        return np.ones(image.shape[:2], dtype=bool)
    return find_foreground(image)


def _sample(
    config: RunConfig,
    references: Sequence[NDArray[np.bool_]],
    foreground: NDArray[np.bool_],
    defect: str,
    index: int,
    attempt: int,
) -> SampledMask:
    masks = config.masks
    settings = ShapeSettings(**masks.reference.model_dump())
    rng = np.random.default_rng(derive_seed(config.seed, config.category, defect, index, "mask", attempt))
    return sample_mask(references, foreground, masks.samplers, settings, masks.area_tolerance, rng)


def _write_spec(run: Run, source: ImageRecord, defect: str, index: int, planned: SampledMask) -> SampleSpec:
    """Writes the planned mask and gives the row that points to it."""
    config = run.config
    identity = (config.seed, config.category, defect, index)
    sample_id = f"{defect}-{index:06d}-{digest(identity)[:8]}"
    mask_path = Path("planned_masks") / defect / f"{sample_id}.png"
    write_png(run.folder / mask_path, planned.mask)
    return SampleSpec(
        sample_id=sample_id,
        defect=defect,
        index=index,
        seed=derive_seed(*identity, "painting"),
        prompt=config.prompts(defect)[1],
        source_path=source.path,
        source_sha256=source.sha256,
        planned_mask_path=mask_path.as_posix(),
        window=window_box(planned.mask, config.window),
        mask_sampler=planned.sampler,
        mask_area_fraction=float(planned.mask.mean()),
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
