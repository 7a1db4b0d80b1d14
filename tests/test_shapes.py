"""Shapes made from a reference keep its area, its thin curves and its pieces, and turn with the object."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import binary_dilation, label
from shape_measures import masks, seeds, shape_of

from mask_sampling import Mask, bounding_box
from mask_sampling.priors import measure
from mask_sampling.shapes import Sampler, Shape, ShapeRequest, ShapeSettings
from mask_sampling.shapes.morph import morph
from mask_sampling.shapes.reference import reference

UNCHANGED = ShapeSettings(rotation_degrees=0, elastic=0)


def drawn(
    mask: Mask, settings: ShapeSettings, seed: int, scale: float = 1.0, axis: float = 0.0, mirrored: bool = False
) -> Mask:
    """What the reference sampler makes of a mask whose object lay along the x axis."""
    request = ShapeRequest(0, mask.sum() * scale**2, axis, mirrored)
    return reference([shape_of(mask)], request, settings, np.random.default_rng(seed))


def hole_with_cracks(width_px: int = 1) -> Mask:
    """A disc from which two cracks run, like the hazelnut's holes."""
    y, x = np.mgrid[:200, :200]
    crack = np.zeros((200, 200), dtype=np.bool_)
    crack[np.round(100 + 40 * np.sin(x[0] / 40)).astype(int), x[0]] = True
    if width_px > 1:
        crack = binary_dilation(crack, np.ones((width_px, width_px)))
    return crack | (np.hypot(y - 100, x - 100) < 20)


def pieces(mask: Mask) -> int:
    """The number of pieces, diagonal neighbours being joined."""
    return int(label(mask, np.ones((3, 3)))[1])


@given(masks, seeds)
def test_a_shape_that_nothing_is_done_to_is_the_references_own(mask: Mask, seed: int) -> None:
    assert_array_equal(drawn(mask, UNCHANGED, seed), mask[bounding_box(mask)])


@given(masks, seeds, st.floats(0.2, 3), st.floats(0, 0.3))
def test_a_shape_is_a_tight_patch(mask: Mask, seed: int, scale: float, elastic: float) -> None:
    shape = drawn(mask, ShapeSettings(elastic=elastic), seed, scale)
    assert shape.dtype == np.bool_
    assert all(edge.any() for edge in (shape[0], shape[-1], shape[:, 0], shape[:, -1]))


def test_the_same_seed_gives_the_same_shape() -> None:
    first, second = (drawn(hole_with_cracks(), ShapeSettings(), 5) for _ in range(2))
    assert_array_equal(first, second)


def test_different_seeds_give_different_shapes() -> None:
    shapes = {drawn(hole_with_cracks(), ShapeSettings(), seed).tobytes() for seed in range(5)}
    assert len(shapes) == 5


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_area_grows_with_the_square_of_the_scale(scale: float, seed: int) -> None:
    mask = hole_with_cracks(width_px=3)
    shape = drawn(mask, ShapeSettings(elastic=0), seed, scale)
    assert shape.sum() == pytest.approx(mask.sum() * scale**2, rel=0.02)


