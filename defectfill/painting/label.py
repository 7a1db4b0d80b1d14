"""Labels: how well two masks agree, and how much wider than what one sees people draw them."""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray
from defectfill.painting.window import depth_in, region_around, unit_rgb

SURROUNDINGS_PX = 16
"""So far around a mask an image counts in its margin."""
NEAREST_PX = 2
"""A pixel of the defect is compared with what is nearest to it that far outside the mask ..."""
NEIGHBOURHOOD_PX = 5
"""... in the mean over such a square."""
GROUND_PX = 6
"""By how much pixels so far outside the mask differ in the same way is the ground's own variety."""
VISIBLE_SHARE = 0.5
"""A defect is visible from this share of its strongest difference on."""


def intersection_over_union(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return |A and B| / |A or B| of two masks [H, W], in [0, 1]; 1 when both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def changed_fraction(source: ImageArray, image: ImageArray, mask: NDArray[np.bool_]) -> float:
    """Return the share of a mask [H, W] in which an image [H, W, C] differs from its source, in [0, 1]; 1 of none."""
    if not mask.any():
        return 1.0
    near = region_around(mask, 0)
    changed = differing(source[near], image[near])[mask[near]]
    return int(np.count_nonzero(changed)) / len(changed)


def differing(first: ImageArray, second: ImageArray) -> NDArray[np.bool_]:
    """Return where [H, W] two images [H, W, C] differ in any channel."""
    differs = first != second
    return reduce(np.logical_or, (differs[..., channel] for channel in range(differs.shape[2])))


def annotation_margin(image: ImageArray, mask: NDArray[np.bool_]) -> int:
    """Return how many pixels inside the border of a mask [H, W], not empty, the defect in an image [H, W, C] begins.

    Along the way inwards, pixel by pixel, the median squared difference from the nearest surroundings, less the
    ground's own, is held against the largest; 0 where nothing stands out, or nothing is around it.
    """
    near = region_around(mask, SURROUNDINGS_PX)
    pixels, mask = unit_rgb(image[near]), mask[near]
    if mask.all():
        return 0
    outside, inside = depth_in(~mask), depth_in(mask)
    ground = (outside > NEAREST_PX) & (outside <= GROUND_PX)
    variety = float(np.median(_difference(pixels, outside <= GROUND_PX)[ground])) if ground.any() else 0.0
    difference = _difference(pixels, mask)
    rings = [difference[(inside > depth) & (inside <= depth + 1)] for depth in range(int(inside.max()))]
    amplitudes = np.sqrt([max(float(np.median(ring)) - variety, 0.0) if len(ring) else 0.0 for ring in rings])
    return int(np.argmax(amplitudes >= VISIBLE_SHARE * amplitudes.max()))


def visible_fraction(image: ImageArray, mask: NDArray[np.bool_]) -> float:
    """Return the share of a mask [H, W], not empty, that lies deeper in it than its `annotation_margin`, in (0, 1]."""
    inside = depth_in(mask[region_around(mask, 1)])
    return int(np.count_nonzero(inside > annotation_margin(image, mask))) / int(np.count_nonzero(mask))


def _difference(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean squared differences [h, w] of pixels [h, w, 3] from what is nearest to each beside a mask."""
    import cv2
    from scipy import ndimage

    covered = depth_in(~mask) <= NEAREST_PX
    if covered.all():
        return np.zeros(mask.shape, dtype=np.float32)
    nearest = ndimage.distance_transform_edt(covered, return_distances=False, return_indices=True)
    smooth = cv2.blur(pixels, (NEIGHBOURHOOD_PX, NEIGHBOURHOOD_PX))
    return np.asarray(np.square(pixels - smooth[tuple(nearest)]).mean(axis=2), dtype=np.float32)


def covered_fraction(planned: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> float:
    """Return the share of a planned mask that a drawn one covers, both [H, W]; 0 where nothing is planned."""
    return float((planned & drawn).sum() / max(planned.sum(), 1))


def grown(mask: NDArray[np.bool_], margin_px: int) -> NDArray[np.bool_]:
    """Return a mask [H, W] with all pixels at most `margin_px` from it (Euclidean)."""
    result = mask.copy()
    if margin_px and mask.any():
        near = region_around(mask, margin_px)
        result[near] = depth_in(~mask[near]) <= margin_px
    return result
