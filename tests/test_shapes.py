"""Shapes made from a reference keep its area, its thin curves and its pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from scipy.ndimage import binary_dilation, label

from mask_sampling import Mask, bounding_box
from mask_sampling.shapes import ShapeSettings, reference

UNCHANGED = ShapeSettings(rotation_degrees=0, scale=(1, 1), flip=False, elastic=0)

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)
seeds = st.integers(0, 2**32 - 1)


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


@settings(max_examples=50, deadline=None)
@given(masks, seeds)
def test_a_shape_that_nothing_is_done_to_is_the_references_own(mask: Mask, seed: int) -> None:
    shape = reference([mask], UNCHANGED, np.random.default_rng(seed))
    assert_array_equal(shape, mask[bounding_box(mask)])


@settings(max_examples=50, deadline=None)
@given(masks, seeds, st.floats(0.2, 3), st.floats(0, 0.3))
def test_a_shape_is_a_tight_patch(mask: Mask, seed: int, scale: float, elastic: float) -> None:
    shape = reference([mask], ShapeSettings(scale=(scale, scale), elastic=elastic), np.random.default_rng(seed))
    assert shape.dtype == np.bool_
    assert all(edge.any() for edge in (shape[0], shape[-1], shape[:, 0], shape[:, -1]))


def test_the_same_seed_gives_the_same_shape() -> None:
    first, second = (reference([hole_with_cracks()], ShapeSettings(), np.random.default_rng(5)) for _ in range(2))
    assert_array_equal(first, second)


def test_different_seeds_give_different_shapes() -> None:
    shapes = {
        reference([hole_with_cracks()], ShapeSettings(), np.random.default_rng(seed)).tobytes() for seed in range(5)
    }
    assert len(shapes) == 5


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.25, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_area_grows_with_the_square_of_the_scale(scale: float, seed: int) -> None:
    mask = hole_with_cracks(width_px=3)
    shape = reference([mask], ShapeSettings(scale=(scale, scale), elastic=0), np.random.default_rng(seed))
    assert shape.sum() == pytest.approx(mask.sum() * scale**2, rel=0.02)


@pytest.mark.parametrize("scale", [0.4, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("elastic", [0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_crack_of_one_pixel_stays_whole(scale: float, elastic: float, seed: int) -> None:
    settings = ShapeSettings(scale=(scale, scale), elastic=elastic)
    shape = reference([hole_with_cracks()], settings, np.random.default_rng(seed))
    assert pieces(shape) == 1


def test_loose_fragments_of_a_reference_are_kept() -> None:
    mask = np.zeros((60, 60), dtype=np.bool_)
    mask[10:30, 10:30] = mask[45, 45] = mask[50, 15] = True
    shape = reference([mask], ShapeSettings(scale=(0.5, 0.5)), np.random.default_rng(0))
    assert pieces(shape) == 3


def test_half_of_the_shapes_are_mirrored() -> None:
    mask = np.tri(9, dtype=np.bool_)
    rng = np.random.default_rng(0)
    settings = ShapeSettings(rotation_degrees=0, scale=(1, 1), flip=True, elastic=0)
    mirrored = [np.array_equal(reference([mask], settings, rng), mask[:, ::-1]) for _ in range(200)]
    assert 70 < sum(mirrored) < 130


def test_every_reference_is_drawn() -> None:
    rng = np.random.default_rng(0)
    references = [np.ones((1, length), dtype=np.bool_) for length in (3, 5, 7)]
    assert {reference(references, UNCHANGED, rng).shape for _ in range(50)} == {(1, 3), (1, 5), (1, 7)}


@pytest.mark.parametrize("elastic", [0.05, 0.3])
def test_bending_moves_nothing_further_than_asked(elastic: float) -> None:
    mask = np.ones((3, 101), dtype=np.bool_)
    settings = ShapeSettings(rotation_degrees=0, scale=(1, 1), flip=False, elastic=elastic)
    heights = [reference([mask], settings, np.random.default_rng(seed)).shape[0] for seed in range(10)]
    assert max(heights) <= 3 + 2 * elastic * 101 + 1
    assert max(heights) > 3


def test_an_empty_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        reference([np.zeros((4, 4), dtype=np.bool_)], ShapeSettings(), np.random.default_rng(0))


def test_no_references_are_refused() -> None:
    with pytest.raises(ValueError, match="no references"):
        reference([], ShapeSettings(), np.random.default_rng(0))
