"""The way of a painting into its source: where nothing changed, every bit is the source's own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectfill.io.images import ImageArray
from defectfill.painting.change import LEAST_WEIGHT, change_weight, measure_change
from defectfill.painting.detail import detail_beyond
from defectfill.painting.label import differing
from defectfill.painting.window import LUMA, Box, Region, crop_mask, depth_in, inside_frame, region_around, resize

BLEND_SHARE = 1 / 128
"""Width of the blend over the window's side: 4 pixels at 512."""
MARGIN_PX = 12
"""So far around a mask pixels of the window count in the change of those in its blend region."""


@dataclass(frozen=True)
class Pasted:
    """The part of a source that a painting is mixed into; outside it every pixel stays the source's own."""

    region: Region
    """Rows and columns of the source."""
    weight: NDArray[np.float32]
    """[h, w] in it, the painting's: 0, or LEAST_WEIGHT to 1."""

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return where the painting is, as a mask [H, W] of a source of that shape [H, W, ...]."""
        mask = np.zeros(shape[:2], dtype=bool)
        mask[self.region] = self.weight > 0
        return mask


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
    """Return the region of a frame [H, W] that holds a mask with its blend, and the painting's weight [h, w] in it.

    As far as they lie in the window `box`.
    """
    width = blend_width(box)
    frame = inside_frame(box, planned_mask.shape)
    rows, columns = (
        slice(outer.start + inner.start, outer.start + inner.stop)
        for inner, outer in zip(region_around(planned_mask[frame], width), frame, strict=True)
    )
    return (rows, columns), blend_alpha(planned_mask[rows, columns], width)


def paste_changed(
    source: ImageArray,
    candidate: NDArray[np.float32],
    reconstruction: NDArray[np.float32],
    box: Box,
    planned_mask: NDArray[np.bool_],
    *,
    min_change: float,
) -> Pasted:
    """Return what of a candidate [R, R, 3] is pasted into its source: what the defect, and not the VAE, changed.

    reconstruction: [R, R, 3], the clean window through the same VAE. min_change: changes below this share of the value
    range are noise. The pasted part lies inside the blend region of the planned mask [H, W]; it can be empty.
    """
    side = box[2] - box[0]
    grid = min(side, len(candidate))  # a finer one than the source's holds nothing more
    region, alpha = blend_region(planned_mask, box)
    inside = crop_mask(planned_mask, box, grid)
    around = blend_alpha(inside, max(1, round(blend_width(box) * grid / side)))
    near = region_around(around > 0, MARGIN_PX)
    wanted = _in_window(near, (0, 0, grid, grid))
    painted, clean = (resize(each, grid, wanted) for each in (candidate, reconstruction))
    if source.shape[2] == 1:
        painted, clean = painted @ LUMA[:, None], clean @ LUMA[:, None]
    change = measure_change(painted, clean, inside[near], min_change)
    weight = np.zeros((grid, grid, 1), dtype=np.float32)
    weight[near] = change_weight(change, inside[near], around[near])[..., None]
    # linear: bicubic weights swing below the least one beside large ones, which tears filled holes open again
    enlarged = resize(weight, side, _in_window(region, box), Image.Resampling.BILINEAR)[..., 0]
    resized = np.minimum(enlarged, alpha)
    return Pasted(region, np.where(resized < LEAST_WEIGHT, np.float32(0), resized))


def stitch(
    source: ImageArray, painting: NDArray[np.float32], box: Box, pasted: Pasted, detail_gain: float = 0.0
) -> ImageArray:
    """Return the source [H, W, C] with the painting [R, R, 3] in [0, 1] of the window `box` mixed into its part.

    detail_gain: by which the source's own detail, beyond the painting's resolution, is added to the painting.
    Bit depth and channels stay the source's: grey takes the painting's luma, alpha is kept. Every pixel whose weight is
    0 is the source's own.
    """
    import cv2

    original = source[pasted.region]
    painted = to_source_format(painting, box, source, pasted.region)
    if detail_gain and box[2] - box[0] > len(painting):
        detail = detail_beyond(original[..., :3].astype(np.float32), box[2] - box[0], len(painting))
        detail *= detail_gain
        detail += painted[..., :3]
        painted[..., :3] = np.clip(detail, 0, np.iinfo(source.dtype).max, out=detail)
    weight = cv2.merge([pasted.weight] * source.shape[2]).reshape(original.shape)  # numpy is slow with short last axes
    painted -= original
    painted *= weight
    painted += original
    result = source.copy()
    np.copyto(result[pasted.region], np.rint(painted, out=painted).astype(source.dtype), where=weight > 0)
    return result


def to_source_format(
    painting: NDArray[np.float32], box: Box, source: ImageArray, region: Region
) -> NDArray[np.float32]:
    """Return a region [h, w, C] of the source [H, W, C] as a painting [R, R, 3] in [0, 1] of the window `box` has it.

    In the source's channels and value range; alpha is the source's own.
    """
    resized = resize(painting, box[2] - box[0], _in_window(region, box))
    values: NDArray[np.float32] = resized * np.float32(np.iinfo(source.dtype).max)
    if source.shape[2] == 1:
        return np.asarray(values @ LUMA[:, None], dtype=np.float32)
    alpha = source[*region, 3:]
    return np.concatenate([values, alpha], axis=2, dtype=np.float32) if alpha.shape[2] else values


def unchanged_outside(source: ImageArray, result: ImageArray, region: Region, inside: NDArray[np.bool_]) -> bool:
    """Return whether each pixel of result [H, W, C] equals the source's but for those `inside` [h, w] a region."""
    if source.shape != result.shape or source.dtype != result.dtype:
        return False
    rows, columns = region
    around: list[Any] = [
        np.s_[: rows.start],
        np.s_[rows.stop :],
        np.s_[rows, : columns.start],
        np.s_[rows, columns.stop :],
    ]
    return all(_are_equal(source[each], result[each]) for each in around) and not np.any(
        differing(source[region], result[region]) & ~inside
    )


def _are_equal(one: ImageArray, other: ImageArray) -> bool:
    """Return whether two images [h, w, C] of the same shape and depth are equal, without an image of differences."""
    import cv2

    return not one.size or cv2.norm(one, other, cv2.NORM_INF) == 0


def _in_window(region: Region, box: Box) -> Box:
    """Return the box of a region of the frame in the window `box`."""
    (rows, columns), (left, top, _, _) = region, box
    return columns.start - left, rows.start - top, columns.stop - left, rows.stop - top
