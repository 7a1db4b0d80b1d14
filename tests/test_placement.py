"""Shapes are placed on the object, anywhere on it, and the object is found in the picture."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from mask_sampling import DoesNotFit, Mask, bounding_box
from mask_sampling.placement import find_foreground, place

seeds = st.integers(0, 2**32 - 1)
patches = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=5)).filter(np.any)
foregrounds = arrays(
    np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([True] * 5 + [False])
)


def every_place(shape: Mask, foreground: Mask) -> list[Mask]:
    """All masks that `place` may return: the slow, obvious way."""
    patch = shape[bounding_box(shape)]
    height, width = patch.shape
    places = []
    for row in range(foreground.shape[0] - height + 1):
        for column in range(foreground.shape[1] - width + 1):
            mask = np.zeros_like(foreground)
            mask[row : row + height, column : column + width] = patch
            if not (mask & ~foreground).any():
                places.append(mask)
    return places


@settings(max_examples=200, deadline=None)
@given(patches, foregrounds, seeds)
def test_a_placed_mask_is_the_shape_inside_the_foreground(shape: Mask, foreground: Mask, seed: int) -> None:
    allowed = {mask.tobytes() for mask in every_place(shape, foreground)}
    try:
        placed = place(shape, foreground, np.random.default_rng(seed))
    except DoesNotFit:
        assert not allowed
    else:
        assert placed.shape == foreground.shape
        assert placed.tobytes() in allowed


def test_every_place_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    shape = np.tri(3, dtype=np.bool_)
    foreground = rng.random((25, 25)) < 0.6  # room is rare, so that trying at random mostly fails
    allowed = {mask.tobytes() for mask in every_place(shape, foreground)}
    counts = Counter(place(shape, foreground, rng).tobytes() for _ in range(100 * len(allowed)))
    assert set(counts) == allowed
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 2 * len(allowed)


def test_the_only_place_in_a_large_picture_is_found() -> None:
    ring = np.ones((301, 301), dtype=np.bool_)
    ring[1:-1, 1:-1] = False
    foreground = np.zeros((700, 900), dtype=np.bool_)
    foreground[213:514, 377:678] = ring
    foreground[::7] = True
    assert_array_equal(place(ring, foreground, np.random.default_rng(0))[213:514, 377:678], ring)


def test_one_pixel_too_few_is_no_room() -> None:
    foreground = np.ones((600, 600), dtype=np.bool_)
    foreground[299:301, 299:301] = False
    with pytest.raises(DoesNotFit, match="nowhere"):
        place(np.ones((400, 400), dtype=np.bool_), foreground, np.random.default_rng(0))


@pytest.mark.parametrize(
    "foreground", [np.zeros((5, 5), dtype=np.bool_), np.eye(5, dtype=np.bool_), np.ones((5, 2), dtype=np.bool_)]
)
def test_a_shape_without_room_is_refused(foreground: Mask) -> None:
    with pytest.raises(DoesNotFit):
        place(np.ones((2, 3), dtype=np.bool_), foreground, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_place() -> None:
    shape, foreground = np.tri(20, dtype=np.bool_), disc(100)
    first, second = (place(shape, foreground, np.random.default_rng(3)) for _ in range(2))
    assert_array_equal(first, second)


def disc(size_px: int, radius: float = 0.3, centre: tuple[float, float] = (0.5, 0.5)) -> Mask:
    """A disc; radius and centre (down, right) are shares of the side."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    inside: Mask = np.hypot(y - centre[0], x - centre[1]) < radius
    return inside


def photograph(
    cover: NDArray[np.generic], ground: tuple[int, ...] = (40, 40, 45), body: tuple[int, ...] = (150, 80, 50)
) -> NDArray[np.uint8]:
    """A body on its ground, under uneven light, a little out of focus and noisy; `cover` is 0 to 1."""
    size_px = cover.shape[0]
    share = gaussian_filter(cover.astype(np.float64), 1)[..., None]
    light = np.linspace(0.8, 1.2, size_px)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 3, (size_px, size_px, len(ground)))
    return np.clip(light * (share * body + (1 - share) * ground) + noise, 0, 255).astype(np.uint8)


def overlap(found: Mask, expected: Mask) -> float:
    """Intersection over union."""
    return float((found & expected).sum() / (found | expected).sum())


