"""The drawn mask: where a painting really differs from the image it was painted on."""

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray
from defectfill.painting.stitch import blend_region, to_source_format
from defectfill.painting.window import Box

MIN_SPECK_PX = 3
"""Connected changes of fewer pixels are noise."""
MIN_SPECK_SHARE = 0.05
"""And those of a smaller share of all that is drawn."""


def draw_label(
    source: ImageArray,
    candidate: NDArray[np.float32],
    reconstruction: NDArray[np.float32],
    box: Box,
    planned_mask: NDArray[np.bool_],
    *,
    min_change: float,
) -> NDArray[np.bool_]:
    """Return the mask [H, W] of the pixels that the defect, and not the VAE, changed.

    Candidate and reconstruction [R, R, 3] went through the same VAE and are blended in the same way; a pixel is
    drawn where they differ by more than `min_change` of the value range in any channel, and by more than half of
    what a neighbour within one of the model's pixels does: less than that is its blur. Cracks up to two of the model's
    pixels wide are closed, specks are dropped and holes of the drawn region filled, but for those that reach out of
    the blend region. It lies inside the blend region; it can be empty.
    """
    import cv2

    region, alpha = blend_region(planned_mask, box)
    painted, clean = (to_source_format(each, box, source, region) for each in (candidate, reconstruction))
    change = alpha * np.abs(painted - clean).max(axis=2) / np.iinfo(source.dtype).max
    pixel = max((box[2] - box[0]) // len(candidate), 1)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    changed = (change > min_change) & (2 * change >= cv2.dilate(change, cross, iterations=pixel))
    closed = cv2.morphologyEx(np.pad(changed.astype(np.uint8), pixel), cv2.MORPH_CLOSE, cross, iterations=pixel)
    # Filled: what cannot be reached over unchanged pixels from outside the blend region.
    outside = np.pad(alpha == 0, pixel, constant_values=True)
    unchanged = (closed == 0) | outside
    _, regions = cv2.connectedComponents(unchanged.astype(np.uint8), connectivity=4)
    drawn = ~np.isin(regions, np.unique(regions[outside]))[pixel:-pixel, pixel:-pixel]
    _, regions, measured, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8), connectivity=8)
    areas = measured[1:, cv2.CC_STAT_AREA]
    drawn_mask = np.zeros_like(planned_mask)
    drawn_mask[region] = np.isin(regions, np.flatnonzero(areas >= max(MIN_SPECK_PX, MIN_SPECK_SHARE * areas.sum())) + 1)
    return drawn_mask


def intersection_over_union(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return |A and B| / |A or B| of two masks [H, W], in [0, 1]; 1 when both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
