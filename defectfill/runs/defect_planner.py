"""The planner of a defect: which normal each sample is painted on, and where its mask lies."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.hashing import derive_seed
from defectfill.io.images import write_png
from defectfill.io.progress import progress
from defectfill.masks.category import CategoryMasks
from defectfill.painting.window import latent_cells, window_box
from defectfill.records.plan import SampleSpec
from defectfill.records.snapshot import ImageRecord, read_picture
from defectfill.runs.plan import identity_of, plan_table, read_planned_mask
from defectfill.runs.run import Run
from mask_sampling import PlacementError
from mask_sampling.placement import Scene
from mask_sampling.sampling import SampledMask
from mask_sampling.spots import Spot, spot_of

SOURCES_TRIED = 5
"""Normals that are tried for a sample before its mask counts as finding no room."""

REMEMBERED = 128
"""Masks on the same normal that a new one is compared with."""


def check_placement(config: RunConfig, records: Sequence[ImageRecord], defect: str) -> str:
    """Return what was decided about the object of a defect's pictures, in a line, or an empty one.

    Raises DataError where a plan of the defect could not be begun, for the reasons that DefectPlanner would give.
    records: the real images. Masks are drawn on the normals that the plan begins with until one finds room.
    """
    masks, normals = CategoryMasks(config, records, defect), [record for record in records if record.role == "normal"]
    scenes: dict[int, Scene | str] = {}
    reasons: list[str] = []
    for index, attempt in product(range(config.generate.count), range(min(SOURCES_TRIED, len(normals)))):
        source = _source_of(config, defect, len(normals), index, attempt)
        path = config.category_folder / normals[source].path
        try:
            if source not in scenes:
                scenes[source] = str(path)
                scenes[source] = masks.scene(read_picture(config.category_folder, normals[source]))
            if isinstance(found := scenes[source], Scene):
                masks.sample(found, index)
                return masks.note
        except PlacementError as problem:
            reasons.append(f"{path}: {problem}")
    raise DataError(_no_room(defect, reasons[0]))


def _no_room(defect: str, reason: str) -> str:
    return f"{defect}: no mask finds room, see masks in the config; {reason}"


def _source_of(config: RunConfig, defect: str, normals: int, index: int, attempt: int) -> int:
    """Return the normal a sample is painted on: each once in random order, then anew; per attempt the next."""
    epoch, position = divmod(index, normals)
    order = _order_of_normals(config.seed, config.category, defect, epoch, normals)
    return order[(position + attempt) % normals]


class DefectPlanner:
    """A planner of the samples of one defect from index `first` on, block by block.

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
        """Return specs of the samples, in order; each normal is read once per attempt."""
        oldest = indices.start - REMEMBERED * len(self.normals)
        for source, spots in self.spots.items():
            self.spots[source] = [(other, spot) for other, spot in spots if other >= oldest]
        specs: dict[int, SampleSpec] = {}
        unplaced = dict.fromkeys(indices, "")
        for attempt in range(min(SOURCES_TRIED, len(self.normals))):
            if unplaced:
                self._attempt(attempt, oldest, unplaced, specs)
        self.any_placed = self.any_placed or bool(specs)
        if not self.any_placed:
            reason = next(iter(unplaced.values()))
            raise DataError(_no_room(self.defect, reason))
        specs |= {index: _unplaced(self.run.config, self.defect, index, reason) for index, reason in unplaced.items()}
        return [specs[index] for index in indices]

    def _attempt(self, attempt: int, oldest: int, unplaced: dict[int, str], specs: dict[int, SampleSpec]) -> None:
        """Try one normal for each of the samples in `unplaced` (index -> reason), and move those placed to `specs`."""
        by_source: dict[int, list[int]] = defaultdict(list)
        for index in unplaced:
            by_source[self._source(index, attempt)].append(index)
        for source in progress(sorted(by_source), f"plan {self.defect}"):
            path = self.run.config.category_folder / self.normals[source].path
            try:
                scene = self.masks.scene(read_picture(self.run.config.category_folder, self.normals[source]))
            except PlacementError as problem:
                unplaced.update(dict.fromkeys(by_source[source], f"{path}: {problem}"))
                continue
            spots = self._spots(source, oldest)
            for index in by_source[source]:
                before = [spot for other, spot in spots if self._remembers(index, other)]
                try:
                    sampled = self.masks.sample(scene, index, before)
                except PlacementError as problem:
                    unplaced[index] = f"{path}: {problem}"
                    continue
                if attempt == 0:
                    spots.append((index, sampled.spot))
                specs[index] = self._write(self.normals[source], index, sampled)
                del unplaced[index]

    def _source(self, index: int, attempt: int) -> int:
        """Return the normal on which a sample is tried."""
        return _source_of(self.run.config, self.defect, len(self.normals), index, attempt)

    def _remembers(self, index: int, other: int) -> bool:
        """Return whether the sample `index` is compared with an `other` one on the same normal."""
        return index - REMEMBERED * len(self.normals) <= other < index

    def _spots(self, source: int, oldest: int) -> list[tuple[int, Spot]]:
        """Return index and spot of the masks placed on a normal at their first attempt, from the index `oldest` on."""
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
        """The rows that were planned before and may be remembered, with some of their columns."""
        oldest = max(self.first - REMEMBERED * len(self.normals), 0)
        columns = ["index", "source_path", "planned_mask_path"]
        return plan_table(self.run, self.defect, oldest, self.first, columns).to_pylist()

    def _write(self, source: ImageRecord, index: int, sampled: SampledMask) -> SampleSpec:
        """Write the planned mask and return the row that points to it."""
        config, identity = self.run.config, identity_of(self.run.config, self.defect, index)
        mask_path = Path("planned_masks") / self.defect / f"{identity['sample_id']}.png"
        write_png(self.run.folder / mask_path, sampled.mask)
        box = window_box(sampled.mask, config.window, config.latent_side)
        return SampleSpec(
            **identity,
            source_path=source.path,
            source_sha256=source.sha256,
            planned_mask_path=mask_path.as_posix(),
            window=box,
            latent_cells=latent_cells(sampled.mask, box, config.latent_side),
            mask_sampler=sampled.sampler,
            mask_like=tuple(self.masks.names[like] for like in sampled.like),
            mask_area_fraction=float(sampled.mask.mean()),
        )


@lru_cache(maxsize=4096)
def _order_of_normals(seed: int, category: str, defect: str, epoch: int, normals: int) -> tuple[int, ...]:
    rng = np.random.default_rng(derive_seed(seed, category, defect, "sources", epoch))
    return tuple(rng.permutation(normals).tolist())


def _unplaced(config: RunConfig, defect: str, index: int, reason: str) -> SampleSpec:
    """Return the row of a sample that is not painted."""
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
