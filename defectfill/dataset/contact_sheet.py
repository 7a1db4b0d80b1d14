"""The contact sheet: one picture that shows, defect by defect, what was learnt and what was made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.dataset import dataset

from defectfill.io.images import ImageArray, read_mask, write_png
from defectfill.io.names import drawn_name
from defectfill.io.white_level import read_stretched
from defectfill.painting.gates import REASONS
from defectfill.painting.tiles import GAP_PX, Tile, outlined, titled_row
from defectfill.painting.window import Box, Window, crop_window, window_box
from defectfill.records.manifest import ManifestRow
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture, references_of
from defectfill.runs.run import Run
from defectfill.runs.shards import rejected_files

COLUMNS, LEAST_COLUMNS = 6, 3
LEAST_TILE_PX, MOST_TILE_PX = 176, 448
"""A tile has the pixels of the largest window on the sheet, within these."""
ROW_PX = 1640
"""Of larger tiles there are fewer in a row, so that it is no wider, down to LEAST_COLUMNS."""


@dataclass(frozen=True)
class SheetRow:
    """A row of the sheet."""

    title: str
    tiles: list[Tile]
    captions: tuple[tuple[str, ...], ...] = ()
    """Lines of text under each tile."""


@dataclass(frozen=True)
class Reference:
    """A reference with its mask [H, W] and the window that is shown."""

    record: ImageRecord
    mask: NDArray[np.bool_]
    box: Box


def write_contact_sheet(run: Run, columns: int = COLUMNS) -> Path:
    """Write `contact_sheet.png` beside the dataset of a run and return its path.

    Per defect four rows of at most `columns` crops: references, normals with the planned mask outlined, results
    with the figures that the gates judge, drawn masks. Where fewer are kept than wanted, and than a row holds, a row
    of rejected ones follows for each reason. A window that is larger than a tile is shown reduced, and its caption
    says so.
    """
    side = _tile_px(run, columns)
    columns = min(columns, max(ROW_PX // (side + GAP_PX), LEAST_COLUMNS))
    rows = [row for defect in run.config.data.defects for row in _defect_rows(run, defect, columns, side)]
    path = run.folder / "contact_sheet.png"
    write_png(path, np.concatenate([titled_row(row.title, row.tiles, columns, side, row.captions) for row in rows]))
    return path


def _tile_px(run: Run, columns: int) -> int:
    """Return the side of a tile: none of the windows shown loses sharpness up to MOST_TILE_PX."""
    defects = run.config.data.defects
    shown = [row.window for defect in defects for row in _first(run, "manifest", defect, columns) if row.window]
    shown += [each.box for defect in defects for each in _references(run, defect, columns)]
    widest = max((window[2] - window[0] for window in shown), default=0)
    return min(max(widest, LEAST_TILE_PX), MOST_TILE_PX)


def _first(run: Run, table: str, defect: str, columns: int, reason: str | None = None) -> list[ManifestRow]:
    """Return the first samples of a defect in a table of the dataset; reason: of those rejected for it."""
    wanted = (pc.field("defect") == defect) & (pc.field("origin") == "synthetic")
    wanted = wanted & (pc.field("reason") == reason) if reason else wanted
    found = dataset(run.dataset / f"{table}.parquet").head(columns, filter=wanted)
    return [ManifestRow.model_validate(row) for row in found.to_pylist()]


def _defect_rows(run: Run, defect: str, columns: int, side: int) -> Iterator[SheetRow]:
    """Yield the rows of one defect."""
    name, painted = drawn_name(defect), _first(run, "manifest", defect, columns)
    references = _references(run, defect, columns)
    reduced = tuple(_reduced(each.box, side) for each in references)
    yield SheetRow(f"{name}: references", [_reference_tile(run, each, side) for each in references], reduced)
    planned = [read_mask(run.dataset / row.planned_mask_path) for row in painted]
    drawn = [read_mask(run.dataset / row.drawn_mask_path) for row in painted]
    normals = [
        _crop(run.dataset / row.source_path, mask, row, side) for row, mask in zip(painted, planned, strict=True)
    ]
    yield SheetRow(f"{name}: normals, planned mask outlined", [outlined(window) for window in normals])
    results = [_crop(run.dataset / row.image_path, mask, row, side) for row, mask in zip(painted, drawn, strict=True)]
    figures = tuple(_caption(row, side) for row in painted)
    yield SheetRow(f"{name}: results, with what the gates measure", [window.image for window in results], figures)
    masks = [np.repeat(window.mask[..., None], 3, axis=2).astype(np.float32) for window in results]
    yield SheetRow(f"{name}: drawn masks", masks)
    if len(painted) < min(columns, run.config.generate.count):
        yield from _rejected_rows(run, defect, columns, side)


def _references(run: Run, defect: str, columns: int) -> list[Reference]:
    """Return the first references of a defect."""
    config, records = run.config, references_of(run.snapshot(), defect)[:columns]
    masks = [read_defect(config.category_folder, record) for record in records]
    boxes = [window_box(mask, config.window, config.latent_side) for mask in masks]
    return [Reference(*each) for each in zip(records, masks, boxes, strict=True)]


def _reference_tile(run: Run, reference: Reference, side: int) -> Tile:
    """Return the window of a reference with its mask outlined."""
    image = read_picture(run.config.category_folder, reference.record)
    return outlined(crop_window(image, reference.mask, reference.box, side))


def _reduced(box: Box, side: int) -> tuple[str, ...]:
    """Return what is said of a window that is larger than a tile of such a side."""
    width = box[2] - box[0]
    return (f"shown at {100 * side / width:.0f} %",) if width > side else ()


def _rejected_rows(run: Run, defect: str, columns: int, side: int) -> Iterator[SheetRow]:
    """Yield rows of the first samples that were rejected for each reason, the drawn mask outlined."""
    for reason in REASONS:
        rows = _first(run, "rejected", defect, columns, reason)
        found = [(row, files) for row in rows if (files := rejected_files(run, defect, row.sample_id))]
        if not found:
            continue
        tiles = [outlined(_crop(image, read_mask(mask), row, side)) for row, (image, mask) in found]
        figures = tuple(_caption(row, side) for row, _ in found)
        yield SheetRow(f"{drawn_name(defect)}: rejected as {reason}", tiles, figures)


def _crop(path: Path, mask: NDArray[np.bool_], row: ManifestRow, side: int) -> Window:
    """Return the window in which a row was painted, of the image in a file, at the tile's size."""
    assert row.window is not None
    image: ImageArray = read_stretched(path, row.white_level)
    left, top, right, bottom = row.window
    box: Box = (left, top, right, bottom)
    return crop_window(image, mask, box, side)


def _caption(row: ManifestRow, side: int) -> tuple[str, ...]:
    """Return the figures that the gates judge, in lines; of those measured at several resolutions the finest."""
    lines = (
        {"drawn": row.drawn_fraction, "contrast": row.contrast},
        {"off": row.off_mask_fraction, "texture": _finest(row.texture)},
        {"seam": row.seam_gradient, "edge": _finest(row.edge_sharpness)},
        {"like": row.reference_correlation, "apart": row.appearance_distance},
    )
    figures = tuple(
        "   ".join(f"{name} {value:.2g}" for name, value in line.items() if value is not None) for line in lines
    )
    assert row.window is not None
    return (*figures, *_reduced(row.window, side))


def _finest(values: Sequence[float]) -> float | None:
    return values[0] if values else None
