"""Measures of a defect in its window, the same for references and samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray
from defectfill.painting.window import LUMA, Box, Window, crop_mask, crop_window

MEASURED_SIDE_PX = 128

SURROUNDINGS_PX = 8
"""How far around a defect its surroundings reach."""

APPEARANCE_SIDE_PX = 32


@dataclass(frozen=True)
class Measures:
    """The measures of a defect in its window."""

    contrast: float
    """Root mean square difference of the defect's pixels from the mean colour of its surroundings."""
    shade: NDArray[np.float32]
    """[3], the defect's mean colour less that of its surroundings."""
    seam_gradient: float
    """Median, along the outline of the mask in which the defect was asked for, of the largest gradient of the luma per
    pixel within a pixel of it."""
    appearance: NDArray[np.float32]
    """[APPEARANCE_SIDE_PX, APPEARANCE_SIDE_PX] luma of the box around the defect, nan beside it."""


def measure_sample(
    image: ImageArray, drawn_mask: NDArray[np.bool_], planned_mask: NDArray[np.bool_], box: Box
) -> Measures:
    """Return the measures of a sample's image [H, W, C] in its window, with its masks [H, W]."""
    window = crop_window(image, drawn_mask, box, MEASURED_SIDE_PX)
    return measure(window, crop_mask(planned_mask, box, MEASURED_SIDE_PX))


def measure(window: Window, asked: NDArray[np.bool_]) -> Measures:
    """Return the measures of a defect, window.mask, whose mask was planned as `asked` [R, R]."""
    import cv2

    mask, luma = window.mask, window.image @ LUMA
    around = _grown(mask, SURROUNDINGS_PX) & ~_grown(mask, 1)
    surroundings = window.image[around if around.any() else ~mask]
    colour = surroundings.mean(axis=0) if len(surroundings) else np.full(3, 0.5, dtype=np.float32)
    outline = _grown(asked, 1) & ~asked
    steps = cv2.dilate(np.hypot(*np.gradient(luma)), np.ones((3, 3), np.uint8))[outline]
    apart = window.image[mask] - colour if mask.any() else np.zeros((1, 3), dtype=np.float32)
    return Measures(
        contrast=float(np.sqrt(np.square(apart).mean())),
        shade=apart.mean(axis=0),
        seam_gradient=float(np.median(steps)) if len(steps) else 0.0,
        appearance=_appearance(luma, mask),
    )


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Return a mask with all pixels within so many steps to one of the four neighbours."""
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), cross, iterations=steps) > 0)


def _appearance(luma: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.full((APPEARANCE_SIDE_PX, APPEARANCE_SIDE_PX), np.nan, dtype=np.float32)
    spread = [
        np.linspace(span[0], span[-1], APPEARANCE_SIDE_PX).round().astype(int)[:, None].swapaxes(0, axis)
        for axis, span in enumerate((rows, columns))
    ]
    return np.where(mask[spread[0], spread[1]], luma[spread[0], spread[1]], np.float32(np.nan))


def appearance_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of two appearances where both have a defect, in [-1, 1]; 0 without a common part."""
    both = ~np.isnan(one) & ~np.isnan(other)
    if both.sum() < 0.5 * max((~np.isnan(one)).sum(), (~np.isnan(other)).sum(), 1):
        return 0.0
    first, second = one[both] - one[both].mean(), other[both] - other[both].mean()
    norm = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


def appearance_distance(measures: Measures, references: Sequence[Measures]) -> float:
    """Return the distance in contrast and shade to the nearest reference, over the references' median contrast."""
    nearest = min(
        float(np.hypot(measures.contrast - each.contrast, np.linalg.norm(measures.shade - each.shade)))
        for each in references
    )
    return nearest / max(float(np.median([each.contrast for each in references])), 1e-6)
