"""Outlines and runs of masks, as exports hold them: they give every mask again."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nut_dataset import Mask
from test_export_formats import brush_mask, filled

from defectfill.dataset.export.labelstudio import brush_runs
from defectfill.dataset.export.outlines import parts_of, run_lengths

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(mask=masks)
def test_parts_give_every_mask_again(mask: Mask) -> None:
    """As pycocotools reads them, and OpenCV with the decimals cut off."""
    from pycocotools import mask as coco_mask

    parts = list(parts_of(mask))
    assert len(parts) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    together = np.zeros(mask.shape, dtype=int)
    for part in parts:
        together += part.mask()
        for near, far in ((0.25, 0.5), (0.05, 0.95)):
            polygon = part.polygon(near, far)
            runs = coco_mask.frPyObjects([polygon.ravel().tolist()], *mask.shape)
            drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [polygon.astype(np.int32)], 1) > 0
            np.testing.assert_array_equal(coco_mask.decode(runs)[..., 0] > 0, filled(part.mask()))
            np.testing.assert_array_equal(drawn, filled(part.mask()))
        assert part.has_holes == bool((filled(part.mask()) & ~part.mask()).any())
        assert part.area == part.mask().sum()
    np.testing.assert_array_equal(together, mask)


@given(mask=masks)
def test_runs_give_every_mask_again(mask: Mask) -> None:
    lengths = run_lengths(mask.ravel())
    np.testing.assert_array_equal(np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(mask.shape), mask)
    np.testing.assert_array_equal(brush_mask(list(brush_runs(mask)), *mask.shape), mask)


def test_brush_runs_may_be_longer_than_their_format_counts() -> None:
    mask = np.zeros((200, 300), dtype=bool)
    mask[70:] = True
    np.testing.assert_array_equal(brush_mask(list(brush_runs(mask)), 200, 300), mask)
