"""The crop window and the way back: exact boxes, and the source's own bits outside the blend region."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray
from defectfill.painting.stitch import (
    Pasted,
    blend_alpha,
    blend_region,
    blend_width,
    stitch,
    unchanged_outside,
)
from defectfill.painting.window import (
    Box,
    crop_window,
    depth_in,
    inside_frame,
    is_window_of,
    latent_cells,
    resize,
    resize_mask,
    window_box,
)


def rectangle(height: int, width: int, box: Box) -> NDArray[np.bool_]:
    """A mask [height, width] that is True in `box`."""
    mask = np.zeros((height, width), dtype=bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = True
    return mask


def draw_mask(data: st.DataObject, height: int, width: int) -> NDArray[np.bool_]:
    """A mask of a few pixels and one rectangle, often at the frame's border."""
    rows = sorted(data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, height - 1)), "rows"))
    columns = sorted(data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, width - 1)), "columns"))
    mask = rectangle(height, width, (columns[0], rows[0], columns[1] + 1, rows[1] + 1))
    if data.draw(st.booleans(), "scattered"):
        mask &= np.random.default_rng(0).random(mask.shape) < 0.2
        mask[rows[0], columns[0]] = True
    return mask


class Scene(NamedTuple):
    source: ImageArray
    mask: NDArray[np.bool_]
    box: Box

    @property
    def side(self) -> int:
        return self.box[2] - self.box[0]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """An image of any depth and channels, a mask and its window, which may reach beyond the frame."""
    height, width = draw(st.integers(3, 40)), draw(st.integers(3, 40))
    dtypes: list[type[np.uint8 | np.uint16]] = [np.uint8, np.uint16]
    dtype = draw(st.sampled_from(dtypes))
    shape = (height, width, draw(st.sampled_from([1, 3, 4])))
    source = np.random.default_rng(height).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    mask = draw_mask(draw(st.data()), height, width)
    whole = draw(st.booleans())
    config = WindowConfig(mode="whole" if whole else "crop", context=draw(st.floats(1, 4)), min_side_px=16)
    return Scene(source, mask, window_box(mask, config, latent_side=64))


def paint_anything(seed: int, side: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)


def stitch_whole(source: ImageArray, painting: NDArray[np.float32], box: Box, mask: NDArray[np.bool_]) -> ImageArray:
    """All of the painting that the blend region holds, put into the source."""
    return stitch(source, painting, box, Pasted(*blend_region(mask, box)))


def background_intact(source: ImageArray, result: ImageArray, box: Box, mask: NDArray[np.bool_]) -> bool:
    region, alpha = blend_region(mask, box)
    return unchanged_outside(source, result, region, alpha > 0)


def far_from(mask: NDArray[np.bool_], distance_px: int) -> NDArray[np.bool_]:
    """Slow and obvious: the pixels further than `distance_px` from every pixel of the mask."""
    far = np.ones(mask.shape, dtype=bool)
    rows, columns = np.indices(mask.shape)
    for row, column in np.argwhere(mask):
        far &= (rows - row) ** 2 + (columns - column) ** 2 > distance_px**2
    return far


BOXES: dict[str, tuple[tuple[int, int], Box, Box]] = {
    "in the middle": ((100, 200), (90, 40, 110, 50), (75, 20, 125, 70)),
    "at the left": ((100, 200), (0, 40, 20, 50), (0, 20, 50, 70)),
    "at the right": ((100, 200), (180, 40, 200, 50), (150, 20, 200, 70)),
    "at the top": ((100, 200), (90, 0, 110, 10), (75, 0, 125, 50)),
    "at the bottom": ((100, 200), (90, 90, 110, 100), (75, 50, 125, 100)),
    "upright": ((100, 200), (100, 40, 102, 60), (76, 25, 126, 75)),
    "one pixel": ((100, 200), (100, 50, 101, 51), (92, 42, 108, 58)),
    "held by the short side": ((100, 200), (70, 40, 130, 50), (50, 0, 150, 100)),
    "longer than the short side": ((100, 200), (20, 40, 170, 50), (20, -25, 170, 125)),
    "longer than the short side, upright": ((200, 101), (40, 20, 50, 170), (-24, 20, 126, 170)),
    "odd": ((57, 101), (10, 30, 20, 31), (3, 18, 28, 43)),
    "smaller frame than a window": ((9, 11), (10, 8, 11, 9), (2, 0, 11, 9)),
}


