"""The contact sheet shows references, plans, results and masks of every defect."""

import numpy as np
import pytest

from defectfill.dataset.contact_sheet import LEAST_TILE_PX, write_contact_sheet
from defectfill.io.files import read_table
from defectfill.io.images import read_image, read_mask
from defectfill.painting.tiles import GAP_PX, caption_line_px, title_px
from defectfill.painting.window import crop_window
from defectfill.runs.run import Run

TITLE_PX = title_px(LEAST_TILE_PX)
WIDTH, TALL = LEAST_TILE_PX + GAP_PX, TITLE_PX + LEAST_TILE_PX + GAP_PX
"""Of tiles; windows of the toys are smaller than a tile."""
CAPTION_PX = 4 * caption_line_px(LEAST_TILE_PX)


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    """The tile of the first defect; results have their figures below."""
    top = row * TALL + (CAPTION_PX if row > 2 else 0) + TITLE_PX
    return sheet[top : top + LEAST_TILE_PX, column * WIDTH : column * WIDTH + LEAST_TILE_PX]


def test_the_sheet_shows_four_rows_per_defect(finished: Run) -> None:
    path = write_contact_sheet(finished, columns=3)
    sheet = read_image(path)
    path.unlink()
    assert sheet.shape == (8 * TALL + 2 * CAPTION_PX, 3 * WIDTH, 3)
    row = next(row for row in read_table(finished.dataset / "manifest.parquet") if row["sample_id"].startswith("hole"))
    image, mask = read_image(finished.dataset / row["image_path"]), read_mask(finished.dataset / row["mask_path"])
    window = crop_window(image, mask, tuple(row["window"]), LEAST_TILE_PX)
    np.testing.assert_array_equal(tile(sheet, 2, 0), np.rint(window.image * 255))
    np.testing.assert_array_equal(tile(sheet, 3, 0)[..., 0] > 0, window.mask)
    captions = sheet[3 * TALL - GAP_PX : 3 * TALL - GAP_PX + CAPTION_PX]
    assert (captions < 128).any(axis=(1, 2)).sum() > 20, "lines of text under the results"


def test_only_as_many_tiles_as_there_are_references(finished: Run) -> None:
    path = write_contact_sheet(finished, columns=3)
    sheet = read_image(path)
    path.unlink()
    assert (tile(sheet, 0, 1) < 255).any()
    assert (tile(sheet, 0, 2) == 255).all()


def test_a_window_that_is_larger_than_its_tile_says_so(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_contact_sheet(finished, columns=3)
    rows = read_image(path).shape[0]
    monkeypatch.setattr("defectfill.dataset.contact_sheet.LEAST_TILE_PX", 0)
    monkeypatch.setattr("defectfill.dataset.contact_sheet.MOST_TILE_PX", 24)
    small = read_image(write_contact_sheet(finished, columns=3))
    path.unlink()
    line_px = caption_line_px(24)
    assert small.shape[0] == 8 * (title_px(24) + 24 + GAP_PX) + 2 * (4 + 1 + 1) * line_px
    assert rows == 8 * TALL + 2 * CAPTION_PX
