"""Extends the plan by what is still wanted."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.files import in_blocks, new_table
from defectfill.io.hashing import derive_seed
from defectfill.io.images import read_image, write_png
from defectfill.io.progress import progress
from defectfill.masks.category import CategoryMasks
from defectfill.painting.window import latent_cells, window_box
from defectfill.records.plan import SCHEMA, SampleSpec, Shard
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.plan import (
    count_planned,
    identity_of,
    plan_table,
    read_planned_mask,
)
from defectfill.runs.run import Run
from defectfill.runs.shards import count_rejected, finished_shards
from defectfill.runs.timings import timed
from mask_sampling import PlacementError
from mask_sampling.sampling import SampledMask
from mask_sampling.spots import Spot, spot_of

SOURCES_TRIED = 5
"""Normals that are tried for a sample before its mask counts as impossible to place."""


REMEMBERED = 128
"""Masks on the same normal that a new one is compared with."""


BLOCK = 4096
"""Samples that are planned and written together; so many masks are held in memory, and the remembered ones."""


class Planner(Protocol):
    """Plans samples of one defect."""

    def plan(self, indices: range) -> list[SampleSpec]:
        """Specs of the samples, in order."""
        ...


def plan_samples(run: Run, open_planner: Callable[[Run, str, int], Planner] | None = None) -> list[Shard]:
    """Extends the plan by what is still wanted, and gives the shards to paint.

    Of each defect generate.count samples are planned, and one more for each that was rejected: that was painted and
    found bad, or whose mask finds no room on any of several normals, which is kept in the plan with the reason. The
    plan ends at generate.max_attempts times the count. What was planned before stays as it is. Raises DataError when
    no mask of a defect finds room.

    open_planner: takes the run, a defect and the first index that is not planned; DefectPlanner, if not given.
    """
    config, planned = run.config, count_planned(run)
    rejected = {defect: count_rejected(run, defect) for defect in config.data.defects}
    if not any(_missing(config, planned[defect], rejected[defect]) for defect in config.data.defects):
        return shards_to_do(run, rejected)
    with timed(run, "plan"), new_table(run.plan_path, SCHEMA) as writer:
        for defect in config.data.defects:
            for rows in in_blocks(_grow(run, defect, planned, rejected, open_planner or DefectPlanner), BLOCK):
                writer.write_table(rows)
    return shards_to_do(run, rejected)


def _grow(
    run: Run,
    defect: str,
    planned: Counter[str],
    rejected: dict[str, int],
    open_planner: Callable[[Run, str, int], Planner],
) -> Iterator[pa.Table]:
    """The rows of a defect that are planned, then those that are missing, which are added to both counts."""
    for known in range(0, planned[defect], BLOCK):
        yield plan_table(run, defect, known, known + BLOCK)
    planner = None
    while missing := min(_missing(run.config, planned[defect], rejected[defect]), BLOCK):
        planner = planner or open_planner(run, defect, planned[defect])
        specs = planner.plan(range(planned[defect], planned[defect] + missing))
        planned[defect] += missing
        rejected[defect] += sum(bool(spec.reason) for spec in specs)
        yield pa.Table.from_pylist([spec.model_dump() for spec in specs], schema=SCHEMA)


def _missing(config: RunConfig, planned: int, rejected: int) -> int:
    """How many samples of a defect are still to be planned."""
    count = config.generate.count
    most = math.ceil(count * config.generate.max_attempts)
    return max(min(count - (planned - rejected), most - planned), 0)


class DefectPlanner:
    """Plans the samples of one defect from index `first` on, block by block.

    No mask is nearly one of a smaller index on the same normal, as far as either is there at its first attempt and not
    more than REMEMBERED others lie between: so a plan that grows is the plan that was made at once.
    """

    def __init__(self, run: Run, defect: str, first: int) -> None:
        self.run, self.defect, self.first, snapshot = run, defect, first, run.snapshot()
        self.normals = [record for record in snapshot if record.role == "normal"]
        self.masks = CategoryMasks(run.config, snapshot, defect)
        self.spots: dict[int, list[tuple[int, Spot]]] = {}
        self.any_placed = first > 0

    def plan(self, indices: range) -> list[SampleSpec]:
        """Specs of the samples, in order; each normal is read once per attempt."""
        config, oldest = self.run.config, indices.start - REMEMBERED * len(self.normals)
        for source, spots in self.spots.items():
            self.spots[source] = [(other, spot) for other, spot in spots if other >= oldest]
        specs: dict[int, SampleSpec] = {}
        waiting = dict.fromkeys(indices, "")
        for attempt in range(min(SOURCES_TRIED, len(self.normals))):
            by_source: dict[int, list[int]] = defaultdict(list)
            for index in waiting:
                by_source[self._source(index, attempt)].append(index)
            for source in progress(sorted(by_source), f"plan {self.defect}"):
                path = config.category_folder / self.normals[source].path
                try:
                    scene = self.masks.scene(read_image(path))
                except PlacementError as problem:
                    waiting.update(dict.fromkeys(by_source[source], f"{path}: {problem}"))
                    continue
                spots = self._spots(source, oldest)
                for index in by_source[source]:
                    before = [spot for other, spot in spots if self._remembers(index, other)]
                    try:
                        sampled = self.masks.sampler.sample(scene, index, before)
                    except PlacementError as problem:
                        waiting[index] = f"{path}: {problem}"
                    else:
                        if attempt == 0:
                            spots.append((index, sampled.spot))
                        specs[index] = self._write(self.normals[source], index, sampled)
                        del waiting[index]
            if not waiting:
                break
        self.any_placed = self.any_placed or bool(specs)
        if not self.any_placed:
            reason = next(iter(waiting.values()))
            raise DataError(f"{self.defect}: no mask finds a place, see masks in the config; {reason}")
        specs |= {index: _unplaced(config, self.defect, index, reason) for index, reason in waiting.items()}
        return [specs[index] for index in indices]

    def _source(self, index: int, attempt: int) -> int:
        """Which normal a sample is painted on: all in random order before any comes twice; the next one per attempt."""
        epoch, position = divmod(index, len(self.normals))
        order = _order_of_normals(self.run.config.seed, self.run.config.category, self.defect, epoch, len(self.normals))
        return order[(position + attempt) % len(self.normals)]

    def _remembers(self, index: int, other: int) -> bool:
        """Whether the sample `index` is compared with an `other` one on the same normal."""
        return index - REMEMBERED * len(self.normals) <= other < index

    def _spots(self, source: int, oldest: int) -> list[tuple[int, Spot]]:
        """Index and spot of the masks placed on a normal at their first attempt, from the index `oldest` on."""
        if source not in self.spots:
            self.spots[source] = [
                (row["index"], spot_of(read_planned_mask(self.run, row["planned_mask_path"])))
                for row in self.known
                if oldest <= row["index"]
                and row["source_path"] == self.normals[source].path
                and self._source(row["index"], 0) == source
            ]
        return self.spots[source]

    @cached_property
    def known(self) -> list[dict[str, Any]]:
        """What was planned before and may be remembered, in part."""
        oldest = max(self.first - REMEMBERED * len(self.normals), 0)
        columns = ["index", "source_path", "planned_mask_path"]
        return plan_table(self.run, self.defect, oldest, self.first, columns).to_pylist()

    def _write(self, source: ImageRecord, index: int, sampled: SampledMask) -> SampleSpec:
        """Writes the planned mask and gives the row that points to it."""
        config, identity = self.run.config, identity_of(self.run.config, self.defect, index)
        mask_path = Path("planned_masks") / self.defect / f"{identity['sample_id']}.png"
        write_png(self.run.folder / mask_path, sampled.mask)
        box = window_box(sampled.mask, config.window, config.base.resolution)
        return SampleSpec(
            **identity,
            source_path=source.path,
            source_sha256=source.sha256,
            planned_mask_path=mask_path.as_posix(),
            window=box,
            latent_cells=latent_cells(sampled.mask, box, config.base.resolution),
            mask_sampler=sampled.sampler,
            mask_like=tuple(self.masks.names[like] for like in sampled.like),
            mask_area_fraction=float(sampled.mask.mean()),
        )


@lru_cache(maxsize=4096)
def _order_of_normals(seed: int, category: str, defect: str, epoch: int, normals: int) -> tuple[int, ...]:
    rng = np.random.default_rng(derive_seed(seed, category, defect, "sources", epoch))
    return tuple(rng.permutation(normals).tolist())


def _unplaced(config: RunConfig, defect: str, index: int, reason: str) -> SampleSpec:
    """The row of a sample that is not painted."""
    nothing: dict[str, Any] = {"source_path": "", "source_sha256": "", "planned_mask_path": "", "mask_sampler": ""}
    return SampleSpec(
        **identity_of(config, defect, index),
        **nothing,
        window=(0, 0, 0, 0),
        latent_cells=0.0,
        mask_like=(),
        mask_area_fraction=0.0,
        reason=reason,
    )


def shards_to_do(run: Run, rejected: Mapping[str, int] | None = None) -> list[Shard]:
    """The shards of planned samples that are missing, in order: runs of unpainted samples, shard_size at most.

    Samples beyond generate.count, planned when more were asked for, are left out unless those before are rejected.
    rejected: how many of each defect are, where that is known.
    """
    missing, planned, size = [], count_planned(run), run.config.generate.shard_size
    for defect in run.config.data.defects:
        bad = count_rejected(run, defect) if rejected is None else rejected[defect]
        stops = min(planned[defect], run.config.generate.count + bad)
        painted = {index for shard in finished_shards(run, defect) for index in range(shard.start, shard.stop)}
        start = 0
        while start < stops:
            stop = start
            while stop < stops and stop not in painted and stop - start < size:
                stop += 1
            if stop > start:
                missing.append(Shard(defect, start, stop))
            start = max(stop, start + 1)
    return missing
