"""Photographs that are one in spite of encoding, scale, crop, brightness and orientation, and those that are not."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from defectfill.ingest.near_duplicates import SAME, hash_distances, likeness, orientations, perceptual_hash, thumbnail
from defectfill.toy import make_sample

Picture = NDArray[np.uint8]
SIDE = 144


def encoded(picture: Picture) -> Picture:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 1), np.uint8)


def scaled(picture: Picture, factor: float) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "encoded": encoded,
    "rescaled": lambda picture: scaled(picture, 0.98),
    "enlarged and cut": lambda picture: scaled(picture, 1.02)[1 : SIDE + 1, 2 : SIDE + 2],
    "brighter": lambda picture: np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8),
    "cropped": lambda picture: picture[2:, 3:],
    "mirrored": lambda picture: picture[:, ::-1],
    "turned": lambda picture: np.rot90(picture),
    "all of it": lambda picture: encoded(np.ascontiguousarray(scaled(picture[3:, ::-1] // 8 * 7, 0.98))),
}


@cache
def picture(category: str, index: int, defect: str = "good") -> Picture:
    return make_sample((4, index, 0), category, defect, SIDE).image


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("category", ["screw", "leather"])
def test_a_copy_is_the_same_photograph(category: str, name: str) -> None:
    original = picture(category, 0, "scratch")
    copy = np.ascontiguousarray(COPIES[name](original))
    assert hash_distances([perceptual_hash(original)], [perceptual_hash(copy)])[0, 0] < 0.3
    assert likeness(thumbnail(original), thumbnail(copy)) >= SAME


@pytest.mark.parametrize("category", ["washer", "nut", "screw"])
def test_photographs_of_two_parts_of_a_kind_are_two(category: str) -> None:
    thumbnails = [thumbnail(picture(category, index)) for index in range(3)]
    others = [likeness(first, second) for first in thumbnails for second in thumbnails if first is not second]
    assert max(others) < SAME


def test_the_hash_knows_all_orientations_and_no_brightness() -> None:
    grey = picture("cable", 1)[..., 0]
    hashes = [perceptual_hash(each[..., None]) for each in orientations(grey)]
    assert len(set(hashes)) == 8
    assert hash_distances(hashes[:1], hashes).max() <= 2 / 63  # signs of frequencies that are nearly 0
    deep = grey.astype(np.uint16)[..., None] * np.uint16(257)
    assert perceptual_hash(deep) == hashes[0]
    assert len(perceptual_hash(deep)) == 16


def test_pictures_of_nothing_are_like_no_other() -> None:
    plain = np.full((SIDE, SIDE, 3), 90, np.uint8)
    assert likeness(thumbnail(plain), thumbnail(plain)) == 0
    assert likeness(thumbnail(plain), thumbnail(picture("nut", 0))) == 0
