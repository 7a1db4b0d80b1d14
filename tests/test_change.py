"""What is pasted: what the painting changed, not what the VAE did, and the source's own bits everywhere else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray
from defectfill.painting.change import LEAST_WEIGHT, MIN_SPECK_PX
from defectfill.painting.label import changed_fraction, intersection_over_union
from defectfill.painting.painter import FlatPainter
from defectfill.painting.stitch import Pasted, blend_width, paste_changed, stitch, unchanged_outside
from defectfill.painting.window import Box, crop_window, window_box
from defectfill.toy import CATEGORIES, make_sample

SIDE = 32
BOX: Box = (4, 6, 4 + SIDE, 6 + SIDE)
SOURCE = np.random.default_rng(0).integers(118, 132, (48, 40, 3), np.uint8)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    return np.hypot(*(np.indices(shape) - np.array(centre)[:, None, None])) < radius


DISC = disc((48, 40), (22, 20), 9)


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


def paste(
    candidate: NDArray[np.float32], reconstruction: NDArray[np.float32] | None = None, source: ImageArray = SOURCE
) -> Pasted:
    clean = unpainted(source) if reconstruction is None else reconstruction
    return paste_changed(source, candidate, clean, BOX, DISC, min_change=0.04)


def drawn(candidate: NDArray[np.float32], reconstruction: NDArray[np.float32] | None = None) -> NDArray[np.bool_]:
    return paste(candidate, reconstruction).mask(SOURCE.shape)


def test_nothing_painted_is_nothing_pasted() -> None:
    pasted = paste(unpainted())
    assert not pasted.weight.any()
    np.testing.assert_array_equal(stitch(SOURCE, unpainted(), BOX, pasted), SOURCE)


@pytest.mark.parametrize("change", [0.08, 0.25, -0.2])
def test_a_change_inside_the_planned_mask_is_found(change: float) -> None:
    half = DISC & (np.arange(48)[:, None] < 22)
    for where in (half, DISC):
        assert intersection_over_union(drawn(painted(where, change)), where) > 0.93


def test_a_change_in_one_channel_is_a_change_but_not_of_a_grey_source_that_does_not_show_it() -> None:
    candidate = unpainted()
    candidate[in_window(DISC)] += np.array([0.2, -0.2 * 0.299 / 0.587, 0], np.float32)
    assert intersection_over_union(drawn(candidate), DISC) > 0.93
    assert not paste(candidate, source=SOURCE[..., :1], reconstruction=unpainted()).weight.any()


@given(st.integers(0, 99), st.floats(0, 0.2))
def test_the_vaes_own_error_is_not_pasted(seed: int, strength: float) -> None:
    error = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3)), (3, 3, 0))
    reconstruction = np.clip(unpainted() + np.float32(strength) * error.astype(np.float32), 0, 0.7)
    half = DISC & (np.arange(40) < 20)
    assert intersection_over_union(drawn(lighter(reconstruction, half, 0.25), reconstruction), half) > 0.93
    assert not drawn(reconstruction, reconstruction).any()


def some_pixels(*positions: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(DISC.shape, dtype=bool)
    mask[tuple(np.transpose(positions))] = True
    return mask


def test_specks_are_dropped_from_the_picture_too() -> None:
    speck, stroke = some_pixels((18, 26)), np.zeros_like(DISC)
    stroke[20:26, 16:20] = True
    assert speck.sum() < MIN_SPECK_PX
    pasted = paste(painted(speck | stroke))
    assert intersection_over_union(pasted.mask(SOURCE.shape), stroke) > 0.8
    result = stitch(SOURCE, painted(speck | stroke), BOX, pasted)
    np.testing.assert_array_equal(result[speck], SOURCE[speck])


def test_many_spots_of_a_size_are_no_specks() -> None:
    source = np.random.default_rng(0).integers(118, 132, (128, 128, 3), np.uint8)
    spots = np.any([disc((128, 128), (16 + 24 * y, 16 + 24 * x), 5) for y, x in np.ndindex(5, 5)], axis=0)
    clean = crop_window(source, spots, (0, 0, 128, 128), 128).image
    candidate = clean + spots[..., None].astype(np.float32) * np.float32(0.25)
    pasted = paste_changed(source, candidate, clean, (0, 0, 128, 128), spots, min_change=0.04)
    assert intersection_over_union(pasted.mask(source.shape), spots) > 0.8


def test_what_the_defect_encloses_is_pasted_with_it() -> None:
    hole = disc(DISC.shape, (22, 20), 4)
    pasted = paste(painted(DISC & ~hole))
    assert pasted.mask(SOURCE.shape)[hole].all()
    candidate = painted(DISC & ~hole)
    candidate[in_window(hole)] = 0.4
    assert changed_fraction(SOURCE, stitch(SOURCE, candidate, BOX, paste(candidate)), DISC) > 0.97


@pytest.mark.parametrize("seed", range(1, 5))
def test_labels_have_no_loops_where_the_painting_crosses_the_brightness_of_a_larger_source(seed: int) -> None:
    side, large = 64, 160
    source = np.full((large, large, 3), 120, np.uint8)
    clean = np.full((side, side, 3), 120 / 255, np.float32)
    waves = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 3)
    waves *= disc((side, side), (32, 32), 20) / waves.std()
    planned = disc((large, large), (80, 80), 60)
    candidate = clean + np.float32(0.15) * waves[..., None].astype(np.float32)
    mask = paste_changed(source, candidate, clean, (0, 0, large, large), planned, min_change=0.04).mask(source.shape)
    np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)


def test_the_sound_middle_of_a_ring_is_not_pasted() -> None:
    ring = DISC & ~disc(DISC.shape, (22, 20), 6)
    pasted = paste_changed(SOURCE, painted(ring), unpainted(), BOX, ring, min_change=0.04)
    middle = disc(DISC.shape, (22, 20), 3)
    assert not pasted.mask(SOURCE.shape)[middle].any()
    assert intersection_over_union(pasted.mask(SOURCE.shape), ring) > 0.8


@given(st.integers(0, 999), st.integers(8, 40), st.integers(8, 40), st.integers(4, 50))
def test_weights_lie_in_the_blend_region_and_the_rest_is_the_sources(
    seed: int, height: int, width: int, resolution: int
) -> None:
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (height, width, 3), np.uint8)
    planned = rng.random((height, width)) < rng.choice([0.005, 0.05, 0.5])
    planned[rng.integers(height), rng.integers(width)] = True
    box = window_box(planned, WindowConfig(context=1.5, min_side_px=16), resolution / 8)
    candidate, clean = rng.random((2, resolution, resolution, 3), dtype=np.float32)
    pasted = paste_changed(source, candidate, clean, box, planned, min_change=0.04)
    distances = np.indices(planned.shape)[:, None] - np.argwhere(planned).T[..., None, None]
    nearest = np.hypot(*distances).min(axis=0)
    mask = pasted.mask(source.shape)
    assert not mask[nearest > blend_width(box)].any()
    assert ((pasted.weight == 0) | (pasted.weight >= LEAST_WEIGHT)).all()
    assert pasted.weight.max(initial=0) <= 1
    result = stitch(source, candidate, box, pasted)
    np.testing.assert_array_equal(result[~mask], source[~mask])
    assert unchanged_outside(source, result, pasted.region, pasted.weight > 0)


def test_a_window_beyond_the_frame_pastes_inside_the_frame() -> None:
    source = np.full((20, 60, 3), 100, np.uint8)
    planned = np.zeros((20, 60), dtype=bool)
    planned[8:12, 5:55] = True
    box = window_box(planned, WindowConfig(), 64)
    window = crop_window(source, planned, box, box[2] - box[0])
    assert box[1] < 0
    candidate = np.where(window.mask[..., None], np.float32(1), window.image)
    pasted = paste_changed(source, candidate, window.image, box, planned, min_change=0.04)
    assert intersection_over_union(pasted.mask(source.shape), planned) > 0.9


@pytest.mark.parametrize("category", ["washer", "wood", "leather", "tile"])
@pytest.mark.parametrize("enlarged", [1, 3])
def test_on_toys_the_label_is_what_was_filled_and_what_really_changed(category: str, enlarged: int) -> None:
    """Windows of another size than the model's, so that painting is blurred on its way back."""
    source = make_sample((0, 1), category).image
    for name, least in (("hole", 0.85), ("stain", 0.75), ("scratch", 0.65)):
        planned = make_sample((0, 1), category, name).defect_mask
        larger, mask = (
            np.kron(each, np.ones((enlarged, enlarged, 1), each.dtype)) for each in (source, planned[..., None])
        )
        planned = mask[..., 0]
        box = window_box(planned, WindowConfig(), 32)
        window = crop_window(larger, planned, box, 256)
        [painting] = FlatPainter(candidates=1).paint([window], [5], [""])
        filled = painting.candidates[0]
        pasted = paste_changed(larger, filled, painting.reconstruction, box, planned, min_change=0.04)
        drawn_mask = pasted.mask(larger.shape)
        assert intersection_over_union(drawn_mask, planned) >= least, name
        assert changed_fraction(larger, stitch(larger, filled, box, pasted), drawn_mask) >= 0.97, name


