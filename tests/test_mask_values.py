"""Masks in files: which of their values count as the defect, and which masks are refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_images import noise, save

from defectfill.io.errors import DataError
from defectfill.io.images import examine_mask, read_image, read_mask
from defectfill.toy import make_sample


@pytest.mark.parametrize("highest", [1, 255])
def test_a_mask_of_0_and_1_is_one_of_0_and_255(tmp_path: Path, highest: int) -> None:
    mask = noise(8, 9) > 127
    path = save(tmp_path / "mask.png", mask.astype(np.uint8) * np.uint8(highest))
    np.testing.assert_array_equal(read_mask(path), mask)
    assert read_mask(path).dtype == np.bool_


@pytest.mark.parametrize(("dtype", "half"), [(np.uint8, 128), (np.uint16, 32768)])
def test_an_anti_aliased_mask_is_cut_at_half_its_range(tmp_path: Path, dtype: Any, half: int) -> None:
    values = np.array([[0, 1, half - 1, half, np.iinfo(dtype).max]], dtype)
    path = save(tmp_path / "mask.png", values)
    assert read_mask(path).tolist() == [[False, False, False, True, True]]


def test_a_mask_of_one_bit_is_read(tmp_path: Path) -> None:
    mask = noise(8, 9) > 127
    path = save(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(read_mask(path), mask)


def test_a_colour_mask_counts_by_its_largest_channel_without_alpha(tmp_path: Path) -> None:
    values = np.array([[[0, 0, 0, 255], [200, 0, 0, 0], [0, 0, 130, 255], [100, 100, 100, 255]]], np.uint8)
    path = save(tmp_path / "mask.png", values)
    assert read_mask(path).tolist() == [[False, True, True, False]]


def areas(*values: Any, dtype: Any = np.uint8) -> NDArray[Any]:
    """A mask with a bar of each of the values, 6 pixels wide, on 0."""
    channels = np.shape(values)[1:]
    mask = np.zeros((20, 9 * len(values) + 3, *channels), dtype)
    for number, value in enumerate(values):
        mask[3:17, 9 * number + 3 : 9 * number + 9] = value
    return mask


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(areas(1, 2, 3), id="numbers of classes"),
        pytest.param(areas(48, 176), id="grey levels on both sides of half"),
        pytest.param(areas(1, 255), id="a class and what is to be ignored"),
        pytest.param(areas((176, 112, 32), (48, 112, 32)), id="colours, one darker than half"),
        pytest.param(areas(100, dtype=np.uint16), id="a number of 16 bits"),
        pytest.param(areas(*range(1, 30), dtype=np.uint16), id="numbers of many parts"),
    ],
)
def test_every_value_but_the_background_counts_where_values_fill_areas(tmp_path: Path, values: Any) -> None:
    reading = examine_mask(save(tmp_path / "mask.png", values))
    np.testing.assert_array_equal(reading.mask, values.reshape(*values.shape[:2], -1).any(axis=2))
    assert (reading.rule, reading.left_out_px) == ("any value", 0)
    assert sum(reading.counts.values()) == reading.mask.sum()


def test_indices_of_a_palette_count_by_their_colours_and_where_these_are_alike_by_themselves(tmp_path: Path) -> None:
    indices = areas(1, 2, 3)
    for name, palette in (("voc", [0, 0, 0, 128, 0, 0, 0, 128, 0, 64, 0, 0]), ("black", [0, 0, 0] * 4)):
        image = Image.fromarray(indices, "P")
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), indices > 0)


def smooth_disc(blur_px: float) -> NDArray[np.uint8]:
    rows, columns = np.ogrid[:80, :80]
    disc = ((rows - 40) ** 2 + (columns - 40) ** 2 < 18**2).astype(np.uint8) * np.uint8(255)
    return np.asarray(cv2.GaussianBlur(disc, (0, 0), blur_px))


@pytest.mark.parametrize("blur_px", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_of_a_smooth_outline_all_from_half_on_counts_and_the_rest_is_told(
    tmp_path: Path, blur_px: float, suffix: str
) -> None:
    reading = examine_mask(save(tmp_path / f"mask{suffix}", smooth_disc(blur_px)))
    np.testing.assert_array_equal(reading.mask, read_image(tmp_path / f"mask{suffix}").max(axis=2) >= 128)
    assert reading.rule == "half"
    assert reading.left_out_px > 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("thin.png", np.pad(areas(255), ((0, 0), (0, 9))) + np.uint8(90) * (np.arange(21) == 18).astype(np.uint8)),
        ("lossy.jpg", np.kron(areas(60, 255, 60), np.ones((4, 4), np.uint8))),
        ("dark.png", smooth_disc(8.0) // 3),
        ("thin and faint.png", np.pad(areas(255), ((0, 40), (0, 40))) + np.uint8(9) * (np.arange(60)[:, None] == 50)),
        ("without black.png", areas(200) + 40),
        ("photograph.png", make_sample((0, 0), "washer").image.max(axis=2)),
    ],
)
def test_a_mask_that_may_be_read_in_two_ways_is_refused_with_its_values(tmp_path: Path, name: str, values: Any) -> None:
    path = save(tmp_path / name, values)
    with pytest.raises(DataError, match=r"found values of which some may be the defect .* pixels\)") as caught:
        read_mask(path)
    assert str(caught.value).startswith(f"{path}: expected a mask")


def test_an_empty_mask_is_false_everywhere(tmp_path: Path) -> None:
    assert not read_mask(save(tmp_path / "mask.png", np.zeros((8, 9), np.uint8))).any()
