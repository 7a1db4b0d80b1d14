"""What a painting changed: the candidate against the VAE's own reconstruction of the same window.

Both went through the same VAE, so that its error cancels out. All is measured in pixels of the model or of the source,
whichever are larger, and exactly: sums of whole numbers do not depend on the order in which a processor adds them.
"""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 4096
"""Values are rounded to whole steps of this share of the value range."""
SQUARES_PX = (3, 5, 9)
"""Sides of the squares over which a shift of brightness or colour is averaged: the first that the grain allows."""
CLEAR_OF_GRAIN = 2.0
"""A shift is at least this many times the deviation of the grain that is left in the averages."""
GRAIN_PX = 13
"""Side of the square over which the reconstruction's own grain is measured."""
FINE_PX = 5
"""Texture is what differs from the median over such a square, which follows the edges of level shifts ..."""
TEXTURE_PX = 9
"""... and its strength the mean of that, without its sign, over such a one."""
LEAST_TEXTURE_PX = 11
"""Texture changed only where it fills squares of this side: thin strokes and corners differ from the median too."""
GRAIN_PAINTED_ANEW = 1.5
"""The same grain painted once more differs by sqrt(2) of its own strength from the first; with room for its spread."""
LEAST_LOSS = 1.6
"""Texture is lost where the reconstruction's is this many times as strong as the candidate's."""
PEAK = 4.0
"""Peaks of a texture over that mean: so strong is it beside a shift."""
LEAST_TEXTURE = 0.2
"""A texture is noticed at this share of the least shift."""
CLEAR = 1.5
"""A change of this many times the least one counts whole."""
BLUR_LOW, BLUR_HIGH = 0.3, 0.6
"""A shift below the first share of the largest within half a square and a pixel may be that one's blur, above the
second it is its own. So it is too where the median over the square, which no neighbour blurs, has as large a share."""

LOW, HIGH = 0.15, 0.4
"""A change below the first share of the defect's strength is none, one above the second is a whole one. With larger
ones bright rims of dark holes are lost, with smaller ones grain beside the defect is pasted too."""
STRENGTH_PERCENTILE = 95
"""The strength of a defect: this percentile of the changes in it."""
LEVELS = (1.0, 0.5, 0.1)
"""Weights whose enclosed holes are filled to the same weight; the last is the least one that is pasted."""
LEAST_WEIGHT = LEVELS[-1]
MIN_SPECK_PX = 3
"""Connected changes of fewer pixels are noise."""
MIN_SPECK_SHARE = 0.05
"""And those of a smaller share of all that changed, unless"""
LARGE_SHARE = 0.5
"""they have this share of the largest: of a defect of many spots each is a small share of all."""


def measure_change(
    candidate: NDArray[np.float32],
    reconstruction: NDArray[np.float32],
    inside: NDArray[np.bool_],
    min_change: float,
) -> NDArray[np.float32]:
    """Return how much each pixel [h, w] changed, of the value range, from two pictures [h, w, C] in [0, 1]; 0 is noise.

    The larger of two: the shift of the local mean in any channel, where it is above `min_change` and clear of what the
    grain of the reconstruction `inside` the planned mask gives when it is painted anew, and no blur of a neighbour's;
    and the texture that was added or lost.
    """
    import cv2

    painted, clean = (np.rint(each.astype(np.float64) * STEPS) for each in (candidate, reconstruction))
    grey_painted, grey_clean = (np.rint(reduce(np.add, _channels(each)) / each.shape[2]) for each in (painted, clean))
    fine = _fine(grey_clean)
    for side in SQUARES_PX:
        grain = CLEAR_OF_GRAIN * float(np.median(_deviation(np.rint(_mean(fine, side)), GRAIN_PX)[inside]))
        if grain <= min_change * STEPS:
            break
    difference = painted - clean
    shift = reduce(np.maximum, _channels(np.abs(_mean(difference, side)))) / STEPS
    shift *= _smoothstep(shift, least := max(min_change, grain / STEPS), CLEAR * least)
    largest = cv2.dilate(shift, np.ones((side + 2, side + 2), dtype=np.uint8))
    medians = (cv2.medianBlur(each.astype(np.float32), min(side, 5)) for each in _channels(difference))
    supported = reduce(np.maximum, map(np.abs, medians)) / STEPS
    shift *= np.maximum(
        _smoothstep(shift / np.maximum(largest, least), BLUR_LOW, BLUR_HIGH),
        _smoothstep(supported / np.maximum(shift, least), BLUR_LOW, BLUR_HIGH),
    )
    texture = _texture_change(grey_painted, grey_clean, fine) / STEPS
    texture *= _smoothstep(texture, LEAST_TEXTURE * min_change, CLEAR * LEAST_TEXTURE * min_change)
    return np.asarray(np.maximum(shift, texture), dtype=np.float32)


