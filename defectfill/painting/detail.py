"""Detail that the model's square is too coarse for: a photograph has it, what is painted has not."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectfill.io.images import ImageArray
from defectfill.painting.window import Box, depth_in, inside_frame, unit_rgb

AROUND_PX = (2, 12)
"""The surroundings of a defect begin and end so far outside its mask."""


def detail_beyond(pixels: NDArray[np.float32], side: int, resolution: int) -> NDArray[np.float32]:
    """Return what pixels [h, w, C] of a window of `side` pixels lose in a model's square of `resolution` pixels.

    Nothing where the square is not smaller.
    """
    if side <= resolution:
        return np.zeros_like(pixels)
    import cv2

    height, width = pixels.shape[:2]
    small = max(round(width * resolution / side), 1), max(round(height * resolution / side), 1)
    channels = (Image.fromarray(channel) for channel in cv2.split(pixels))
    coarse = [
        np.asarray(each.resize(small, Image.Resampling.BICUBIC).resize((width, height), Image.Resampling.BICUBIC))
        for each in channels
    ]
    return np.asarray(pixels - cv2.merge(coarse).reshape(pixels.shape), dtype=np.float32)


def detail_ratio(image: ImageArray, mask: NDArray[np.bool_], box: Box, resolution: int) -> float | None:
    """Return how strong this detail is in a defect, over how strong around it: the ratio of root mean squares.

    image [H, W, C], mask [H, W], box: their window. None where the model's square is not smaller, or nothing is around.
    """
    window = inside_frame(box, mask.shape)
    side, inside = box[2] - box[0], mask[window]
    distance = depth_in(~inside)
    around = (distance > AROUND_PX[0]) & (distance <= AROUND_PX[1])
    if side <= resolution or not around.any():
        return None
    detail = np.square(detail_beyond(unit_rgb(image[window]), side, resolution)).mean(axis=2)
    return float(np.sqrt(detail[inside].mean() / max(float(detail[around].mean()), 1e-12)))