@pytest.mark.parametrize("scale", [0.4, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("elastic", [0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_crack_of_one_pixel_stays_whole(scale: float, elastic: float, seed: int) -> None:
    shape = drawn(hole_with_cracks(), ShapeSettings(elastic=elastic), seed, scale)
    assert pieces(shape) == 1


def test_loose_fragments_of_a_reference_are_kept() -> None:
    mask = np.zeros((60, 60), dtype=np.bool_)
    mask[10:30, 10:30] = mask[45, 45] = mask[50, 15] = True
    shape = drawn(mask, ShapeSettings(), 0, 0.5)
    assert pieces(shape) == 3


@pytest.mark.parametrize("sampler", [reference, morph])
@pytest.mark.parametrize("axis", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_shape_keeps_its_direction_on_the_object(sampler: Sampler, axis: float, mirrored: bool) -> None:
    y, x = np.mgrid[:80, :80] - 40.0
    bar = (abs(math.cos(0.4) * x + math.sin(0.4) * y) < 30) & (abs(math.cos(0.4) * y - math.sin(0.4) * x) < 5)
    learnt = shape_of(bar, axis=0.1)  # 0.3 from the object's axis to the bar
    shape = sampler([learnt], ShapeRequest(0, 600, axis, mirrored), UNCHANGED, np.random.default_rng(0))
    found = math.radians(measure(shape, 1000, axis).direction_degrees)
    expected = -0.3 if mirrored else 0.3
    assert abs((found - expected + math.pi / 2) % math.pi - math.pi / 2) < 0.03


def test_a_mirrored_shape_is_mirrored_across_the_objects_axis() -> None:
    mask = np.tri(9, dtype=np.bool_)
    assert_array_equal(drawn(mask, UNCHANGED, 0, mirrored=True), mask[::-1])


def test_what_goes_on_beyond_the_frame_is_scaled_with_the_rest() -> None:
    whole = Shape(np.ones((40, 10), dtype=np.bool_), area_px=200.0, axis=0.0)
    shape = reference([whole], ShapeRequest(0, 800, 0.0), UNCHANGED, np.random.default_rng(0))
    assert shape.shape == (80, 20)


@pytest.mark.parametrize("elastic", [0.05, 0.3])
def test_bending_moves_nothing_further_than_asked(elastic: float) -> None:
    mask = np.ones((3, 101), dtype=np.bool_)
    settings = ShapeSettings(rotation_degrees=0, elastic=elastic)
    heights = [drawn(mask, settings, seed).shape[0] for seed in range(10)]
    assert max(heights) <= 3 + 2 * elastic * 101 + 1
    assert max(heights) > 3


def ellipse(height: float, width: float) -> Mask:
    y, x = np.mgrid[:120, :120] - 60.0
    inside: Mask = np.hypot(y / height, x / width) < 1
    return inside


def test_morphs_of_solid_shapes_lie_between_and_a_little_beyond_them() -> None:
    shapes = [shape_of(ellipse(20, 20)), shape_of(ellipse(12, 36))]
    request = ShapeRequest(0, 1300, 0.0)
    elongations = [
        measure(morph(shapes, request, UNCHANGED, np.random.default_rng(seed)), 1).elongation for seed in range(40)
    ]
    assert min(elongations) < 1.1
    assert max(elongations) > 2.5
    assert max(elongations) < 4.2
    assert len({round(value, 1) for value in elongations}) > 8


@given(st.lists(masks, min_size=1, max_size=3), seeds, st.floats(20, 2000))
def test_a_morph_is_a_tight_patch_of_about_the_area(references: list[Mask], seed: int, area_px: float) -> None:
    shapes = [shape_of(mask) for mask in references]
    patch = morph(shapes, ShapeRequest(0, area_px, 1.0), ShapeSettings(elastic=0), np.random.default_rng(seed))
    assert all(edge.any() for edge in (patch[0], patch[-1], patch[:, 0], patch[:, -1]))
    assert area_px * 0.6 - 4 < patch.sum() < area_px * 1.5 + 12


def test_a_morph_of_tiny_patterns_has_about_the_area_that_is_asked_for() -> None:
    patterns = [["#..#", "#..#", ".##.", "#..#"], ["###.", "....", "..#.", ".#.#"]]
    shapes = [shape_of(np.array([list(row) for row in rows]) == "#") for rows in patterns]
    patch = morph(shapes, ShapeRequest(0, 74.0, 1.0), ShapeSettings(elastic=0), np.random.default_rng(0))
    assert 0.8 * 74 < patch.sum() < 1.3 * 74


@pytest.mark.parametrize("seed", range(6))
def test_a_morph_of_thin_shapes_stays_whole_and_thin(seed: int) -> None:
    y, x = np.mgrid[:120, :120]
    crack = (abs(y - 60 - 8 * np.sin(x / 9)) < 2) & (x > 10) & (x < 110)
    shapes = [shape_of(crack), shape_of(crack.T), shape_of(crack[:, ::-1] & (x < 80))]
    patch = morph(shapes, ShapeRequest(0, float(crack.sum()), 0.0), UNCHANGED, np.random.default_rng(seed))
    assert pieces(patch) == 1
    assert measure(patch, 1).width_px < 2.5 * measure(crack, 1).width_px
