"""The masks of a config before anything is trained: a picture of them, and a comparison with the references."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import unwritable
from defectfill.io.images import ImageArray, write_png
from defectfill.io.names import drawn_name
from defectfill.masks.category import CategoryMasks
from defectfill.painting.tiles import TILE_PX, Tile, outlined, titled_row
from defectfill.painting.window import crop_window
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture, references_of
from mask_sampling import PlacementError
from mask_sampling.placement import Scene
from mask_sampling.priors import Attributes, Comparison, compare, measure

COLUMNS = 8
MOST_BYTES = 200
"""Of the name of a sheet; file systems take 255, and the unfinished file has a longer one."""
NORMALS = 8
"""Normals that the masks are placed on; more only take longer."""


class DefectMasks(BaseModel):
    """Masks of one defect beside its references' masks."""

    model_config = ConfigDict(frozen=True)

    count: int
    """Masks that found room."""
    comparisons: tuple[Comparison, ...]
    """One per attribute."""
    note: str
    """What was decided where the object does not stand out from its ground; empty elsewhere."""
    not_placed: dict[str, int]
    """Why normals or masks were passed over -> how often."""


def write_mask_sheet(config: RunConfig, path: Path, count: int) -> dict[str, DefectMasks]:
    """Write the sheet to `path` and return, per defect, how `count` masks compare with those of the references.

    Masks are drawn as the plan draws them, on a few normals. Raises DataError with the reasons when none finds room.
    """
    _check_sheet_path(path)
    records = ingest(config)
    rows: list[NDArray[np.uint8]] = []
    report: dict[str, DefectMasks] = {}
    for defect in config.data.defects:
        masks = CategoryMasks(config, records, defect)
        rows.append(titled_row(f"{drawn_name(defect)}: references", _reference_tiles(config, records, defect), COLUMNS))
        tiles, sampled, refused = _sampled(config, records, masks, count)
        if not sampled:
            raise DataError(f"{defect}: no mask finds room, see masks in the config; {next(iter(refused))}")
        for start in range(0, len(tiles), COLUMNS):
            rows.append(
                titled_row(f"{drawn_name(defect)}: masks" if not start else "", tiles[start : start + COLUMNS], COLUMNS)
            )
        comparisons = tuple(compare(masks.sampler.attributes, sampled))
        report[defect] = DefectMasks(
            count=len(sampled), comparisons=comparisons, note=masks.note, not_placed=dict(refused)
        )
    write_png(path, np.concatenate(rows))
    return report


def _check_sheet_path(path: Path) -> None:
    """Raise ConfigError, before anything is drawn, where no picture can be written."""
    taken = os.path.lexists(path) and not path.is_file()
    if path.suffix.lower() != ".png" or taken:
        raise ConfigError(f"--out {path}: expected the name of a PNG file in a folder that is there or can be made")
    if len(os.fsencode(path.name)) > MOST_BYTES:
        raise ConfigError(f"--out: expected a name of at most {MOST_BYTES} bytes, found {path.name}")
    if folder := unwritable(path.absolute().parent):
        raise ConfigError(f"--out {path}: {folder} is not a folder that can be written to")


def format_mask_report(report: Mapping[str, DefectMasks]) -> list[str]:
    """Return the lines of a table per defect, each followed by what was not placed."""
    lines: list[str] = []
    for defect, masks in report.items():
        lines += _table(defect, masks)
        lines += [f"{defect}: {masks.note}"] if masks.note else []
        lines += [f"{defect}: {times} not placed: {reason}" for reason, times in masks.not_placed.items()]
    return lines


def _reference_tiles(config: RunConfig, records: Sequence[ImageRecord], defect: str) -> list[Tile]:
    folder = config.category_folder
    own = references_of(records, defect)[:COLUMNS]
    return [_tile(read_picture(folder, record), read_defect(folder, record)) for record in own]


def _sampled(
    config: RunConfig, records: Sequence[ImageRecord], masks: CategoryMasks, count: int
) -> tuple[list[Tile], list[Attributes], Counter[str]]:
    """Return tiles of the first two rows, the attributes of all masks, and why how many were not placed."""
    normals = [record for record in records if record.role == "normal"][:NORMALS]
    scenes: list[tuple[ImageArray, Scene]] = []
    refused: Counter[str] = Counter()
    for record in normals:
        image = read_picture(config.category_folder, record)
        try:
            scenes.append((image, masks.scene(image)))
        except PlacementError as problem:
            refused[f"{config.category_folder / record.path}: {problem}"] += 1
    tiles: list[Tile] = []
    attributes: list[Attributes] = []
    for index in range(count if scenes else 0):
        image, scene = scenes[index % len(scenes)]
        try:
            mask = masks.sample(scene, index).mask
        except PlacementError as problem:
            refused[str(problem)] += 1
            continue
        attributes.append(measure(mask, scene.object_px, scene.pose.axis))
        if len(tiles) < 2 * COLUMNS:
            tiles.append(_tile(image, mask))
    return tiles, attributes, refused


def _tile(image: ImageArray, mask: NDArray[np.bool_]) -> Tile:
    """Return the whole image on a white square, with the mask outlined."""
    side = max(mask.shape)
    before = [(side - length) // 2 for length in mask.shape]
    around = [(first, side - length - first) for first, length in zip(before, mask.shape, strict=True)]
    white = np.pad(image, [*around, (0, 0)], constant_values=np.iinfo(image.dtype).max)
    return outlined(crop_window(white, np.pad(mask, around), (0, 0, side, side), TILE_PX))


def _table(defect: str, masks: DefectMasks) -> Iterator[str]:
    """Yield the lines of one defect: smallest, median and largest of both sides, and the two-sample distances."""
    yield f"{defect}, {masks.count} masks: smallest, median, largest of both sides, and how far apart they are"
    yield f"  {'attribute':<18} {'references':>26} {'masks':>26} {'KS':>5} {'Wasserstein':>12}"
    for row in masks.comparisons:
        sides = [" ".join(f"{value:8.4g}" for value in side) for side in (row.references, row.samples)]
        yield f"  {row.attribute:<18} {sides[0]:>26} {sides[1]:>26} {row.ks:5.2f} {row.wasserstein:12.3g}"