@pytest.mark.parametrize(("shape", "mask_box", "expected"), BOXES.values(), ids=BOXES)
def test_the_window_is_where_it_was_worked_out_by_hand(shape: tuple[int, int], mask_box: Box, expected: Box) -> None:
    config = WindowConfig(context=2.5, min_side_px=16)
    assert window_box(rectangle(*shape, mask_box), config, 64) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 200), (0, -50, 200, 150)), ((101, 58), (-21, 0, 80, 101)), ((64, 64), (0, 0, 64, 64))],
)
def test_the_whole_frame_is_padded_to_a_square(shape: tuple[int, int], expected: Box) -> None:
    mask = rectangle(*shape, (3, 5, 8, 9))
    assert window_box(mask, WindowConfig(mode="whole"), 64) == expected


@pytest.mark.parametrize(("min_side_px", "side"), [(16, 50), (50, 50), (64, 64), (500, 100)])
def test_a_window_has_at_least_its_smallest_side_and_at_most_the_frame(min_side_px: int, side: int) -> None:
    left, _, right, _ = window_box(rectangle(100, 200, (90, 40, 110, 50)), WindowConfig(min_side_px=min_side_px), 64)
    assert right - left == side


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_scipy_to_the_last_bit(seed: int) -> None:
    """OpenCV's own are one unit in the last place off in some processes, so that a blend would differ between them."""
    from scipy.ndimage import distance_transform_edt

    mask = np.random.default_rng(seed).random((200, 300)) > 0.001
    assert np.array_equal(depth_in(mask), distance_transform_edt(mask).astype(np.float32))


@pytest.mark.parametrize(
    ("width", "latent_side", "min_cells", "side"),
    [
        (2, 64, 1.0, 128),  # two pixels in 64 cells
        (2, 64, 0.0, 250),
        (2, 64, 2.0, 120),  # both ends stay inside
        (5, 64, 1.0, 250),
        (5, 32, 1.0, 160),
        (5, 32, 2.0, 120),
    ],
)
def test_the_window_of_a_thin_mask_is_small_enough_for_its_width(
    width: int, latent_side: int, min_cells: float, side: int
) -> None:
    mask = rectangle(400, 400, (150, 200, 250, 200 + width))
    left, _, right, _ = box = window_box(mask, WindowConfig(min_cells=min_cells), latent_side)
    assert right - left == pytest.approx(side, rel=0.05)
    assert latent_cells(mask, box, latent_side) == pytest.approx(width * latent_side / side, rel=0.1)


@given(scenes())
def test_the_window_is_square_and_holds_the_mask(scene: Scene) -> None:
    left, top, right, bottom = scene.box
    assert right - left == bottom - top
    assert scene.mask[inside_frame(scene.box, scene.mask.shape)].sum() == scene.mask.sum()


@given(st.data(), st.integers(3, 40), st.integers(3, 40), st.floats(1, 4))
def test_the_window_lies_in_the_frame_where_the_mask_allows(
    data: st.DataObject, height: int, width: int, context: float
) -> None:
    mask = draw_mask(data, height, width)
    assume(max(np.ptp(np.argwhere(mask), axis=0)) < min(height, width))
    left, top, right, bottom = window_box(mask, WindowConfig(context=context, min_side_px=16), 64)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_the_part_inside_the_frame_is_cut_at_its_borders() -> None:
    assert inside_frame((-3, 2, 7, 12), (10, 5, 3)) == (slice(2, 10), slice(0, 5))


