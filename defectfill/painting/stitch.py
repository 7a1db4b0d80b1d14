"""The way of a painting into its source: outside the blend region every bit is the source's own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray
from defectfill.painting.window import LUMA, Box, Region, depth_in, inside_frame, resize

BLEND_SHARE = 1 / 128
"""Width of the blend over the window's side: 4 pixels at 512."""


def blend_width(box: Box) -> int:
    """Return the width in source pixels of the rim around the mask in which result and source are mixed."""
    return max(2, round((box[2] - box[0]) * BLEND_SHARE))


def blend_alpha(mask: NDArray[np.bool_], blend_px: int) -> NDArray[np.float32]:
    """Return the weight of the painting [H, W]: 1 inside the mask, falling to 0 within `blend_px` outside it.

    The blend region is where it is above 0: every pixel at most `blend_px` from the mask (Euclidean).
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    distance = depth_in(~mask)
    alpha = np.maximum(1 - distance / np.float32(blend_px + 1), 0)
    return np.asarray(np.where(distance <= blend_px, alpha, 0), dtype=np.float32)


def blend_region(planned_mask: NDArray[np.bool_], box: Box) -> tuple[Region, NDArray[np.float32]]:
    """Return the region of a frame [H, W] that holds a mask with its blend, and the painting's weight [h, w] in it."""
    import cv2

    width = blend_width(box)
    left, top, *size = cv2.boundingRect(planned_mask.view(np.uint8))
    around = (left - width, top - width, left + size[0] + width, top + size[1] + width)
    frame = inside_frame(box, planned_mask.shape)
    rows, columns = (
        slice(start := max(inner.start, outer.start), max(min(inner.stop, outer.stop), start))
        for inner, outer in zip(inside_frame(around, planned_mask.shape), frame, strict=True)
    )
    return (rows, columns), blend_alpha(planned_mask[rows, columns], width)


def stitch(
    source: ImageArray,
    painting: NDArray[np.float32],
    box: Box,
    planned_mask: NDArray[np.bool_],
) -> ImageArray:
    """Return the source [H, W, C] with the painting [R, R, 3] in [0, 1] mixed into the planned mask's blend region.

    Bit depth and channels stay the source's: grey takes the painting's luma, alpha is kept. Every pixel outside
    the blend region is the source's own.
    """
    region, weight = blend_region(planned_mask, box)
    alpha, original = weight[..., None], source[region]
    mixed = np.rint(original + alpha * (to_source_format(painting, box, source, region) - original))
    result = source.copy()
    result[region] = np.where(alpha > 0, mixed.astype(source.dtype), original)
    return result


def to_source_format(
    painting: NDArray[np.float32], box: Box, source: ImageArray, region: Region
) -> NDArray[np.float32]:
    """Return a region [h, w, C] of the source [H, W, C] as a painting [R, R, 3] in [0, 1] of the window `box` has it.

    In the source's channels and value range; alpha is the source's own.
    """
    rows, columns = region
    left, top, right, _ = box
    within = (columns.start - left, rows.start - top, columns.stop - left, rows.stop - top)
    values: NDArray[np.float32] = resize(painting, right - left, within) * np.float32(np.iinfo(source.dtype).max)
    if source.shape[2] == 1:
        return np.asarray(values @ LUMA[:, None], dtype=np.float32)
    return np.concatenate([values, source[rows, columns, 3:]], axis=2, dtype=np.float32)


def background_intact(source: ImageArray, result: ImageArray, box: Box, planned_mask: NDArray[np.bool_]) -> bool:
    """Return whether each pixel of result [H, W, C] outside the planned mask's blend region equals the source's."""
    if source.shape != result.shape or source.dtype != result.dtype:
        return False
    region, alpha = blend_region(planned_mask, box)
    rows, columns = region
    around: list[Any] = [
        np.s_[: rows.start],
        np.s_[rows.stop :],
        np.s_[rows, : columns.start],
        np.s_[rows, columns.stop :],
    ]
    outside = alpha == 0
    return all(np.array_equal(source[each], result[each]) for each in around) and np.array_equal(
        source[region][outside], result[region][outside]
    )