@pytest.mark.parametrize(
    ("ground", "body"), [((40,), (150,)), ((200,), (90,)), ((40, 40, 45), (150, 80, 50)), ((90, 60, 60), (60, 80, 70))]
)
def test_the_object_is_found(ground: tuple[int, ...], body: tuple[int, ...]) -> None:
    assert overlap(find_foreground(photograph(disc(256), ground, body)), disc(256)) > 0.97


@pytest.mark.parametrize("size_px", [64, 128, 1025])
def test_the_object_is_found_at_any_size(size_px: int) -> None:
    found = find_foreground(photograph(disc(size_px)))
    assert found.shape == (size_px, size_px)
    assert overlap(found, disc(size_px)) > 0.96


def test_the_object_is_found_where_it_leaves_the_frame() -> None:
    expected = disc(256, radius=0.4, centre=(0.5, 0.9))
    assert overlap(find_foreground(photograph(expected)), expected) > 0.97


def test_sixteen_bits_and_opaque_alpha_change_nothing() -> None:
    image = photograph(disc(256))
    found = find_foreground(image)
    opaque = np.dstack([image, np.full((256, 256), 255, dtype=np.uint8)])
    assert_array_equal(find_foreground(opaque), found)
    assert_array_equal(find_foreground(image.astype(np.uint16) * 16), found)


def test_what_is_transparent_is_ground() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = np.dstack([noise, np.where(disc(256), 255, 0).astype(np.uint8)])
    assert overlap(find_foreground(image), disc(256)) > 0.97


def test_a_shadow_is_not_part_of_the_object() -> None:
    shadow = gaussian_filter(disc(512, 0.2, (0.58, 0.58)).astype(np.float64), 25)[..., None]
    image = photograph(disc(512, 0.2), ground=(200,), body=(60,))
    image = np.where(disc(512, 0.2)[..., None], image, image * (1 - 0.5 * shadow)).astype(np.uint8)
    assert overlap(find_foreground(image), disc(512, 0.2)) > 0.95


def test_a_highlight_is_filled_and_a_hole_is_not() -> None:
    highlight, hole = disc(256, 0.03, (0.3, 0.5)), disc(256, 0.12)
    found = find_foreground(photograph(disc(256, 0.4) & ~highlight & ~hole))
    assert overlap(found, disc(256, 0.4) & ~hole) > 0.97


def test_specks_on_the_ground_are_dropped() -> None:
    specks = disc(256, 0.02, (0.1, 0.1)) | disc(256, 0.02, (0.9, 0.2))
    assert overlap(find_foreground(photograph(disc(256) | specks)), disc(256)) > 0.97


def test_several_objects_are_all_found() -> None:
    expected = disc(256, 0.15, (0.3, 0.3)) | disc(256, 0.1, (0.7, 0.7))
    assert overlap(find_foreground(photograph(expected)), expected) > 0.97


@pytest.mark.parametrize("grain_px", [0.5, 3, 20])
def test_a_texture_fills_the_frame(grain_px: float) -> None:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), grain_px)
    texture = (128 + 30 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    assert find_foreground(texture[..., None]).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 3), (64, 48, 4), (1300, 20, 1), (5000, 3, 1)])
def test_an_even_picture_counts_as_full_frame(shape: tuple[int, ...]) -> None:
    for level in (0, 128, 255):
        found = find_foreground(np.full(shape, level, dtype=np.uint8))
        assert found.shape == shape[:2]
        assert found.all()


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        find_foreground(image)


def test_the_same_picture_gives_the_same_foreground() -> None:
    image = photograph(disc(256))
    assert_array_equal(find_foreground(image), find_foreground(image.copy()))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("category", "smallest", "largest"),
    [("screw", 0.09, 0.105), ("hazelnut", 0.33, 0.4), ("concrete", 1, 1), ("magnetic_tile", 1, 1)],
)
def test_real_objects_are_found(real_data: Path, category: str, smallest: float, largest: float) -> None:
    for path in sorted((real_data / category / "train" / "good").iterdir())[:6]:
        with Image.open(path) as picture:
            image = np.atleast_3d(np.asarray(picture))
        assert smallest <= find_foreground(image).mean() <= largest, path