def mirrored(position: int, length: int) -> int:
    """The pixel that stands at `position` of a row of pixels mirrored at both ends, again and again."""
    position %= 2 * length
    return position if position < length else 2 * length - 1 - position


@given(scenes())
def test_a_crop_mirrors_the_image_beyond_the_frame_and_has_no_mask_there(scene: Scene) -> None:
    left, top, right, bottom = scene.box
    height, width, _ = scene.source.shape
    rows = [mirrored(row, height) for row in range(top, bottom)]
    columns = [mirrored(column, width) for column in range(left, right)]
    window = crop_window(scene.source, scene.mask, scene.box, scene.side)
    expected = scene.source[np.ix_(rows, columns)][..., :3] / np.iinfo(scene.source.dtype).max
    assert window.image.shape == (scene.side, scene.side, 3)
    np.testing.assert_allclose(window.image, np.broadcast_to(expected, window.image.shape), rtol=1e-6)
    assert window.mask.sum() == scene.mask.sum()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_crop_at_any_resolution_is_rgb_in_the_unit_range(channels: int) -> None:
    source = np.random.default_rng(0).integers(0, 2, (30, 50, channels), np.uint8) * np.uint8(255)
    mask = rectangle(30, 50, (10, 10, 20, 20))
    for resolution in (8, 17, 40, 64):
        window = crop_window(source, mask, (5, 0, 35, 30), resolution)
        assert window.image.shape == (resolution, resolution, 3)
        assert window.image.dtype == np.float32
        assert 0 <= window.image.min() < window.image.max() <= 1


@given(scenes())
def test_stitching_the_unchanged_crop_gives_back_the_source(scene: Scene) -> None:
    window = crop_window(scene.source, scene.mask, scene.box, scene.side)
    result = stitch_whole(scene.source, window.image, scene.box, scene.mask)
    assert result.dtype == scene.source.dtype
    np.testing.assert_array_equal(result, scene.source)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_way_there_and_back(dtype: type[np.unsignedinteger]) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    side = int(np.sqrt(len(levels)))
    source = levels.reshape(side, side, 1)
    mask = np.ones((side, side), dtype=bool)
    window = crop_window(source, mask, (0, 0, side, side), side)
    np.testing.assert_array_equal(stitch_whole(source, window.image, window.box, mask), source)


@given(scenes(), st.integers(1, 60), st.integers(0, 9))
def test_pixels_outside_the_blend_region_are_the_sources_own(scene: Scene, resolution: int, seed: int) -> None:
    result = stitch_whole(scene.source, paint_anything(seed, resolution), scene.box, scene.mask)
    assert (result.dtype, result.shape) == (scene.source.dtype, scene.source.shape)
    far = far_from(scene.mask, blend_width(scene.box))
    np.testing.assert_array_equal(result[far], scene.source[far])
    np.testing.assert_array_equal(result[..., 3:], scene.source[..., 3:])
    assert background_intact(scene.source, result, scene.box, scene.mask)


def test_a_large_window_has_a_wide_blend_region() -> None:
    source = np.zeros((400, 500, 3), np.uint8)
    mask = rectangle(400, 500, (150, 200, 152, 201))
    box = window_box(mask, WindowConfig(min_side_px=384), 64)
    result = stitch_whole(source, np.ones((8, 8, 3), np.float32), box, mask)
    assert blend_width(box) == 3
    np.testing.assert_array_equal((result == 0).all(axis=2), far_from(mask, 3))


def test_stitching_leaves_the_source_array_alone() -> None:
    source = np.zeros((20, 20, 3), np.uint8)
    stitch_whole(source, paint_anything(0, 16), (0, 0, 16, 16), rectangle(20, 20, (4, 4, 8, 8)))
    assert not source.any()


