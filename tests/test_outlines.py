"""Simple outlines have the wished area, and the reference's direction and elongation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import label
from shape_measures import direction, elongation, masks, seeds, shape_of, solidity

from mask_sampling import Mask
from mask_sampling.shapes import Sampler, ShapeRequest, ShapeSettings
from mask_sampling.shapes.outlines import box, polygon, star

STEADY = ShapeSettings(rotation_degrees=0)
Y, X = np.mgrid[-100:101, -100:101]
ELLIPSE = np.hypot((X - 2 * Y) / 3, X + Y / 2) < 40
LINE = np.ones((2, 300), dtype=np.bool_)

samplers = pytest.mark.parametrize("sampler", [polygon, box, star])


def draw(
    sampler: Sampler, mask: Mask, seed: int = 0, area_px: float = 0.0, axis: float = 0.0, mirrored: bool = False
) -> Mask:
    like = shape_of(mask)
    return sampler(
        [like], ShapeRequest(0, area_px or like.area_px, axis, mirrored), STEADY, np.random.default_rng(seed)
    )


@samplers
@given(mask=masks, seed=seeds, area_px=st.floats(1, 400), mirrored=st.booleans())
def test_an_outline_gives_a_tight_patch_in_one_piece(
    sampler: Sampler, mask: Mask, seed: int, area_px: float, mirrored: bool
) -> None:
    drawn = sampler(
        [shape_of(mask)], ShapeRequest(0, area_px, 1.0, mirrored), ShapeSettings(), np.random.default_rng(seed)
    )
    assert drawn.dtype == np.bool_
    assert all(edge.any() for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]))
    assert label(drawn, np.ones((3, 3)))[1] == 1


@samplers
def test_the_same_seed_gives_the_same_outline(sampler: Sampler) -> None:
    assert_array_equal(draw(sampler, ELLIPSE, seed=5), draw(sampler, ELLIPSE, seed=5))


@pytest.mark.parametrize("sampler", [polygon, star])
def test_another_seed_gives_another_outline(sampler: Sampler) -> None:
    assert len({draw(sampler, ELLIPSE, seed=seed).tobytes() for seed in range(5)}) == 5


@samplers
@pytest.mark.parametrize("area_px", [110, 1_000, 40_000])
@pytest.mark.parametrize("seed", range(5))
def test_an_outline_has_the_wished_area(sampler: Sampler, area_px: int, seed: int) -> None:
    assert draw(sampler, ELLIPSE, seed, area_px).sum() == pytest.approx(area_px, rel=0.03)


@samplers
@pytest.mark.parametrize("axis", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_direction_turns_with_the_object_and_is_mirrored_across_its_axis(
    sampler: Sampler, axis: float, mirrored: bool
) -> None:
    own = direction(ELLIPSE)
    turn = direction(draw(sampler, ELLIPSE, axis=axis, mirrored=mirrored)) - axis - (-own if mirrored else own)
    assert abs((turn + math.pi / 2) % math.pi - math.pi / 2) < math.radians(2)


@samplers
@pytest.mark.parametrize("seed", range(5))
def test_an_outline_is_as_elongated_as_the_reference(sampler: Sampler, seed: int) -> None:
    assert elongation(draw(sampler, ELLIPSE, seed)) == pytest.approx(elongation(ELLIPSE), rel=0.05)


def test_polygons_and_boxes_are_nearly_convex_and_stars_are_not() -> None:
    convex = [solidity(draw(sampler, ELLIPSE, seed)) for sampler in (polygon, box) for seed in range(8)]
    pointed = [solidity(draw(star, ELLIPSE, seed)) for seed in range(8)]
    assert min(convex) > 0.93
    assert max(pointed) < 0.85


@samplers
@pytest.mark.parametrize("area_px", [40, 150, 600])
def test_a_long_thin_reference_gives_an_outline_in_one_piece(sampler: Sampler, area_px: int) -> None:
    drawn = draw(sampler, LINE, area_px=area_px, axis=0.4)
    assert label(drawn, np.ones((3, 3)))[1] == 1
    assert drawn.sum() == pytest.approx(area_px, rel=0.15)


@samplers
@pytest.mark.parametrize("mask", [np.ones((1, 1), dtype=np.bool_), np.ones((40, 40), dtype=np.bool_)])
@pytest.mark.parametrize("area_px", [1, 7, 300])
def test_a_pixel_and_a_full_square_can_be_followed(sampler: Sampler, mask: Mask, area_px: int) -> None:
    assert draw(sampler, mask, area_px=area_px).sum() == pytest.approx(area_px, rel=0.35)
