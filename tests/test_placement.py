"""Shapes are placed where they are legal, likely, and evenly spread."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from scipy.stats import qmc

from mask_sampling import Mask, PlacementError, bounding_box
from mask_sampling.placement import Scene, place_patch, scene
from mask_sampling.pose import register
from mask_sampling.positions import LearntPositions, position_of

seeds = st.integers(0, 2**32 - 1)
patches = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=5)).filter(np.any)
foregrounds = arrays(
    np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([True] * 5 + [False])
).filter(np.any)


def scene_of(foreground: Mask) -> Scene:
    return scene(foreground, register([foreground]))


def every_place(patch: Mask, foreground: Mask) -> list[Mask]:
    """All masks that `place_patch` may return without cutting: the slow, obvious way."""
    height, width = patch.shape
    places = []
    for row in range(foreground.shape[0] - height + 1):
        for column in range(foreground.shape[1] - width + 1):
            mask = np.zeros_like(foreground)
            mask[row : row + height, column : column + width] = patch
            if not (mask & ~foreground).any():
                places.append(mask)
    return places


@given(patches, foregrounds, seeds)
def test_a_placed_mask_is_the_shape_inside_the_foreground(shape: Mask, foreground: Mask, seed: int) -> None:
    patch = shape[bounding_box(shape)]
    allowed = {mask.tobytes() for mask in every_place(patch, foreground)}
    try:
        placed = place_patch(patch, scene_of(foreground), np.random.default_rng(seed))
    except PlacementError:
        assert not allowed
    else:
        assert placed.tobytes() in allowed


def test_the_only_place_in_a_large_picture_is_found() -> None:
    ring = np.ones((301, 301), dtype=np.bool_)
    ring[1:-1, 1:-1] = False
    foreground = np.zeros((700, 900), dtype=np.bool_)
    foreground[213:514, 377:678] = ring
    foreground[::7] = True
    assert_array_equal(place_patch(ring, scene_of(foreground), np.random.default_rng(0))[213:514, 377:678], ring)


def test_one_pixel_too_few_is_no_room_unless_some_may_be_cut_off() -> None:
    foreground = np.ones((600, 600), dtype=np.bool_)
    foreground[299:301, 299:301] = False
    block = np.ones((400, 400), dtype=np.bool_)
    with pytest.raises(PlacementError, match="no place"):
        place_patch(block, scene_of(foreground), np.random.default_rng(0))
    placed = place_patch(block, scene_of(foreground), np.random.default_rng(0), max_cut=0.01)
    assert placed.sum() >= 0.99 * block.sum()
    assert not (placed & ~foreground).any()


def test_room_that_is_short_by_just_what_is_rounded_away_is_no_room() -> None:
    """Of 15 pixels 13.5 must lie on the object, and 13 do; the noise of an FFT must not make 13 more than 13."""
    bar = np.ones((1, 15), dtype=np.bool_)
    for height, width in ((40, 60), (97, 31), (300, 500), (600, 400)):
        foreground = np.zeros((height, width), dtype=np.bool_)
        foreground[height // 2, 5:18] = True
        with pytest.raises(PlacementError, match="no place"):
            place_patch(bar, scene_of(foreground), np.random.default_rng(0), max_cut=0.1)


@given(seeds, st.floats(0, 0.6))
def test_no_more_than_is_allowed_is_cut_off(seed: int, max_cut: float) -> None:
    y, x = np.mgrid[:300, :300]
    foreground = np.hypot(y - 150, x - 150) < 60
    placed = place_patch(
        np.ones((40, 50), dtype=np.bool_), scene_of(foreground), np.random.default_rng(seed), max_cut=max_cut
    )
    assert not (placed & ~foreground).any()
    assert placed.sum() >= (1 - max_cut) * 2000 - 1


@pytest.mark.parametrize("foreground", [np.eye(5, dtype=np.bool_), np.ones((5, 2), dtype=np.bool_)])
def test_a_shape_without_room_is_refused(foreground: Mask) -> None:
    with pytest.raises(PlacementError):
        place_patch(np.ones((2, 3), dtype=np.bool_), scene_of(foreground), np.random.default_rng(0))


def test_zones_that_leave_nothing_are_refused() -> None:
    foreground = np.eye(50, dtype=np.bool_)
    with pytest.raises(PlacementError, match="zones"):
        scene(foreground, register([foreground]), ~foreground)


def test_what_is_not_permitted_stays_free() -> None:
    foreground, permitted = np.ones((200, 200), dtype=np.bool_), np.zeros((200, 200), dtype=np.bool_)
    permitted[20:60, 100:180] = True
    on = scene(foreground, register([foreground]), permitted)
    for seed in range(20):
        assert not (place_patch(np.ones((9, 9), dtype=np.bool_), on, np.random.default_rng(seed)) & ~permitted).any()


def test_evenly_spread_numbers_give_evenly_spread_places() -> None:
    """Fifty places cover a texture as well as five hundred random ones do on average."""
    on, dot = scene_of(np.ones((256, 256), dtype=np.bool_)), np.ones((1, 1), dtype=np.bool_)
    rng = np.random.default_rng(0)
    numbers = qmc.Halton(2, rng=rng).random(50)
    places = np.array([np.argwhere(place_patch(dot, on, rng, spread=pair))[0] / 256 for pair in numbers])
    of_random_ones = np.sqrt((1 / 4 - 1 / 9) / 500)
    assert qmc.discrepancy(places, method="L2-star") < of_random_ones


def rod(shift: int = 0) -> Mask:
    """A rod with a head at its left end, 220 px long."""
    foreground = np.zeros((120, 300), dtype=np.bool_)
    foreground[55:65, 20 + shift : 240 + shift] = foreground[40:80, 20 + shift : 60 + shift] = True
    return foreground


def test_learnt_places_are_where_the_references_are() -> None:
    registration = register([rod()])
    masks = []
    for column in (100, 110, 125):
        mask = np.zeros_like(rod())
        mask[57:63, column : column + 8] = True
        masks.append(mask)
    positions = LearntPositions(
        tuple(position_of(mask, scene(rod(), registration)) for mask in masks), registration.flips
    )
    on = scene(rod(40), registration)
    density = positions.density(on)
    assert density.argmax() % density.shape[1] in range(70, 90)
    patch = np.ones((6, 8), dtype=np.bool_)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        placed = place_patch(patch, replace(on, density=density), rng, limits=positions.limits())
        columns = np.flatnonzero(placed.any(axis=0))
        assert columns[0] >= 140 - 6
        assert columns[-1] <= 172 + 6


def test_one_reference_leaves_as_much_room_along_the_object_as_is_assumed_for_it() -> None:
    registration, speck = register([rod()]), np.zeros_like(rod())
    speck[59:61, 150:153] = True
    on = scene(rod(), registration)
    positions = LearntPositions((position_of(speck, on),), registration.flips)
    on = replace(on, density=positions.density(on))
    patch, limits = np.ones((2, 3), dtype=np.bool_), positions.limits()
    placed = [place_patch(patch, on, np.random.default_rng(seed), limits=limits) for seed in range(30)]
    columns = [np.nonzero(mask)[1].mean() for mask in placed]
    assert np.ptp(columns) > 0.3 * 110
    assert 0.25 * 110 < max(abs(column - 151) for column in columns) < 0.35 * 110


@pytest.mark.parametrize("scale", [1, 8])
def test_limits_too_short_for_a_patch_or_for_the_grid_reach_as_far_as_it_takes(scale: int) -> None:
    foreground = rod().repeat(scale, axis=0).repeat(scale, axis=1)
    on = scene_of(foreground)
    middle = on.pose.to_object(np.array([150.0 * scale]), np.array([60.0 * scale]))[0][0]
    for length in (1, 40 * scale):
        patch = np.ones((1, length), dtype=np.bool_)
        for seed in range(5):
            placed = place_patch(patch, on, np.random.default_rng(seed), limits=[(middle, middle)])
            assert abs(np.nonzero(placed)[1].mean() - 150 * scale) < 3 * on.factor


def test_a_patch_that_goes_on_beyond_the_frame_touches_its_side() -> None:
    on = scene_of(np.ones((100, 80), dtype=np.bool_))
    line = np.ones((130, 3), dtype=np.bool_)
    for seed in range(10):
        placed = place_patch(
            line, on, np.random.default_rng(seed), max_cut=0.1, inside_px=300, sides=(True, True, False, False)
        )
        assert placed[0].any()
        assert placed[-1].any()


def test_a_patch_of_which_hardly_anything_is_needed_is_never_cut_off_altogether() -> None:
    on, hook = scene_of(np.ones((301, 97), dtype=np.bool_)), np.ones((6, 6), dtype=np.bool_)
    hook[1:, 1:] = False  # its centroid lies in the frame where none of it does
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert place_patch(hook, on, rng, inside_px=0.4, sides=(True, False, True, False)).any()


def test_the_same_seed_gives_the_same_position() -> None:
    shape, on = np.tri(20, dtype=np.bool_), scene_of(np.ones((100, 100), dtype=np.bool_))
    first, second = (place_patch(shape, on, np.random.default_rng(3)) for _ in range(2))
    assert_array_equal(first, second)