def _texture_change(
    painted: NDArray[np.float64], clean: NDArray[np.float64], fine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the change of texture [h, w] of whole numbers [h, w], where it fills squares of LEAST_TEXTURE_PX.

    Added: the strength of the difference's texture, beyond what the same grain painted anew gives. Lost: what the clean
    picture's, `fine`, exceeds LEAST_LOSS times the painted one's by.
    """
    import cv2

    new, left, there = np.abs(_fine(painted - clean)), np.abs(_fine(painted)), np.abs(fine)
    added = _mean(new, TEXTURE_PX) - GRAIN_PAINTED_ANEW * _mean(there, GRAIN_PX)
    lost = _mean(there, TEXTURE_PX) - LEAST_LOSS * _mean(left, TEXTURE_PX)
    square = np.ones((LEAST_TEXTURE_PX, LEAST_TEXTURE_PX), dtype=np.uint8)
    opened = [cv2.morphologyEx(np.maximum(each, 0), cv2.MORPH_OPEN, square) for each in (added, lost)]
    return PEAK * np.maximum(*opened)


def change_weight(
    change: NDArray[np.float32], inside: NDArray[np.bool_], around: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the weight [h, w] in [0, 1] with which each pixel of a painting is pasted, from its change [h, w].

    0 where nothing changed, 1 where the pixel clearly did, smooth between, relative to the strength of the changes
    `inside` the planned mask. Cracks of up to two pixels are closed, what a weight encloses has it too, specks are
    dropped. It is 0 or at least LEAST_WEIGHT, and at most the blend `around` the mask.
    """
    import cv2

    noticed = change[inside & (change > 0)]
    if not len(noticed):
        return np.zeros_like(change)
    strength = float(np.percentile(noticed, STRENGTH_PERCENTILE))
    weight = np.minimum(_smoothstep(change, LOW * strength, HIGH * strength), around)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    weight = np.minimum(cv2.morphologyEx(_framed(weight, 0), cv2.MORPH_CLOSE, cross)[1:-1, 1:-1], around)
    outside = _framed((around <= 0).view(np.uint8), 1)
    for level in LEVELS:
        np.maximum(weight, np.minimum(around, level), out=weight, where=_filled(weight >= level, outside))
    weight[~_without_specks(weight >= LEAST_WEIGHT)] = 0
    return np.asarray(weight, dtype=np.float32)


def _channels(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the channels [h, w] of values [h, w, C]; numpy is slow along so short an axis."""
    return [values[..., channel] for channel in range(values.shape[2])]


def _smoothstep(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return 0 below `low`, 1 above `high`, and a cubic without a kink between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _mean(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the means [h, w, ...] of whole numbers [h, w, ...] over squares."""
    import cv2

    sums: NDArray[Any] = cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_REFLECT)
    return sums.reshape(values.shape) / side**2


def _fine(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the differences of whole numbers [h, w] from their median over squares, which follows edges."""
    import cv2

    return values - cv2.medianBlur(values.astype(np.float32), FINE_PX)


def _deviation(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the standard deviations [h, w] of whole numbers [h, w] over squares."""
    return np.sqrt(np.maximum(_mean(np.square(values), side) - np.square(_mean(values, side)), 0))


def _framed(values: NDArray[Any], frame: float) -> NDArray[Any]:
    """Return values [h, w] with a pixel of value `frame` around them."""
    import cv2

    return np.asarray(cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=frame))


def _filled(mask: NDArray[np.bool_], outside: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return what [h, w] cannot be reached from `outside` [h + 2, w + 2] without crossing a mask [h, w]."""
    import cv2

    free = _framed((~mask).view(np.uint8), 1) | outside
    count, regions = cv2.connectedComponents(free, connectivity=4)
    enclosed = np.ones(count, dtype=bool)
    enclosed[regions[outside > 0]] = False
    return np.asarray(enclosed[regions[1:-1, 1:-1]])


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected parts of a mask that are none too small: of MIN_SPECK_PX, MIN_SPECK_SHARE or LARGE_SHARE."""
    import cv2

    _, regions, measured, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = measured[:, cv2.CC_STAT_AREA]
    parts = areas[1:]
    large = areas >= max(MIN_SPECK_PX, min(MIN_SPECK_SHARE * parts.sum(), LARGE_SHARE * parts.max(initial=0)))
    large[0] = False
    return np.asarray(large[regions])