def test_what_the_bundled_base_makes_of_a_damaged_toy_is_pasted_and_labelled_where_it_differs() -> None:
    """The damaged part and its undamaged twin through the same VAE, as if a perfect model had painted."""
    from defectfill.config.base import BUNDLED_BASES, BaseConfig
    from defectfill.model.base.base import decode_latents, encode_images, load_base
    from defectfill.model.inpaint.painter import to_tensor

    base = load_base(BaseConfig(model=str(BUNDLED_BASES / "mini"), resolution=128, device="cpu"))
    for category, defect, least in (("washer", "stain", 0.6), ("wood", "hole", 0.45)):
        twin, damaged = (make_sample((7, 0), category, each) for each in ("good", defect))
        planned = ndimage.binary_dilation(damaged.defect_mask, iterations=5)
        box = window_box(planned, WindowConfig(context=1.8, min_side_px=96), 16)
        windows = [crop_window(each.image, planned, box, 128).image for each in (twin, damaged)]
        with torch.inference_mode():
            decoded = decode_latents(base, encode_images(base, torch.stack([to_tensor(each) for each in windows])))
        clean, candidate = ((decoded + 1) / 2).movedim(1, -1).numpy()
        pasted = paste_changed(twin.image, candidate, clean, box, planned, min_change=0.04)
        mask = pasted.mask(planned.shape)
        result = stitch(twin.image, candidate, box, pasted)
        assert intersection_over_union(mask, damaged.defect_mask) > least
        assert changed_fraction(twin.image, result, mask) >= 0.97
        np.testing.assert_array_equal(result[~mask], twin.image[~mask])