@given(scenes(), st.integers(0, 9))
def test_inside_the_mask_the_painting_is_there(scene: Scene, seed: int) -> None:
    assume(scene.source.shape[2] > 1)
    limit = np.iinfo(scene.source.dtype).max
    levels = np.rint(paint_anything(seed, scene.side) * limit)
    result = stitch_whole(scene.source, np.asarray(levels / limit, np.float32), scene.box, scene.mask)
    left, top, _, _ = scene.box
    for row, column in np.argwhere(scene.mask):
        assert (result[row, column, :3] == levels[row - top, column - left]).all()


def test_a_painting_of_another_resolution_is_resized_into_the_window() -> None:
    source = np.zeros((40, 40, 3), np.uint8)
    mask = rectangle(40, 40, (10, 10, 30, 30))
    left_is_black = np.repeat(np.linspace(0, 1, 8, dtype=np.float32)[None, :, None], 8, axis=0).repeat(3, axis=2)
    row = stitch_whole(source, left_is_black, (0, 0, 40, 40), mask)[20, 10:30, 0].astype(int)
    assert (np.diff(row) > 0).all()
    np.testing.assert_allclose(row, 255 * (np.arange(10, 30) + 0.5 - 2.5) / 35, atol=4)


@pytest.mark.parametrize(("colour", "level"), [((1, 0, 0), 76), ((0, 1, 0), 150), ((0, 0, 1), 29), ((1, 1, 1), 255)])
def test_a_grey_source_takes_the_luma_of_the_painting(colour: tuple[int, int, int], level: int) -> None:
    painting = np.full((16, 16, 3), colour, np.float32)
    mask = rectangle(16, 16, (5, 5, 9, 9))
    result = stitch_whole(np.zeros((16, 16, 1), np.uint8), painting, (0, 0, 16, 16), mask)
    assert (result[mask] == level).all()


def test_the_blend_falls_evenly_from_the_mask_to_its_rim() -> None:
    mask = rectangle(1, 9, (0, 0, 2, 1))
    np.testing.assert_allclose(blend_alpha(mask, 3)[0], [1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0])


@pytest.mark.parametrize(("side", "width"), [(16, 2), (256, 2), (384, 3), (512, 4), (2048, 16)])
def test_the_blend_is_four_pixels_wide_at_512_and_two_at_least(side: int, width: int) -> None:
    assert blend_width((-5, 7, side - 5, side + 7)) == width


@given(scenes(), st.data())
def test_one_level_in_one_pixel_outside_the_blend_region_is_noticed(scene: Scene, data: st.DataObject) -> None:
    far = np.argwhere(far_from(scene.mask, blend_width(scene.box)))
    assume(len(far))
    row, column = far[data.draw(st.integers(0, len(far) - 1), "pixel")]
    result = stitch_whole(scene.source, paint_anything(1, scene.side), scene.box, scene.mask)
    result[row, column, data.draw(st.integers(0, scene.source.shape[2] - 1), "channel")] ^= 1
    assert not background_intact(scene.source, result, scene.box, scene.mask)


def test_an_image_of_another_size_or_depth_is_not_intact() -> None:
    source, mask, box = np.zeros((20, 20, 3), np.uint8), rectangle(20, 20, (4, 4, 8, 8)), (0, 0, 16, 16)
    assert background_intact(source, source.copy(), box, mask)
    assert not background_intact(source, source[:-1], box, mask)
    assert not background_intact(source, source[..., :1], box, mask)
    assert not background_intact(source, source.astype(np.uint16), box, mask)


def holds_centre(outer: int, outers: int, inner: int, inners: int) -> bool:
    """Whether the centre of pixel `inner` of `inners` lies in pixel `outer` of `outers`, both rows equally long."""
    return outer * 2 * inners <= (2 * inner + 1) * outers < (outer + 1) * 2 * inners


