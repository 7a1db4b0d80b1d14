"""Blobs have exactly the wished area, and the reference's direction, elongation, pieces and roughness."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import label
from shape_measures import direction, elongation, masks, seeds, shape_of, solidity

from mask_sampling import Mask
from mask_sampling.shapes import ShapeRequest, ShapeSettings
from mask_sampling.shapes.blob import blob

STEADY = ShapeSettings(rotation_degrees=0)
Y, X = np.mgrid[-100:101, -100:101]
DISC = np.hypot(Y, X) < 60
ELLIPSE = np.hypot((X - 2 * Y) / 3, X + Y / 2) < 40
JAGGED = np.hypot(Y, X) < 60 + 30 * np.sin(7 * np.arctan2(Y, X))


def draw(mask: Mask, seed: int = 0, area_px: float | None = None, axis: float = 0.0, mirrored: bool = False) -> Mask:
    like = shape_of(mask)
    return blob([like], ShapeRequest(0, area_px or like.area_px, axis, mirrored), STEADY, np.random.default_rng(seed))


def pieces(mask: Mask) -> int:
    return int(label(mask, np.ones((3, 3)))[1])


@given(masks, seeds, st.floats(1, 400), st.booleans())
def test_a_blob_is_a_tight_patch_of_the_wished_area_in_no_more_pieces(
    mask: Mask, seed: int, area_px: float, mirrored: bool
) -> None:
    drawn = blob(
        [shape_of(mask)], ShapeRequest(0, area_px, 1.0, mirrored), ShapeSettings(), np.random.default_rng(seed)
    )
    assert drawn.dtype == np.bool_
    assert all(edge.any() for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]))
    assert pieces(drawn) <= pieces(mask)
    assert abs(drawn.sum() - area_px) <= max(1, 0.05 * area_px)


def test_the_same_seed_gives_the_same_blob_and_another_seed_another() -> None:
    assert_array_equal(draw(DISC, seed=5), draw(DISC, seed=5))
    assert len({draw(DISC, seed=seed).tobytes() for seed in range(5)}) == 5


@pytest.mark.parametrize("mask", [DISC, ELLIPSE, JAGGED], ids=["disc", "ellipse", "jagged"])
@pytest.mark.parametrize("scale", [0.3, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_blob_has_exactly_the_wished_area(mask: Mask, scale: float, seed: int) -> None:
    area_px = float(mask.sum()) * scale**2
    assert draw(mask, seed, area_px).sum() == pytest.approx(area_px, rel=0.005)


@pytest.mark.parametrize("axis", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_direction_turns_with_the_object_and_is_mirrored_across_its_axis(axis: float, mirrored: bool) -> None:
    own = direction(ELLIPSE)
    wished = axis + (-own if mirrored else own)
    turns = [direction(draw(ELLIPSE, seed, axis=axis, mirrored=mirrored)) - wished for seed in range(5)]
    assert np.median(np.abs((np.array(turns) + math.pi / 2) % math.pi - math.pi / 2)) < math.radians(5)


def test_a_blob_is_as_elongated_as_the_reference() -> None:
    assert np.median([elongation(draw(ELLIPSE, seed)) for seed in range(8)]) == pytest.approx(
        elongation(ELLIPSE), rel=0.15
    )


def test_a_disc_gives_smoother_blobs_than_a_jagged_reference() -> None:
    smooth, rough = ([solidity(draw(mask, seed)) for seed in range(8)] for mask in (DISC, JAGGED))
    assert min(smooth) > 0.93
    assert max(rough) < min(smooth)


def test_pieces_are_as_many_and_as_far_apart_as_the_references() -> None:
    mask = np.zeros((40, 200), dtype=np.bool_)
    mask[:30, :40] = mask[10:40, 150:] = True
    drawn = [draw(mask, seed) for seed in range(5)]
    assert [pieces(each) for each in drawn] == [2] * 5
    assert all(elongation(each) == pytest.approx(elongation(mask), rel=0.15) for each in drawn)


def test_crumbs_of_a_reference_are_not_followed() -> None:
    mask = DISC.copy()
    mask[0, 0] = True
    assert pieces(draw(mask)) == 1


def test_a_blob_has_no_holes() -> None:
    for seed in range(5):
        drawn = draw(JAGGED, seed)
        assert label(np.pad(~drawn, 1, constant_values=True))[1] == 1


@pytest.mark.parametrize("mask", [np.ones((1, 1), dtype=np.bool_), np.ones((40, 40), dtype=np.bool_)])
@pytest.mark.parametrize("area_px", [1, 7, 300])
def test_a_pixel_and_a_full_square_can_be_followed(mask: Mask, area_px: int) -> None:
    assert abs(draw(mask, area_px=area_px).sum() - area_px) <= 1