def grain(seed: int, side: int, strength: float, fine_px: float) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), fine_px)
    return np.asarray(noise / noise.std() * strength, np.float32)


PATCH, PLANNED = disc((128, 128), (62, 62), 16), disc((128, 128), (64, 64), 30)
SOFT = ndimage.gaussian_filter(PATCH.astype(np.float32), 1)


def roughened(ground: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    return ground + SOFT * grain(200 + seed, 128, 0.08, 0.8)


def polished(ground: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    return ground + SOFT * (ndimage.gaussian_filter(ground, 5) - ground)


def untouched(ground: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    return ground


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("change", [roughened, polished, untouched])
def test_texture_alone_is_a_change_and_the_same_grain_painted_anew_is_none(
    seed: int, change: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
) -> None:
    """The mean is the same everywhere, and inside the planned mask the model painted other grain of the same kind."""
    clean, other = (np.float32(0.5) + grain(each, 128, 0.04, 0.8) for each in (seed, 100 + seed))
    ground = clean + ndimage.gaussian_filter(PLANNED.astype(np.float32), 1) * (other - clean)
    pictures = [np.repeat(np.clip(each, 0, 1)[..., None], 3, axis=2) for each in (clean, change(ground, seed))]
    source = np.rint(pictures[0] * 255).astype(np.uint8)
    clean_window, candidate = (ndimage.gaussian_filter(each, (0.5, 0.5, 0)) for each in pictures)
    pasted = paste_changed(source, candidate, clean_window, (0, 0, 128, 128), PLANNED, min_change=0.04)
    mask = pasted.mask(source.shape)
    if change is untouched:
        assert mask.sum() < 0.1 * PLANNED.sum()
    else:
        assert intersection_over_union(mask, PATCH) > 0.45
        assert mask.sum() < 1.3 * PATCH.sum()


def through_a_vae(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture without its finest texture."""
    return np.asarray(ndimage.gaussian_filter(picture, (1.2, 1.2, 0)), np.float32)


@pytest.mark.parametrize("category", CATEGORIES)
def test_around_a_soft_defect_the_grain_is_the_sources_and_there_is_no_seam(category: str) -> None:
    source = make_sample((2, 0), category).image
    planned, centre = disc((256, 256), (128, 118), 40), np.indices((256, 256)) - np.array([[[128]], [[118]]])
    box = window_box(planned, WindowConfig(), 32)
    window = crop_window(source, planned, box, box[2] - box[0])
    stain = np.exp(-np.square(centre / 14).sum(axis=0))[box[1] : box[3], box[0] : box[2], None]
    towards = np.where(window.image.mean() > 0.5, 0.0, 1.0)
    clean = through_a_vae(window.image)
    candidate = np.asarray(clean + 0.8 * stain * (towards - clean), np.float32)
    pasted = paste_changed(source, candidate, clean, box, planned, min_change=0.04)
    mask = pasted.mask(source.shape)
    result = stitch(source, candidate, box, pasted)
    assert 0.1 < mask.sum() / planned.sum() < 0.8
    np.testing.assert_array_equal(result[~mask], source[~mask])
    defect = np.zeros(source.shape)
    defect[box[1] : box[3], box[0] : box[2]] = 255 * (candidate - clean)
    for axis in (0, 1):
        border = np.diff(mask.astype(np.int8), axis=axis) != 0
        expected = steps(source, axis)[border].mean() + steps(defect, axis)[border].mean()
        assert steps(result, axis)[border].mean() < 1.05 * expected + 0.5


def steps(image: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """The differences of neighbours' luma, in grey levels."""
    return np.abs(np.diff(image.mean(axis=2), axis=axis))
