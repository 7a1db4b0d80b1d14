"""The square crop around a mask that the model sees, and the way back into the full-resolution image.

Outside the blend region a stitched image holds the source's own bits: they are copied, never computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray

Box = tuple[int, int, int, int]
"""left, top, right, bottom in source pixels; square, and beyond the frame where the frame is too small."""

Region = tuple[slice, slice]
"""Rows and columns of an image."""

LEAST_CONTEXT = 1.2
"""Side of the window over the mask's longer side where the mask is thin."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the luma (ITU-R BT.601)."""


@dataclass(frozen=True)
class Window:
    """One crop at the model's resolution R."""

    box: Box
    image: NDArray[np.float32]
    """[R, R, 3] in [0, 1]."""
    mask: NDArray[np.bool_]
    """[R, R], True where the defect is (or is planned)."""


def window_box(mask: NDArray[np.bool_], config: WindowConfig, latent_side: float) -> Box:
    """Return the square box around the mask [H, W], moved inside the frame, for a model of so many latent cells a side.

    Its side is `context` times the mask's longer side, but less for a thin mask, so that `min_cells` latent cells span
    its width; at least `min_side_px` and LEAST_CONTEXT times the longer side, at most the frame's shorter side; where
    the mask itself is longer than that, or in mode "whole", it reaches beyond the frame.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    longer = int(max(np.ptp(rows), np.ptp(columns))) + 1
    if config.mode == "whole":
        side = max(height, width)
    else:
        side = config.context * longer
        if config.min_cells > 0:
            thin = mask_width(mask) * latent_side / config.min_cells
            side = min(side, max(thin, LEAST_CONTEXT * longer))
        side = max(round(side), config.min_side_px)
        side = max(min(side, height, width), longer)
    left = _start((int(columns[0]) + int(columns[-1]) + 1) // 2, side, width)
    top = _start((int(rows[0]) + int(rows[-1]) + 1) // 2, side, height)
    return left, top, left + side, top + side


def is_window_of(box: Sequence[int], mask: NDArray[np.bool_]) -> bool:
    """Return whether `window_box` can give a box for a mask [H, W]: a square around it, no longer than the frame."""
    left, top, right, bottom = box
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows) or not 0 < right - left == bottom - top <= max(mask.shape):
        return False
    return bool(left <= columns[0] and columns[-1] < right and top <= rows[0] and rows[-1] < bottom)


def mask_width(mask: NDArray[np.bool_]) -> float:
    """Return the width of a mask [H, W] in pixels, exact for a line; of a disc two thirds of its diameter."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depth = depth_in(np.pad(cropped, 1))[1:-1, 1:-1]
    return 4 * float(depth[cropped].mean(dtype=np.float64)) - 2


