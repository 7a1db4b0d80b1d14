"""Samples drawn for the report: source by source, so that each is read once, several at a time."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectfill.dataset.report.pictures import Budget, change_of, outline, whole, window_at, write_webp
from defectfill.dataset.report.samples import Files, PaintedSample
from defectfill.io.images import ImageArray, read_mask
from defectfill.io.progress import progress
from defectfill.io.white_level import read_stretched
from defectfill.records.manifest import ManifestRow

SOURCE_SIDE_PX = 320
"""Of a whole source; the pictures of its samples lie on it."""
HEAT_SIDE = 96
"""Cells of the map of positions, each way."""

Heat = NDArray[np.float32]
"""[HEAT_SIDE, HEAT_SIDE]: how many labels cover each cell of the image."""


@dataclass(frozen=True)
class DrawnSample:
    """The pictures of a sample, `<number>-after.webp`, `-before`, `-change`, and what was found in its masks."""

    number: int
    side: int
    """Of the pictures, in pixels; the outlines are in them."""
    planned: str
    label: str
    """SVG paths."""


@dataclass(frozen=True)
class DrawnSource:
    """A normal that was painted on: its picture is `source-<number>.webp`."""

    path: str
    number: int
    width: int
    height: int


@dataclass(frozen=True)
class Scenes:
    """All pictures of the samples of a run."""

    samples: dict[str, DrawnSample]
    """By sample id; those whose image was not kept are missing."""
    sources: dict[str, DrawnSource]
    """By path."""
    heat: dict[str, Heat]
    """Of the kept samples of each defect."""


def draw_scenes(samples: Sequence[PaintedSample], folder: Path) -> Scenes:
    """Write the pictures of samples, and of their sources whole, into a folder."""
    numbered = sorted(enumerate(samples), key=lambda pair: pair[1].source)
    groups = [list(group) for _, group in groupby(numbered, key=lambda pair: pair[1].source)]
    budget = Budget.of(len(samples))
    found = Scenes({}, {}, {})

    def draw(job: tuple[int, list[tuple[int, PaintedSample]]]) -> Scenes:
        return _draw_source(*job, folder, budget)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for part in progress(threads.map(draw, enumerate(groups)), "pictures of the report", total=len(groups)):
            found.samples.update(part.samples)
            found.sources.update(part.sources)
            for defect, heat in part.heat.items():
                _add(found.heat, defect, heat)
    return found


def _draw_source(
    number: int,
    group: Sequence[tuple[int, PaintedSample]],
    folder: Path,
    budget: Budget,
) -> Scenes:
    """Write the pictures of all samples of one source, and of the source."""
    row = group[0][1].row
    source = read_stretched(group[0][1].source, row.white_level)
    write_webp(folder / f"source-{number}.webp", whole(source, SOURCE_SIDE_PX), budget)
    drawn = DrawnSource(row.source_path, number, source.shape[1], source.shape[0])
    found = Scenes({}, {row.source_path: drawn}, {})
    for position, sample in group:
        if sample.files is None:
            continue
        row = sample.row
        found.samples[row.sample_id] = _draw_sample(position, row, sample.files, source, folder, budget)
        if not row.reason:
            _add(found.heat, row.defect, heat_of(read_mask(sample.files.label)))
    return found


def _add(sums: dict[str, Heat], defect: str, heat: Heat) -> None:
    sums[defect] = sums[defect] + heat if defect in sums else heat


def _draw_sample(
    number: int,
    row: ManifestRow,
    files: Files,
    source: ImageArray,
    folder: Path,
    budget: Budget,
) -> DrawnSample:
    assert row.window is not None
    box = row.window
    after = window_at(read_stretched(files.image, row.white_level), read_mask(files.label), box, budget)
    before = window_at(source, read_mask(files.planned), box, budget)
    write_webp(folder / f"{number}-after.webp", after.image, budget)
    write_webp(folder / f"{number}-before.webp", before.image, budget)
    write_webp(folder / f"{number}-change.webp", change_of(before.image, after.image), budget)
    return DrawnSample(
        number=number,
        side=len(after.mask),
        planned=outline(before.mask),
        label=outline(after.mask),
    )


def heat_of(mask: NDArray[np.bool_]) -> Heat:
    """Return which share of each cell of the whole image a mask [H, W] covers."""
    import cv2

    return np.asarray(
        cv2.resize(mask.astype(np.float32), (HEAT_SIDE, HEAT_SIDE), interpolation=cv2.INTER_AREA), dtype=np.float32
    )