@given(st.integers(1, 30), st.data())
def test_a_shrunk_mask_is_true_exactly_around_the_centres_of_true_pixels(old: int, data: st.DataObject) -> None:
    side = data.draw(st.integers(1, old), "side")
    mask = np.random.default_rng(old).random((old, old)) < data.draw(st.sampled_from([0.01, 0.1, 0.9]), "density")
    expected = np.zeros((side, side), dtype=bool)
    for row, column in np.argwhere(mask):
        rows = [holds_centre(new, side, row, old) for new in range(side)]
        expected |= np.outer(rows, [holds_centre(new, side, column, old) for new in range(side)])
    np.testing.assert_array_equal(resize_mask(mask, side), expected)


@pytest.mark.parametrize(("old", "side"), [(13, 6), (29, 10), (333, 100), (515, 512), (1023, 128), (2500, 32)])
def test_no_hairline_is_lost_in_shrinking(old: int, side: int) -> None:
    for position in {0, 1, old // 3, old // 2, old - 1}:
        mask = rectangle(old, old, (position, 0, position + 1, old))
        assert resize_mask(mask, side).any(axis=1).all()
        assert resize_mask(mask.T, side).any(axis=0).all()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_mask_enlarged_by_a_whole_factor_repeats_its_pixels(factor: int) -> None:
    mask = np.random.default_rng(0).random((7, 7)) < 0.3
    np.testing.assert_array_equal(resize_mask(mask, 7 * factor), np.kron(mask, np.ones((factor, factor), dtype=bool)))


@given(st.integers(1, 20), st.data())
def test_an_enlarged_mask_is_true_where_its_centres_lie_in_true_pixels(old: int, data: st.DataObject) -> None:
    side = data.draw(st.integers(old, 40), "side")
    mask = np.random.default_rng(old).random((old, old)) < 0.2
    under = [next(pixel for pixel in range(old) if holds_centre(pixel, old, new, side)) for new in range(side)]
    np.testing.assert_array_equal(resize_mask(mask, side), mask[np.ix_(under, under)])
    assert set(under) == set(range(old))


@pytest.mark.parametrize("side", [5, 12, 31])
def test_an_even_picture_stays_even_at_any_size(side: int) -> None:
    picture = np.full((12, 12, 3), (0.25, 0.5, 1.0), np.float32)
    np.testing.assert_allclose(resize(picture, side), np.full((side, side, 3), (0.25, 0.5, 1.0)), atol=1e-6)


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = paint_anything(0, 9)
    assert resize(picture, 9) is picture


@pytest.mark.parametrize("side", [20, 30, 57])
def test_a_part_of_a_resized_picture_is_that_part_of_the_whole(side: int) -> None:
    picture = paint_anything(0, 30)
    np.testing.assert_allclose(resize(picture, side, (3, 5, 14, 9)), resize(picture, side)[5:9, 3:14], atol=1e-5)


def test_a_window_beside_its_mask_has_no_blend_region() -> None:
    source, mask = np.zeros((40, 40, 3), np.uint8), rectangle(40, 40, (2, 2, 6, 6))
    changed = source.copy()
    changed[3, 3] = 1
    assert background_intact(source, source.copy(), (20, 20, 36, 36), mask)
    assert not background_intact(source, changed, (20, 20, 36, 36), mask)


@given(st.data())
def test_a_window_of_a_mask_is_told_from_other_boxes(data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(20, 90)) for _ in range(2))
    mask = np.zeros((height, width), dtype=bool)
    for _ in range(data.draw(st.integers(1, 3))):
        mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    mode = data.draw(st.sampled_from(["crop", "whole"]))
    config = WindowConfig(mode=mode, context=data.draw(st.floats(1, 5)), min_side_px=16)
    left, top, right, bottom = window_box(mask, config, 64)
    assert is_window_of((left, top, right, bottom), mask)
    assert not is_window_of((right, bottom, left, top), mask)
    assert not is_window_of((left, top, right, bottom + 1), mask)
    assert not is_window_of((left + 1000, top, right + 1000, bottom), mask)
    assert not is_window_of((left - 1000, top - 1000, right + 1000, bottom + 1000), mask)
    assert not is_window_of((left, top, right, bottom), np.zeros_like(mask))
