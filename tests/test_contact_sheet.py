"""The contact sheet shows references, plans, results and masks of every defect."""

import numpy as np

from defectfill.dataset.contact_sheet import write_contact_sheet
from defectfill.io.files import read_table
from defectfill.io.images import read_image, read_mask
from defectfill.painting.tiles import GAP_PX, TILE_PX, TITLE_PX
from defectfill.painting.window import crop_window
from defectfill.runs.run import Run


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = row * (TITLE_PX + TILE_PX + GAP_PX) + TITLE_PX, column * (TILE_PX + GAP_PX)
    return sheet[top : top + TILE_PX, left : left + TILE_PX]


def test_the_sheet_shows_four_rows_per_defect(finished: Run) -> None:
    path = write_contact_sheet(finished, columns=3)
    sheet = read_image(path)
    path.unlink()
    assert sheet.shape == (8 * (TITLE_PX + TILE_PX + GAP_PX), 3 * (TILE_PX + GAP_PX), 3)
    row = next(row for row in read_table(finished.dataset / "manifest.parquet") if row["sample_id"].startswith("hole"))
    image, mask = read_image(finished.dataset / row["image_path"]), read_mask(finished.dataset / row["mask_path"])
    window = crop_window(image, mask, tuple(row["window"]), TILE_PX)
    np.testing.assert_array_equal(tile(sheet, 2, 0), np.rint(window.image * 255))
    np.testing.assert_array_equal(tile(sheet, 3, 0)[..., 0] > 0, window.mask)


def test_only_as_many_tiles_as_there_are_references(finished: Run) -> None:
    path = write_contact_sheet(finished, columns=3)
    sheet = read_image(path)
    path.unlink()
    assert (tile(sheet, 0, 1) < 255).any()
    assert (tile(sheet, 0, 2) == 255).all()
