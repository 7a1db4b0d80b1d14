"""Strokes are in one piece, of the requested area, like the references in length, width, direction and curvature."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import binary_dilation, distance_transform_edt, label
from shape_measures import direction, masks, seeds, shape_of
from skimage.draw import line
from skimage.morphology import skeletonize

from mask_sampling import Mask, second_moments
from mask_sampling.shapes import Shape, ShapeRequest, ShapeSettings
from mask_sampling.shapes.stroke import stroke

STEADY = ShapeSettings(rotation_degrees=0)


def crack(*corners: tuple[int, int], widenings: int = 1) -> Mask:
    """Straight lines (y, x) one after the other."""
    mask = np.zeros((300, 300), dtype=np.bool_)
    for start, end in pairwise(corners):
        mask[line(*start, *end)] = True
    return binary_dilation(mask, iterations=widenings) if widenings else mask


def wave() -> Mask:
    return crack(*((round(150 + 25 * math.sin(x / 15)), x) for x in range(10, 290, 2)))


STRAIGHT = crack((20, 20), (130, 280))
BRANCHED = crack((150, 10), (150, 290), widenings=3) | crack((150, 80), (80, 130)) | crack((150, 200), (230, 240))


def draw(mask: Mask, seed: int = 0, area_px: float | None = None, **request: float | bool) -> Mask:
    like = shape_of(mask)
    requested = ShapeRequest(0, area_px or like.area_px, **{"axis": 0.0, **request})  # type: ignore[arg-type]
    return stroke([like], requested, STEADY, np.random.default_rng(seed))


def between(one: float, other: float) -> float:
    """The angle between two lines."""
    return abs((one - other + math.pi / 2) % math.pi - math.pi / 2)


def pieces(mask: Mask) -> int:
    return int(label(mask, np.ones((3, 3)))[1])


def thinness(mask: Mask) -> float:
    """The shorter over the longer axis of the second moments."""
    values = np.linalg.eigvalsh(second_moments(mask))
    return float(math.sqrt(values[0] / values[1]))


@given(st.lists(masks, min_size=1, max_size=3), seeds, st.floats(1, 400), st.booleans())
def test_a_stroke_is_a_tight_patch_in_one_piece_of_about_the_wished_area(
    references: list[Mask], seed: int, area_px: float, mirrored: bool
) -> None:
    shapes = [shape_of(mask) for mask in references]
    drawn = stroke(shapes, ShapeRequest(0, area_px, 1.0, mirrored), ShapeSettings(), np.random.default_rng(seed))
    assert drawn.dtype == np.bool_
    assert all(edge.any() for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]))
    assert pieces(drawn) == 1
    assert abs(drawn.sum() - area_px) <= max(2, 0.05 * area_px)


def test_the_same_seed_gives_the_same_stroke_and_another_seed_another() -> None:
    assert_array_equal(draw(wave(), seed=5), draw(wave(), seed=5))
    assert len({draw(wave(), seed=seed).tobytes() for seed in range(5)}) == 5


@pytest.mark.parametrize("mask", [STRAIGHT, wave(), BRANCHED], ids=["straight", "wave", "branched"])
@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_a_stroke_has_the_wished_area(mask: Mask, scale: float) -> None:
    area_px = float(mask.sum()) * scale**2
    assert draw(mask, area_px=area_px).sum() == pytest.approx(area_px, rel=0.02)


def test_what_goes_on_beyond_the_frame_is_drawn_as_well() -> None:
    half = Shape(shape_of(STRAIGHT).patch, STRAIGHT.sum() / 2, 0.0)
    drawn = stroke([half], ShapeRequest(0, half.area_px, 0.0), STEADY, np.random.default_rng(0))
    assert drawn.sum() == pytest.approx(STRAIGHT.sum(), rel=0.02)


@pytest.mark.parametrize("axis", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_direction_turns_with_the_object_and_is_mirrored_across_its_axis(axis: float, mirrored: bool) -> None:
    own = direction(STRAIGHT)
    drawn = draw(STRAIGHT, axis=axis, mirrored=mirrored)
    assert between(direction(drawn), axis + (-own if mirrored else own)) < math.radians(2)


def test_the_direction_is_learnt_relative_to_the_references_object() -> None:
    like = shape_of(STRAIGHT, axis=direction(STRAIGHT))
    drawn = stroke([like], ShapeRequest(0, like.area_px, 1.0), STEADY, np.random.default_rng(0))
    assert between(direction(drawn), 1.0) < math.radians(2)


def test_a_stroke_turns_by_as_much_as_the_settings_allow() -> None:
    like = shape_of(STRAIGHT)
    turns = [
        between(
            direction(stroke([like], ShapeRequest(0, like.area_px, 0.0), ShapeSettings(20), rng)), direction(STRAIGHT)
        )
        for rng in map(np.random.default_rng, range(30))
    ]
    assert math.radians(12) < max(turns) < math.radians(22)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("widenings", [0, 1, 4])
def test_length_and_width_are_those_of_the_reference(seed: int, widenings: int) -> None:
    mask = crack((20, 20), (130, 280), widenings=widenings)
    drawn = draw(mask, seed)
    assert math.hypot(*drawn.shape) == pytest.approx(math.hypot(*shape_of(mask).patch.shape), rel=0.08)
    depths = [distance_transform_edt(padded)[skeletonize(padded)] for padded in (np.pad(mask, 1), np.pad(drawn, 1))]
    assert np.median(depths[1]) == pytest.approx(np.median(depths[0]), rel=0.2, abs=0.5)


def test_a_straight_reference_gives_straight_strokes_and_a_wavy_one_wavy_ones() -> None:
    straight = [thinness(draw(STRAIGHT, seed)) for seed in range(8)]
    wavy = [thinness(draw(wave(), seed)) for seed in range(8)]
    assert max(straight) < 0.03
    assert min(wavy) > max(straight)
    assert np.median(wavy) == pytest.approx(thinness(wave()), rel=0.5)


def test_a_branched_reference_gives_branched_strokes_and_a_plain_one_plain_ones() -> None:
    def ends(mask: Mask) -> int:
        """Pixels of the skeleton with one neighbour."""
        skeleton = np.pad(skeletonize(np.pad(mask, 1)), 1)
        neighbours = sum(np.roll(skeleton, (dy, dx), (0, 1)).astype(int) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) - 1
        return int((skeleton & (neighbours == 1)).sum())

    assert np.median([ends(draw(BRANCHED, seed)) for seed in range(8)]) >= 4
    assert np.median([ends(draw(STRAIGHT, seed)) for seed in range(8)]) <= 3


def test_a_disc_gives_a_short_thick_stroke() -> None:
    y, x = np.mgrid[:101, :101]
    drawn = draw(np.hypot(y - 50, x - 50) < 50)
    assert 0.5 < thinness(drawn) < 0.95


@pytest.mark.parametrize("mask", [np.ones((1, 1), dtype=np.bool_), np.ones((40, 40), dtype=np.bool_)])
@pytest.mark.parametrize("area_px", [1, 7, 300])
def test_a_pixel_and_a_full_square_can_be_followed(mask: Mask, area_px: int) -> None:
    assert abs(draw(mask, area_px=area_px).sum() - area_px) <= 1
