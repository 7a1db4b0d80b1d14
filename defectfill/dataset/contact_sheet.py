"""The contact sheet: one picture that shows, defect by defect, what was learnt and what was made."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.dataset import dataset

from defectfill.io.images import ImageArray, read_mask, write_png
from defectfill.io.names import drawn_name
from defectfill.io.white_level import read_stretched
from defectfill.painting.gates import REASONS
from defectfill.painting.tiles import TILE_PX, Tile, outlined, titled_row
from defectfill.painting.window import Box, Window, crop_window, window_box
from defectfill.records.manifest import ManifestRow
from defectfill.records.snapshot import read_picture, references_of
from defectfill.runs.run import Run
from defectfill.runs.shards import rejected_files


def write_contact_sheet(run: Run, columns: int = 8) -> Path:
    """Write `contact_sheet.png` beside the dataset of a run and return its path.

    Per defect four rows of at most `columns` crops: references, normals with the planned mask outlined, results,
    drawn masks. Where fewer are kept than wanted, and than a row holds, a row of rejected ones follows
    for each reason.
    """
    rows = [row for defect in run.config.data.defects for row in _defect_rows(run, defect, columns)]
    path = run.folder / "contact_sheet.png"
    write_png(path, np.concatenate([titled_row(title, tiles, columns) for title, tiles in rows]))
    return path


def _defect_rows(run: Run, defect: str, columns: int) -> Iterator[tuple[str, list[Tile]]]:
    """Yield (title, tiles) of the rows of one defect."""
    folder, config = run.config.category_folder, run.config
    records, references = run.snapshot(), []
    for record in references_of(records, defect)[:columns]:
        mask = read_mask(folder / record.mask_path)
        box = window_box(mask, config.window, config.latent_side)
        references.append(crop_window(read_picture(folder, record), mask, box, TILE_PX))
    yield f"{drawn_name(defect)}: references", [outlined(window) for window in references]
    of_defect = (pc.field("defect") == defect) & (pc.field("origin") == "synthetic")
    first = dataset(run.dataset / "manifest.parquet").head(columns, filter=of_defect)
    painted = [ManifestRow.model_validate(row) for row in first.to_pylist()]
    planned = [read_mask(run.dataset / row.planned_mask_path) for row in painted]
    yield (
        f"{drawn_name(defect)}: normals, planned mask outlined",
        [
            outlined(_crop(read_stretched(run.dataset / row.source_path, row.white_level), mask, row))
            for row, mask in zip(painted, planned, strict=True)
        ],
    )
    drawn = [
        _crop(
            read_stretched(run.dataset / row.image_path, row.white_level),
            read_mask(run.dataset / row.drawn_mask_path),
            row,
        )
        for row in painted
    ]
    yield f"{drawn_name(defect)}: results", [window.image for window in drawn]
    yield (
        f"{drawn_name(defect)}: drawn masks",
        [np.repeat(window.mask[..., None], 3, axis=2).astype(np.float32) for window in drawn],
    )
    if len(painted) < min(columns, config.generate.count):
        yield from _rejected_rows(run, defect, columns)


def _rejected_rows(run: Run, defect: str, columns: int) -> Iterator[tuple[str, list[Tile]]]:
    """Yield (title, tiles) of the first samples that were rejected for each reason, the drawn mask outlined."""
    of_defect = (pc.field("defect") == defect) & (pc.field("origin") == "synthetic")
    for reason in REASONS:
        first = dataset(run.dataset / "rejected.parquet").head(
            columns, filter=of_defect & (pc.field("reason") == reason)
        )
        rows = [ManifestRow.model_validate(row) for row in first.to_pylist()]
        found = [(row, rejected_files(run, defect, row.sample_id)) for row in rows]
        tiles = [
            outlined(_crop(read_stretched(files[0], row.white_level), read_mask(files[1]), row))
            for row, files in found
            if files
        ]
        if tiles:
            yield f"{drawn_name(defect)}: rejected as {reason}", tiles


def _crop(image: ImageArray, mask: NDArray[np.bool_], row: ManifestRow) -> Window:
    """Return the window in which a row was painted, at the tile's size."""
    assert row.window is not None
    left, top, right, bottom = row.window
    box: Box = (left, top, right, bottom)
    return crop_window(image, mask, box, TILE_PX)
