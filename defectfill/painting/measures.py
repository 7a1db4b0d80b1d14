"""Measures of a defect in its window, the same for references and samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray
from defectfill.painting.window import LUMA, Box, Region, crop_mask, crop_window, inside_frame, region_around, unit_rgb

MEASURED_SIDE_PX = 128

SURROUNDINGS_PX = 8
"""How far around a defect its surroundings reach."""

DARKEST = 0.05
"""Surroundings of less brightness count as of this one."""

APPEARANCE_SIDE_PX = 32

SOURCE_BANDS_PX = (1.0, 2.0, 4.0)
"""Standard deviations of the Gaussians between which fine structure is measured, in pixels of the source."""
WINDOW_BANDS_PX = (1.0, 2.0)
"""The same in pixels of the window; coarser ones tell the shape of a defect rather than its texture."""

EDGE_INSIDE_PX, EDGE_OUTSIDE_PX = 3, 2
"""The edge of a defect reaches so far to both sides of its mask's outline: masks are drawn more or less widely."""
NEAR_PX, WIDE_PX = 3, 9
"""Sides of the squares whose ranges of the luma are compared at the edge."""


@dataclass(frozen=True)
class Measures:
    """The measures of a defect in its window."""

    contrast: float
    """Root mean square difference of the defect's pixels from the mean colour of its surroundings, over their
    brightness."""
    shade: NDArray[np.float32]
    """[3], the defect's mean colour less that of its surroundings, over their brightness."""
    seam_gradient: float
    """Median, along the outline of the mask in which the defect was asked for, of the largest gradient of the luma per
    pixel within a pixel of it, over the surroundings' brightness."""
    texture: tuple[float, ...]
    """Root mean square of the luma's fine structure inside the defect, over the surroundings' brightness: in the bands
    below SOURCE_BANDS_PX at the source's resolution, then in those below WINDOW_BANDS_PX at MEASURED_SIDE_PX."""
    edge_sharpness: tuple[float, float]
    """How much of the luma's range over WIDE_PX pixels the edge passes within NEAR_PX, in [0, 1]: at the source's
    resolution, then at MEASURED_SIDE_PX."""
    appearance: NDArray[np.float32]
    """[APPEARANCE_SIDE_PX, APPEARANCE_SIDE_PX] luma of the box around the defect, nan beside it."""


def measure_sample(
    image: ImageArray,
    defect_mask: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    box: Box,
    visible: NDArray[np.bool_] | None = None,
) -> Measures:
    """Return the measures of a defect in an image [H, W, C] in its window `box`, a reference's or a sample's.

    defect_mask [H, W]: the defect as it is. asked [H, W]: the mask that it was planned for; a reference's own.
    visible [H, W]: the defect without what a loosely drawn mask has around it, where that is known; its edge is there.
    """
    window = crop_window(image, defect_mask, box, MEASURED_SIDE_PX)
    mask, luma, outline = window.mask, window.image @ LUMA, crop_mask(asked, box, MEASURED_SIDE_PX)
    outline = _grown(outline, 1) & ~outline
    around = _grown(mask, SURROUNDINGS_PX) & ~_grown(mask, 1)
    surroundings = window.image[around if around.any() else ~mask]
    colour = surroundings.mean(axis=0) if len(surroundings) else np.full(3, 0.5, dtype=np.float32)
    brightness = max(float(colour @ LUMA), DARKEST)
    steps = _steps_along(luma, outline)
    apart = window.image[mask] - colour if mask.any() else np.zeros((1, 3), dtype=np.float32)
    region = _near(defect_mask, inside_frame(box, defect_mask.shape))
    source, drawn = unit_rgb(image[region]) @ LUMA, defect_mask[region]
    edge = drawn if visible is None else visible[region]
    region = _near(mask, np.s_[0:MEASURED_SIDE_PX, 0:MEASURED_SIDE_PX])
    seen, seen_mask = luma[region], mask[region]
    seen_edge = seen_mask if visible is None else crop_mask(visible, box, MEASURED_SIDE_PX)[region]
    textures = (*_texture(source, drawn, SOURCE_BANDS_PX), *_texture(seen, seen_mask, WINDOW_BANDS_PX))
    return Measures(
        contrast=float(np.sqrt(np.square(apart).mean())) / brightness,
        shade=apart.mean(axis=0) / np.float32(brightness),
        seam_gradient=float(np.median(steps)) / brightness if len(steps) else 0.0,
        texture=tuple(each / brightness for each in textures),
        edge_sharpness=(_edge_sharpness(source, edge), _edge_sharpness(seen, seen_edge)),
        appearance=_appearance(luma, mask),
    )


def _steps_along(luma: NDArray[np.float32], outline: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the largest gradient of a luma [h, w] within a pixel of each of the N pixels of an outline [h, w]."""
    import cv2

    near = region_around(outline, 2)  # a gradient takes a pixel to each side
    gradients = np.hypot(*np.gradient(luma[near]))
    return np.asarray(cv2.dilate(gradients, np.ones((3, 3), np.uint8))[outline[near]])


def _near(mask: NDArray[np.bool_], within: Region) -> Region:
    """Return rows and columns of what is at most WIDE_PX from a defect, inside rows and columns of its mask [H, W]."""
    import cv2

    rows, columns = within
    left, top, width, height = cv2.boundingRect(mask[within].view(np.uint8))
    return (
        slice(rows.start + max(top - WIDE_PX, 0), min(rows.start + top + height + WIDE_PX, rows.stop)),
        slice(columns.start + max(left - WIDE_PX, 0), min(columns.start + left + width + WIDE_PX, columns.stop)),
    )


def _texture(luma: NDArray[np.float32], mask: NDArray[np.bool_], bands_px: Sequence[float]) -> list[float]:
    """Return the root mean square, inside a mask, of what each Gaussian takes away from the one before it.

    Only pixels of the mask are smoothed, by each other (normalized convolution), so that what lies beside the mask,
    and how widely it is drawn, counts little.
    """
    import cv2

    if not mask.any():
        return [0.0] * len(bands_px)
    finer, found = luma, []
    weights = mask.astype(np.float32)
    weighted = cv2.merge([luma * weights, weights])
    for deviation in bands_px:
        sums = cv2.GaussianBlur(weighted, (0, 0), deviation)
        smooth = sums[..., 0] / np.maximum(sums[..., 1], np.float32(1e-6))
        found.append(float(np.sqrt(np.square((finer - smooth)[mask]).mean())))
        finer = smooth
    return found


def _edge_sharpness(luma: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the luma's range over NEAR_PX pixels, over that over WIDE_PX pixels, both as means along the edge."""
    import cv2

    edge = _grown(mask, EDGE_OUTSIDE_PX) & ~_shrunk(mask, EDGE_INSIDE_PX)
    near, wide = (
        float((cv2.dilate(luma, square) - cv2.erode(luma, square))[edge].sum())
        for square in (np.ones((side, side), np.uint8) for side in (NEAR_PX, WIDE_PX))
    )
    return near / wide if wide > 0 else 0.0


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Return a mask with all pixels within so many steps to one of the four neighbours."""
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), cross, iterations=steps) > 0)


def _shrunk(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Return a mask without the pixels within so many steps of its outside; beyond the frame it goes on."""
    return ~_grown(~mask, steps)


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
    there, there_too = ~np.isnan(one), ~np.isnan(other)
    both = there & there_too
    if int(both.sum()) < 0.5 * max(int(there.sum()), int(there_too.sum()), 1):
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
