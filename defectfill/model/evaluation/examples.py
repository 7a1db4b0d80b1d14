"""Images with masks, as detectors learn from them and are tested on them. Shapes: H, W scaled pixels, S of a crop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray, read_mask
from defectfill.io.white_level import eight_bits, read_stretched

LEAST_DEFECT_PX = 8
"""What the square root of the median defect's area is to be, at the least, where the images have so many pixels."""
KEPT_BYTES = 4 * 2**30
"""Scaled images that stay in memory."""
TILT_DEGREES, BRIGHTNESS, CONTRAST = 15.0, 0.1, 0.2
"""The most that the classical augmentation turns (beside quarter turns), brightens and stretches a crop."""


@dataclass(frozen=True)
class Example:
    """One image of the train or test side."""

    sample_id: str
    image: Path
    mask: Path | None
    """None: a normal."""
    defect: str
    """`good` for normals."""
    white_level: int
    content: str = ""
    """Hashes of image and mask."""
    origin: str = ""
    """What an image shares with those painted on it: the path of the photograph."""
    group: str = ""
    """The physical part, where known."""


@dataclass
class Images:
    """Scaled images of examples, read once as far as memory allows."""

    image_px: int
    """The longer side of larger images is brought to it."""
    _kept: dict[str, tuple[ImageArray, NDArray[np.bool_]]] = field(default_factory=dict)
    _bytes: int = 0

    def read(self, example: Example) -> tuple[ImageArray, NDArray[np.bool_]]:
        """Return an example's image [H, W, 3] of 8 bits and its mask [H, W]."""
        key = f"{example.image} {example.mask}"
        if key in self._kept:
            return self._kept[key]
        image = three_channels(read_stretched(example.image, example.white_level))
        mask = read_mask(example.mask) if example.mask else np.zeros(image.shape[:2], bool)
        pair = scaled(image, mask, self.image_px)
        if self._bytes < KEPT_BYTES:
            self._kept[key] = pair
            self._bytes += pair[0].nbytes + pair[1].nbytes
        return pair


def three_channels(image: ImageArray) -> ImageArray:
    """Return an image [H, W, C] of 8 or 16 bits as one of 8 bits with three channels."""
    image = eight_bits(image)
    return np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] < 3 else np.ascontiguousarray(image[..., :3])


def scaled(image: ImageArray, mask: NDArray[np.bool_], image_px: int) -> tuple[ImageArray, NDArray[np.bool_]]:
    """Return image [H, W, 3] and mask [H, W] with the longer side brought to `image_px`, where it is larger.

    A pixel of the mask is anomalous where half of it was. Of a connected part that would lose more than half of its
    area so, since it is thin, all pixels are that it touches.
    """
    height, width = mask.shape
    share = image_px / max(height, width)
    if share >= 1:
        return image, mask
    size = max(round(width * share), 1), max(round(height * share), 1)
    small = np.zeros(size[::-1], bool)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    for part in range(1, count):
        covered = cv2.resize((parts == part).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        half = covered >= 0.5
        small |= half if 2 * half.sum() > covered.sum() else covered > 0
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), small


def fitting_side(examples: Sequence[Example], crop_px: int) -> int:
    """Return the longer side, in pixels, at which the median defect is LEAST_DEFECT_PX wide: at least `crop_px`."""
    shares, longest = [], crop_px
    for example in examples:
        if example.mask:
            mask = read_mask(example.mask)
            longest = max(longest, *mask.shape)
            shares.append(np.sqrt(mask.sum()) / max(mask.shape))
    return int(np.clip(np.ceil(LEAST_DEFECT_PX / np.median(shares)), crop_px, longest)) if shares else crop_px


def draw_crop(
    image: ImageArray, mask: NDArray[np.bool_], side: int, rng: np.random.Generator
) -> tuple[ImageArray, NDArray[np.bool_]]:
    """Return a crop [S, S, 3] and its mask [S, S] that shows a random pixel of the defect, or of the whole of a normal.

    What lies beyond the image repeats its edge.
    """
    rows, columns = np.nonzero(mask) if mask.any() else (np.array([rng.integers(s)]) for s in mask.shape)
    pick = int(rng.integers(len(rows)))
    starts = []
    for size, position in zip(mask.shape, (int(rows[pick]), int(columns[pick])), strict=True):
        drawn = position - int(rng.integers(side // 4, side - side // 4))
        starts.append(min(max(drawn, 0), max(size - side, 0)))
    top, left = starts
    crop, label = image[top : top + side, left : left + side], mask[top : top + side, left : left + side]
    below, right = side - label.shape[0], side - label.shape[1]
    if below or right:
        crop = np.pad(crop, ((0, below), (0, right), (0, 0)), mode="edge")
        label = np.pad(label, ((0, below), (0, right)), mode="edge")
    return crop, label


def augmented(
    crop: ImageArray, label: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[ImageArray, NDArray[np.bool_]]:
    """Return a crop [S, S, 3] and its label [S, S] flipped, turned, brightened and stretched at random."""
    side, turns = len(label), int(rng.integers(4))
    crop, label = np.rot90(crop, turns), np.rot90(label, turns)
    if rng.random() < 0.5:
        crop, label = crop[:, ::-1], label[:, ::-1]
    tilt = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-TILT_DEGREES, TILT_DEGREES), 1.0)
    border = cv2.BORDER_REPLICATE
    crop = cv2.warpAffine(np.ascontiguousarray(crop), tilt, (side, side), borderMode=border)
    tilted = cv2.warpAffine(label.astype(np.uint8), tilt, (side, side), flags=cv2.INTER_NEAREST, borderMode=border)
    gain, shift = 1 + rng.uniform(-CONTRAST, CONTRAST), 255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    mean = crop.mean()
    return np.clip((crop - mean) * gain + mean + shift, 0, 255).astype(np.uint8), tilted > 0