def depth_in(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the Euclidean distance [H, W] of every pixel of a mask [H, W] to the nearest one outside; 0 outside.

    Correctly rounded: the square roots that OpenCV takes differ in their last bit from process to process, but the
    squares of distances are integers.
    """
    import cv2

    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(distance, dtype=np.float64))).astype(np.float32)


def latent_cells(mask: NDArray[np.bool_], box: Box, latent_side: float) -> float:
    """Return how many latent cells the width of a mask [H, W] spans in a window."""
    return mask_width(mask) * latent_side / (box[2] - box[0])


def _start(centre: int, side: int, length: int) -> int:
    """Return where a span of `side` around `centre` starts: inside [0, length), or centred on it when longer."""
    if side > length:
        return -((side - length) // 2)
    return min(max(centre - side // 2, 0), length - side)


def inside_frame(box: Box, shape: tuple[int, ...]) -> Region:
    """Return rows and columns of a frame [H, W, ...] that lie in `box`."""
    left, top, right, bottom = box
    return slice(max(top, 0), min(bottom, shape[0])), slice(max(left, 0), min(right, shape[1]))


def region_around(mask: NDArray[np.bool_], margin_px: int) -> Region:
    """Return rows and columns of a frame that hold a mask [H, W], not empty, and so many pixels around it."""
    import cv2

    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = left - margin_px, top - margin_px, left + width + margin_px, top + height + margin_px
    return inside_frame(box, mask.shape)


def crop_window(image: ImageArray, mask: NDArray[np.bool_], box: Box, resolution: int) -> Window:
    """Return the window of an image [H, W, C] (8 or 16 bit) and its mask [H, W] at `resolution`.

    Beyond the frame the image is mirrored and the mask is empty.
    """
    pixels = resize(_unit(_cut(image, box, "symmetric")), resolution)
    return Window(box, _rgb(pixels), crop_mask(mask, box, resolution))


def crop_mask(
    mask: NDArray[np.bool_], box: Box, resolution: int, beyond: Literal["symmetric", "constant"] = "constant"
) -> NDArray[np.bool_]:
    """Return the window [R, R] of a mask [H, W] alone; beyond the frame it is empty or, "symmetric", mirrored."""
    return resize_mask(_cut(mask, box, beyond), resolution)


def unit_rgb(image: ImageArray) -> NDArray[np.float32]:
    """Return an image [H, W, C] of 1, 3 or 4 channels as [H, W, 3] in [0, 1]; alpha is dropped."""
    return _rgb(_unit(image))


def _unit(image: ImageArray) -> NDArray[np.float32]:
    """Return an image [H, W, C] of 1, 3 or 4 channels as [H, W, 1 or 3] in [0, 1]; alpha is dropped."""
    return np.divide(image[..., :3], np.iinfo(image.dtype).max, dtype=np.float32)


def _rgb(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image [H, W, 1 or 3] as [H, W, 3]."""
    import cv2

    return np.asarray(cv2.merge([unit] * 3)) if unit.shape[2] == 1 else unit


def _cut(array: NDArray[Any], box: Box, beyond: Literal["symmetric", "constant"]) -> NDArray[Any]:
    """Return what of `array` [H, W, ...] lies in `box`, filled beyond the frame by np.pad's mode `beyond`."""
    left, top, right, bottom = box
    height, width = array.shape[:2]
    inside = array[inside_frame(box, array.shape)]
    before_after = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))]
    if not any(any(pair) for pair in before_after):
        return inside
    return np.pad(inside, before_after + [(0, 0)] * (array.ndim - 2), mode=beyond)


def resize(
    image: NDArray[np.float32],
    side: int,
    within: Box | None = None,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[np.float32]:
    """Return an image [h, w, C] in [0, 1] resized to [side, side, C], smoothed when shrinking.

    within: the box of the resized image that is wanted, all of it by default.
    """
    import cv2

    left, top, right, bottom = within or (0, 0, side, side)
    if image.shape[:2] == (side, side):
        return image[top:bottom, left:right] if within else image
    height, width = image.shape[:2]
    taken = (left * width / side, top * height / side, right * width / side, bottom * height / side)
    size = (right - left, bottom - top)
    channels = [np.asarray(Image.fromarray(channel).resize(size, resampling, taken)) for channel in cv2.split(image)]
    resized: NDArray[np.float32] = cv2.merge(channels).reshape(size[1], size[0], len(channels))
    return np.clip(resized, 0.0, 1.0, out=resized)


def resize_mask(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return a square mask [s, s] resized to [side, side]; no True pixel is lost.

    Shrunk, a new pixel is True where it holds the centre of any True pixel; enlarged, where its own centre lies in one.
    """
    old = len(mask)
    if side >= old:
        nearest = (2 * np.arange(side) + 1) * old // (2 * side)
        return mask[np.ix_(nearest, nearest)]
    above = (2 * np.arange(old) + 1) * side // (2 * old)
    rows, columns = np.nonzero(mask)
    shrunk = np.zeros((side, side), dtype=bool)
    shrunk[above[rows], above[columns]] = True
    return shrunk
