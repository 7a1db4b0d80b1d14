"""One real image and its mask, opened and checked."""

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from defectfill.ingest.find import relative_path
from defectfill.ingest.near_duplicates import perceptual_hash
from defectfill.io.errors import DataError
from defectfill.io.images import ImageArray, content_sha256, file_sha256, read_image, read_mask
from defectfill.io.white_level import FULL, largest_value, white_level_of
from defectfill.records.snapshot import ImageRecord, Role

WhiteLevel: TypeAlias = int | Literal["auto"]


def inspect_image(
    root: Path, path: Path, defect: str, mask_path: Path | None, group: str, white_level: WhiteLevel = "auto"
) -> tuple[ImageRecord | None, list[str]]:
    """Return the record of one image, held out for now where it is defective, and its problems.

    There is no record where the image cannot be read. white_level: as data.white_level; of the record, that of this
    image alone.
    """
    in_train = path.parent.parent.name == "train"
    record: ImageRecord | None = None
    problems: list[str] = []
    try:
        image = read_image(path)
        height, width, channels = image.shape
        role: Role = "normal" if in_train else "test_normal" if defect == "good" else "held_out"
        record = ImageRecord(
            path=relative_path(path, root),
            role=role,
            defect=defect,
            split="train" if in_train else "test",
            width=width,
            height=height,
            channels=channels,
            bit_depth=image.dtype.itemsize * 8,
            white_level=_white_level(path, image, white_level),
            sha256=file_sha256(path),
            content_sha256=content_sha256(image),
            perceptual_hash=perceptual_hash(image),
            group=group,
        )
    except DataError as error:
        problems += error.problems
    if mask_path is None:
        return record, problems
    try:
        area_px = _check_mask(mask_path, record)
        sha256 = file_sha256(mask_path)
    except DataError as error:
        return record, problems + list(error.problems)
    if record:
        update = {"mask_path": relative_path(mask_path, root), "mask_sha256": sha256, "mask_area_px": area_px}
        record = record.model_copy(update=update)
    return record, problems


def _white_level(path: Path, image: ImageArray, asked: WhiteLevel) -> int:
    """Return the white level of an image, 0 where it is all of its range; DataError where a value is above."""
    if image.dtype != np.uint16:
        return 0
    largest = largest_value(image)
    level = white_level_of(largest) if asked == "auto" else asked
    if largest > level:
        raise DataError(f"{path}: expected values up to data.white_level, {level}, found {largest}")
    return level % FULL


def _check_mask(path: Path, image: ImageRecord | None) -> int:
    """Return how many pixels the defect has in the mask `path`; DataError for none, all, or not the image's size."""
    mask = read_mask(path)
    height, width = mask.shape
    if image and (width, height) != (image.width, image.height):
        size = f"{image.width} x {image.height} pixels as the upright {image.path}"
        raise DataError(f"{path}: expected {size}, found {width} x {height}")
    area_px = int(mask.sum())
    if area_px in (0, mask.size):
        found = "every pixel" if area_px else "no pixel"
        hint = "" if area_px else _alpha_hint(read_image(path))
        raise DataError(f"{path}: expected a mask of a defect (0 and 255, or 0 and 1), found {found} set{hint}")
    return area_px


def _alpha_hint(mask: ImageArray) -> str:
    """Return what is to be said of a black mask [H, W, C] that is transparent in parts."""
    if mask.shape[2] < 4 or np.ptp(mask[..., 3]) == 0:
        return ""
    return "; its alpha differs from pixel to pixel, but does not count: draw the defect in white"
