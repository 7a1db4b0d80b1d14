"""Labels: how well two masks agree, and how loosely people draw them."""

import numpy as np
import pytest

from defectfill.painting.label import (
    annotation_margin,
    changed_fraction,
    grown,
    intersection_over_union,
    visible_fraction,
)
from defectfill.toy import make_sample


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 1 / 3),
        ([1, 1, 1, 1], [0, 0, 1, 0], 0.25),
        ([1, 0, 0, 0], [0, 0, 0, 1], 0.0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
    ],
)
def test_intersection_over_union(first: list[int], second: list[int], expected: float) -> None:
    masks = np.array([first], dtype=bool), np.array([second], dtype=bool)
    assert intersection_over_union(*masks) == intersection_over_union(*masks[::-1]) == pytest.approx(expected)


@pytest.mark.parametrize("defect", ["hole", "scratch", "stain"])
def test_masks_drawn_more_loosely_have_a_margin_larger_by_as_much(defect: str) -> None:
    toys = [make_sample((5, index), "washer", defect) for index in range(7)]
    tight, loose = (
        float(np.median([annotation_margin(toy.image, grown(toy.defect_mask, by)) for toy in toys])) for by in (0, 4)
    )
    assert 0 <= tight <= 4
    assert loose - tight == pytest.approx(4, abs=1)


@pytest.mark.parametrize("margin", [0, 3])
def test_the_margin_of_a_mask_around_a_plain_square_is_exact(margin: int) -> None:
    image, mask = np.full((60, 60, 1), 100, np.uint8), np.zeros((60, 60), dtype=bool)
    mask[20:40, 25:45] = True
    image[mask] = 160
    assert annotation_margin(image, loose := grown(mask, margin)) == margin
    assert visible_fraction(image, loose) == mask.sum() / loose.sum()


def test_where_nothing_stands_out_or_there_is_no_surrounding_the_margin_is_none() -> None:
    image, mask = np.full((40, 40, 3), 90, np.uint8), np.zeros((40, 40), dtype=bool)
    mask[10:20, 10:20] = True
    assert annotation_margin(image, mask) == 0
    assert annotation_margin(image, np.ones_like(mask)) == 0
    assert visible_fraction(image, mask) == visible_fraction(image, np.ones_like(mask)) == 1


def test_a_grown_mask_has_every_pixel_within_the_margin() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    np.testing.assert_array_equal(grown(mask, 2), np.hypot(*(np.indices((9, 9)) - 4)) <= 2)
    np.testing.assert_array_equal(grown(mask, 0), mask)
    assert not grown(np.zeros_like(mask), 3).any()


def test_the_changed_fraction_counts_pixels_with_any_channel_changed() -> None:
    source, mask = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), dtype=bool)
    mask[:2] = True
    image = source.copy()
    image[0, :, 1] = 1
    image[3] = 9
    assert changed_fraction(source, image, mask) == 0.5
    assert changed_fraction(source, image, ~mask & False) == 1
