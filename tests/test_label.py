"""The drawn mask: what the painting changed, not what the VAE did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray
from defectfill.painting.label import MIN_SPECK_PX, draw_label, intersection_over_union
from defectfill.painting.painter import FlatPainter
from defectfill.painting.stitch import blend_width
from defectfill.painting.window import Box, crop_window, window_box
from defectfill.toy import make_sample

SIDE = 32
BOX: Box = (4, 6, 4 + SIDE, 6 + SIDE)
SOURCE = np.random.default_rng(0).integers(60, 190, (48, 40, 3), np.uint8)
DISC = np.hypot(*(np.indices((48, 40)) - np.array([22, 20])[:, None, None])) < 9


def in_window(mask: NDArray[np.bool_], box: Box = BOX) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    return mask[top:bottom, left:right]


def unpainted(source: ImageArray = SOURCE) -> NDArray[np.float32]:
    """The window as it is, at its own resolution."""
    return crop_window(source, DISC, BOX, SIDE).image


def lighter(picture: NDArray[np.float32], where: NDArray[np.bool_], change: float) -> NDArray[np.float32]:
    return picture + in_window(where)[..., None].astype(np.float32) * np.float32(change)


def painted(where: NDArray[np.bool_], change: float = 0.25) -> NDArray[np.float32]:
    """The window, lighter where the mask [H, W] is."""
    return lighter(unpainted(), where, change)


def draw(candidate: NDArray[np.float32], reconstruction: NDArray[np.float32] | None = None) -> NDArray[np.bool_]:
    clean = unpainted() if reconstruction is None else reconstruction
    return draw_label(SOURCE, candidate, clean, BOX, DISC, min_change=0.04)


def some_pixels(*positions: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(DISC.shape, dtype=bool)
    mask[tuple(np.transpose(positions))] = True
    return mask


def test_nothing_painted_is_nothing_drawn() -> None:
    assert not draw(unpainted()).any()


@pytest.mark.parametrize("change", [0.06, 0.25, -0.2])
def test_a_change_inside_the_planned_mask_is_found_exactly(change: float) -> None:
    half = DISC & (np.arange(48)[:, None] < 22)
    np.testing.assert_array_equal(draw(painted(half, change)), half)
    np.testing.assert_array_equal(draw(painted(DISC, change)), DISC)


@given(st.integers(16, 24), st.integers(14, 22), st.integers(1, 5), st.integers(3, 5))
def test_any_painted_rectangle_is_found_exactly(top: int, left: int, height: int, width: int) -> None:
    rectangle = np.zeros_like(DISC)
    rectangle[top : top + height, left : left + width] = True
    rectangle &= DISC
    np.testing.assert_array_equal(draw(painted(rectangle)), rectangle)


def test_a_change_in_one_channel_is_a_change() -> None:
    candidate = unpainted()
    candidate[in_window(DISC), 2] += 0.1
    np.testing.assert_array_equal(draw(candidate), DISC)


@given(st.integers(0, 99), st.floats(0, 0.2))
def test_the_vaes_own_error_is_not_drawn(seed: int, strength: float) -> None:
    error = np.float32(strength) * np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3), np.float32)
    half = DISC & (np.arange(40) < 20)
    reconstruction = np.clip(unpainted() + error, 0, 0.7)
    np.testing.assert_array_equal(draw(lighter(reconstruction, half, 0.25), reconstruction), half)
    assert not draw(reconstruction, reconstruction).any()


def test_specks_are_dropped_and_the_least_defect_is_kept() -> None:
    speck = some_pixels((18, 16), (19, 17))
    least = some_pixels((24, 22), (25, 23), (26, 22))
    assert least.sum() == MIN_SPECK_PX
    np.testing.assert_array_equal(draw(painted(speck | least)), least)


def test_holes_of_the_drawn_region_are_filled() -> None:
    hole = some_pixels((22, 20), (22, 21), (23, 20))
    np.testing.assert_array_equal(draw(painted(DISC & ~hole)), DISC)


def test_the_sound_middle_of_a_ring_is_not_drawn() -> None:
    ring = DISC & (np.hypot(*(np.indices((48, 40)) - np.array([22, 20])[:, None, None])) > 6)
    drawn = draw_label(SOURCE, painted(ring), unpainted(), BOX, ring, min_change=0.04)
    np.testing.assert_array_equal(drawn, ring)


@pytest.mark.parametrize(("dtype", "levels"), [(np.uint8, 10), (np.uint16, 2621)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_pixel_is_drawn_above_the_least_change_of_its_range(
    dtype: type[np.unsignedinteger], levels: int, channels: int
) -> None:
    source = np.full((48, 40, channels), 100, dtype)
    for change, drawn in ((levels, False), (levels + 1, True)):
        candidate = lighter(unpainted(source), DISC, change / np.iinfo(dtype).max)
        found = draw_label(source, candidate, unpainted(source), BOX, DISC, min_change=0.04)
        np.testing.assert_array_equal(found, DISC & drawn)


@pytest.mark.parametrize(("name", "least"), [("hole", 0.95), ("stain", 0.93), ("scratch", 0.9)])
@pytest.mark.parametrize("enlarged", [1, 3])
def test_what_a_painter_filled_is_the_drawn_mask(name: str, least: float, enlarged: int) -> None:
    """Windows of another size than the model's, so that painting is blurred on its way back."""
    for index in range(4):
        toy = make_sample((0, index), "washer", name)
        source, planned = (
            np.kron(part, np.ones((enlarged, enlarged, 1), part.dtype))
            for part in (toy.image, toy.defect_mask[..., None])
        )
        box = window_box(planned[..., 0], WindowConfig(), 32)
        window = crop_window(source, planned[..., 0], box, 256)
        [painting] = FlatPainter(candidates=1).paint([window], [index], [""])
        filled = painting.candidates[0]
        drawn = draw_label(source, filled, painting.reconstruction, box, planned[..., 0], min_change=0.04)
        assert intersection_over_union(drawn, planned[..., 0]) >= least


@given(st.integers(0, 999), st.integers(8, 40), st.integers(8, 40), st.integers(4, 50))
def test_the_drawn_mask_lies_in_the_blend_region(seed: int, height: int, width: int, resolution: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (height, width, 3), np.uint8)
    planned = rng.random((height, width)) < rng.choice([0.005, 0.05, 0.5])
    planned[rng.integers(height), rng.integers(width)] = True
    box = window_box(planned, WindowConfig(context=1.5, min_side_px=16), resolution / 8)
    candidate, clean = rng.random((2, resolution, resolution, 3), dtype=np.float32)
    drawn = draw_label(source, candidate, clean, box, planned, min_change=0.04)
    distances = np.indices(planned.shape)[:, None] - np.argwhere(planned).T[..., None, None]
    nearest = np.hypot(*distances).min(axis=0)
    assert drawn.shape == planned.shape
    assert not drawn[nearest > blend_width(box)].any()


def test_a_window_beyond_the_frame_draws_inside_the_frame() -> None:
    source = np.full((20, 60, 3), 100, np.uint8)
    planned = np.zeros((20, 60), dtype=bool)
    planned[8:12, 5:55] = True
    box = window_box(planned, WindowConfig(), 64)
    window = crop_window(source, planned, box, box[2] - box[0])
    assert box[1] < 0
    candidate = np.where(window.mask[..., None], np.float32(1), window.image)
    np.testing.assert_array_equal(draw_label(source, candidate, window.image, box, planned, min_change=0.04), planned)


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
