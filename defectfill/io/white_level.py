"""White in images of 16 bits: cameras of 10, 12 or 14 bits use only the lower part of the range.

Such images are stretched to the whole range when they are read, so that everything after sees them as bright as they
are, and what is painted is brought back before it is written. There and back gives every value again.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray, bits_of, read_image

FULL = 65535
CAMERA_BITS = (10, 12, 14, 16)


def white_of(image: ImageArray, white_level: int) -> int:
    """Return the value of white in an image of 8 or 16 bits; white_level: that of 16 bits, 0 for all of the range."""
    return 255 if image.dtype == np.uint8 else white_level or FULL


def white_level_of(largest: int) -> int:
    """Return the white of the first camera that can give a value: 1023, 4095, 16383 or FULL."""
    return next(white for white in ((1 << bits) - 1 for bits in CAMERA_BITS) if largest <= white)


def largest_value(image: ImageArray) -> int:
    """Return the largest value of an image [H, W, C], alpha aside."""
    return int(image[..., :3].max())


def deep_maximum(path: Path) -> int:
    """Return the largest value in a file of more than 8 bits, alpha aside; 0 for others, of which no pixel is decoded.

    Raises DataError as `read_image`.
    """
    return largest_value(read_image(path)) if bits_of(path) > 8 else 0


def read_stretched(path: Path, white_level: int) -> ImageArray:
    """Return the image in a file, stretched where it has 16 bits and a white level."""
    return stretched(read_image(path), white_level)


def stretched(image: ImageArray, white_level: int) -> ImageArray:
    """Return an image [H, W, C] of 16 bits with `white_level` at FULL; any other, or one of level 0, as it is."""
    return _mapped(image, white_level, FULL) if white_level else image


def unstretched(image: ImageArray, white_level: int) -> ImageArray:
    """Return an image [H, W, C] that was stretched with FULL at `white_level` again."""
    return _mapped(image, FULL, white_level) if white_level else image


def eight_bits(image: ImageArray) -> ImageArray:
    """Return an image [H, W, C] with 65535 of 16 bits at 255, rounded; one of 8 bits as it is."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def on_levels(image: ImageArray, white_level: int) -> ImageArray:
    """Return a stretched image [H, W, C] as it will be read again: with the nearest values that its camera gives."""
    return stretched(unstretched(image, white_level), white_level)


def _mapped(image: ImageArray, old_white: int, new_white: int) -> ImageArray:
    if image.dtype != np.uint16:
        return image
    colours = _table(old_white, new_white)[image[..., :3]]
    return np.concatenate([colours, image[..., 3:]], axis=2) if image.shape[2] == 4 else colours


@lru_cache(maxsize=4)
def _table(old_white: int, new_white: int) -> NDArray[np.uint16]:
    """Return the new value of each old one, rounded; beyond the old white it is the new white."""
    values = np.minimum(np.arange(FULL + 1), old_white)
    return ((2 * values * new_white + old_white) // (2 * old_white)).astype(np.uint16)
