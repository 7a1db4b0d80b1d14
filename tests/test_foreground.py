"""The object is found in the picture, with a probability for each pixel, or it is said that it cannot be."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from defectfill import toy
from mask_sampling import Mask, UncertainObject
from mask_sampling.foreground import find_object

DARK, LIGHT, BROWN = (40, 40, 45), (200, 205, 200), (150, 80, 50)


def disc(size_px: int, radius: float = 0.3, centre: tuple[float, float] = (0.5, 0.5)) -> Mask:
    """A disc; radius and centre (down, right) are shares of the side."""
    y, x = np.mgrid[:size_px, :size_px] / size_px
    inside: Mask = np.hypot(y - centre[0], x - centre[1]) < radius
    return inside


def photograph(
    cover: NDArray[np.generic],
    ground: tuple[int, ...] = DARK,
    body: tuple[int, ...] = BROWN,
    blur_px: float = 1,
    noise: float = 3,
) -> NDArray[np.uint8]:
    """A body on its ground, under uneven light, a little out of focus and noisy; `cover` is 0 to 1."""
    size_px = cover.shape[0]
    share = gaussian_filter(cover.astype(np.float64), blur_px)[..., None]
    light = np.linspace(0.8, 1.2, size_px)[:, None, None]
    grain = np.random.default_rng(0).normal(0, noise, (size_px, size_px, len(ground)))
    return np.clip(light * (share * body + (1 - share) * ground) + grain, 0, 255).astype(np.uint8)


def overlap(found: Mask, expected: Mask) -> float:
    """Intersection over union."""
    return float((found & expected).sum() / (found | expected).sum())


def find_mask(image: NDArray[np.uint8 | np.uint16]) -> Mask:
    return find_object(image).mask


@pytest.mark.parametrize(
    ("ground", "body"), [((40,), (150,)), ((200,), (90,)), (DARK, BROWN), (LIGHT, BROWN), ((90, 60, 60), (60, 80, 70))]
)
def test_the_object_is_found_on_dark_and_light_ground(ground: tuple[int, ...], body: tuple[int, ...]) -> None:
    found = find_object(photograph(disc(256), ground, body))
    assert overlap(found.mask, disc(256)) > 0.97
    assert found.contrast > 8
    assert found.certainty > 0.9


@pytest.mark.parametrize("size_px", [64, 128, 1025])
def test_the_object_is_found_at_any_size(size_px: int) -> None:
    found = find_object(photograph(disc(size_px)))
    assert found.probability.shape == (size_px, size_px)
    assert found.probability.dtype == np.float32
    assert overlap(found.mask, disc(size_px)) > 0.96


@pytest.mark.parametrize(
    "expected",
    [
        disc(256, radius=0.4, centre=(0.5, 0.9)),
        disc(256, radius=0.4, centre=(0.9, 0.8)),
        np.arange(256)[:, None] + np.zeros(256) >= 210,
    ],
    ids=["one side", "two sides", "three sides"],
)
def test_the_object_is_found_where_it_leaves_the_frame(expected: Mask) -> None:
    found = find_object(photograph(expected))
    assert overlap(found.mask, expected) > 0.97
    assert found.probability[expected & (expected == gaussian_filter(expected * 1.0, 3))].min() > 0.95


def test_sixteen_bits_and_opaque_alpha_change_nothing() -> None:
    image = photograph(disc(256))
    found = find_mask(image)
    opaque = np.dstack([image, np.full((256, 256), 255, dtype=np.uint8)])
    assert_array_equal(find_mask(opaque), found)
    assert_array_equal(find_mask(image.astype(np.uint16) * 16), found)


def test_what_is_transparent_is_ground() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image = np.dstack([noise, np.where(disc(256), 255, 0).astype(np.uint8)])
    assert overlap(find_mask(image), disc(256)) > 0.97


def test_a_shadow_is_not_part_of_the_object() -> None:
    shadow = gaussian_filter(disc(512, 0.2, (0.58, 0.58)).astype(np.float64), 25)[..., None]
    image = photograph(disc(512, 0.2), ground=(200,), body=(60,))
    image = np.where(disc(512, 0.2)[..., None], image, image * (1 - 0.5 * shadow)).astype(np.uint8)
    assert overlap(find_mask(image), disc(512, 0.2)) > 0.95


def test_a_highlight_is_filled_and_a_hole_is_not() -> None:
    highlight, hole = disc(256, 0.03, (0.3, 0.5)), disc(256, 0.12)
    found = find_object(photograph(disc(256, 0.4) & ~highlight & ~hole))
    assert overlap(found.mask, disc(256, 0.4) & ~hole) > 0.97
    assert found.probability[disc(256, 0.1)].max() < 0.05
    assert found.probability[highlight].min() > 0.95


def test_specks_on_the_ground_are_dropped() -> None:
    specks = disc(256, 0.02, (0.1, 0.1)) | disc(256, 0.02, (0.9, 0.2))
    found = find_object(photograph(disc(256) | specks))
    assert overlap(found.mask, disc(256)) > 0.97
    assert found.probability[specks].max() < 0.05


def test_several_objects_are_all_found() -> None:
    expected = disc(256, 0.15, (0.3, 0.3)) | disc(256, 0.1, (0.7, 0.7))
    assert overlap(find_mask(photograph(expected)), expected) > 0.97


@pytest.mark.parametrize("grain_px", [0.5, 3, 20])
def test_a_texture_fills_the_frame(grain_px: float) -> None:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), grain_px)
    texture = (128 + 30 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    found = find_object(texture[..., None])
    assert found.probability.min() == found.certainty == 1
    assert found.contrast < 5.3


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 3), (64, 48, 4), (1300, 20, 1), (5000, 3, 1)])
def test_an_even_picture_counts_as_full_frame(shape: tuple[int, ...]) -> None:
    for level in (0, 128, 255):
        found = find_mask(np.full(shape, level, dtype=np.uint8))
        assert found.shape == shape[:2]
        assert found.all()


def test_a_tiny_speck_leaves_an_even_picture_a_texture() -> None:
    assert find_mask(photograph(disc(256, 0.012))).all()


@pytest.mark.parametrize("size_px", [128, 256])
@pytest.mark.parametrize("body", [BROWN, (80, 60, 60), (70, 60, 55)])
@pytest.mark.parametrize("noise", [0, 1, 3])
@pytest.mark.parametrize("blur_px", [0.01, 1, 3, 6])
def test_the_probability_is_calibrated(size_px: int, body: tuple[int, ...], noise: float, blur_px: float) -> None:
    inside = disc(size_px)
    try:
        probability = find_object(photograph(inside, DARK, body, blur_px, noise)).probability
    except UncertainObject:
        assert noise == 3 or size_px == 128
        return
    middling = (probability > 0.05) & (probability < 0.95)
    assert middling.sum() > size_px  # a seam along the outline
    assert inside[middling].mean() == pytest.approx(probability[middling].mean(), abs=0.15)
    assert inside[probability >= 0.99].mean() >= 0.995
    assert inside[probability <= 0.01].mean() <= 0.005


def test_where_the_object_fades_into_the_ground_the_probability_is_middling() -> None:
    fading = np.clip((0.75 - np.arange(256) / 256) / 0.4, 0, 1)
    probability = find_object(photograph(disc(256) * fading)).probability
    doubtful = (probability > 0.05) & (probability < 0.95)
    left, right = doubtful[128, :128], doubtful[128, 128:]
    assert left.sum() < 10 < right.sum()


def test_blur_widens_the_seam_and_lowers_the_certainty() -> None:
    sharp, blurred = (find_object(photograph(disc(256), blur_px=blur_px)) for blur_px in (1, 6))
    seams = [((found.probability > 0.05) & (found.probability < 0.95)).sum() for found in (sharp, blurred)]
    assert seams[1] > 2 * seams[0]
    assert blurred.certainty < sharp.certainty - 0.1


def test_what_hardly_differs_from_the_ground_is_told() -> None:
    with pytest.raises(UncertainObject, match=r"differs from the ground by 7\.\d times .* at least 8 times"):
        find_object(photograph(disc(256), (60, 60, 60), noise=10))


def test_what_may_be_a_stain_as_well_as_an_object_is_told() -> None:
    with pytest.raises(UncertainObject, match=r"covers 0\.8% of the image: an object covers 2% to 98%"):
        find_object(photograph(disc(256, 0.05)))
    with pytest.raises(UncertainObject, match="at least 12 times"):
        find_object(photograph(disc(256, 0.12), (100, 100, 100), (135, 117, 100)))


def test_an_outline_that_is_but_a_blur_is_told() -> None:
    with pytest.raises(UncertainObject, match="the outline is blurred"):
        find_object(photograph(disc(256), blur_px=18))


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        find_object(image)


def test_the_same_picture_gives_the_same_probability() -> None:
    image = photograph(disc(256))
    assert_array_equal(find_object(image).probability, find_object(image.copy()).probability)


@pytest.mark.parametrize(("category", "whole"), [("washer", False), ("nut", False), ("wood", True), ("cloth", True)])
def test_toys_are_objects_or_textures_beyond_doubt(category: str, whole: bool) -> None:
    for number in range(8):
        found = find_object(toy.make_sample((0, number), category, size_px=128).image)
        assert bool(found.mask.all()) == whole, number


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("category", "smallest", "largest"),
    [("screw", 0.09, 0.105), ("hazelnut", 0.33, 0.4), ("concrete", 1, 1), ("magnetic_tile", 1, 1)],
)
def test_real_objects_are_found(real_data: Path, category: str, smallest: float, largest: float) -> None:
    for path in sorted((real_data / category / "train" / "good").iterdir())[:6]:
        with Image.open(path) as picture:
            image = np.atleast_3d(np.asarray(picture))
        assert smallest <= find_mask(image).mean() <= largest, path
