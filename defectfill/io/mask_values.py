"""The meaning of a mask's values: which pixels are the defect.

Labelling tools write 0 and 255, 0 and 1, numbers of classes, colours, indices of a palette, or smooth outlines. Where 0
is the background, any other value counts; of smooth outlines all from half of the range on counts. Which of the two a
file is, its pixels show: values below half that fill areas are classes, those that lie between dark and bright are the
steps of an edge. Where that is not plain the mask is refused.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defectfill.io.errors import DataError

Rule = Literal["any value", "half"]
Values = NDArray[np.uint8 | np.uint16]

FEW_VALUES = 16
"""Classes in one picture are at most as many; the steps of a wide edge are more."""
FRINGE_PX = 3
"""The steps of a narrow edge are at most so far from what is brighter than half."""
WIDE_FRINGE_PX = 24
"""Those of a wide edge are. What is dark farther away is no edge: a photograph, or a thin line of another value."""
FLAT_NEIGHBOURS = 4
"""Of a pixel inside an area, or at its straight border, so many of the eight neighbours have the same value."""
FLAT_SHARE = 0.5
"""Of the pixels of a class at least this share is flat."""
FAINT = 1 / 16
"""Values below this share of the range may be what a blur or a compression leaves of the background."""
LOSSY_FAINT = 1 / 8
"""The same in a file that was compressed with losses."""
LOSSY_RANGE = 3
"""Within an area of one colour, so many values of 255 apart are neighbours in such a file."""
LOSSY_FLAT_SHARE = 0.25
NAMED = 6
"""Values that are named in a message."""


@dataclass(frozen=True)
class MaskReading:
    """A mask as it was read, and how."""

    mask: NDArray[np.bool_]
    """[H, W], True on the defect."""
    rule: Rule
    """any value: everything above 0 counts; half: everything from half of the range on."""
    counts: dict[int, int]
    """Value above 0 -> how many pixels have it; of colours the largest channel."""

    @property
    def is_plain(self) -> bool:
        """Whether there is one value beside 0, so that nothing had to be decided."""
        return len(self.counts) <= 1

    @property
    def left_out_px(self) -> int:
        """Pixels above 0 that do not count."""
        return sum(self.counts.values()) - int(self.mask.sum())


def interpret(values: Values, *, lossy: bool = False) -> MaskReading:
    """Return the mask that values [H, W] stand for; DataError, without the file's name, where that is not plain.

    lossy: from a file that does not keep values exactly.
    """
    full = np.iinfo(values.dtype).max
    histogram = np.bincount(values.ravel(), minlength=full + 1)
    counts = {int(value): int(histogram[value]) for value in np.flatnonzero(histogram) if value}
    half = (full + 1) // 2
    rule: Rule | None
    if histogram[0] == 0 and not lossy:
        rule = None if histogram[:half].any() and histogram[half:].any() else "any value"
    elif lossy:
        rule = _rule_of_lossy(values, half)
    else:
        rule = _rule(values, histogram, half)
    if rule is None:
        raise DataError(
            "expected a mask of 0 and 255 or of areas of one value each, found values of which some may be the defect "
            f"or steps of its edge: {named(counts)}; save it as PNG with 0 and 255"
        )
    return MaskReading(np.asarray(values >= (1 if rule == "any value" else half)), rule, counts)


def named(counts: dict[int, int]) -> str:
    """Return values with their counts as they are named in a message, the most frequent ones if there are many."""
    most = sorted(sorted(counts, key=lambda value: -counts[value])[:NAMED])
    shown = ", ".join(f"{value} ({counts[value]} pixels)" for value in most)
    return f"{shown} and {len(counts) - NAMED} others" if len(counts) > NAMED else shown


def _rule(values: Values, histogram: NDArray[np.integer], half: int) -> Rule | None:
    """Return how a mask with 0 for its background is read; None where that is not plain."""
    dark, faint = np.flatnonzero(histogram[1:half]) + 1, round(2 * half * FAINT)
    if not len(dark):
        return "any value"
    if not histogram[half:].any():
        is_flat = len(dark) <= FEW_VALUES or _flat_share(values, values > 0) >= FLAT_SHARE
        return "any value" if is_flat else None
    steps = (values > 0) & (values < half)
    between = steps & (values >= faint) if dark[-1] >= faint else steps
    if _flat_share(values, between) >= FLAT_SHARE:
        return "any value"
    is_edge = _near(values >= half, WIDE_FRINGE_PX)[steps].all()
    if len(dark) <= FEW_VALUES and dark[-1] >= faint:
        is_edge &= _near(values >= half, FRINGE_PX)[between].all()
    return "half" if is_edge else None


def _rule_of_lossy(values: Values, half: int) -> Rule | None:
    """Return the same for a file that does not keep values exactly: half, or None where areas lie below it."""
    import cv2

    between = (values >= round(2 * half * LOSSY_FAINT)) & (values < half)
    around = np.ones((3, 3), np.uint8)
    is_flat = cv2.dilate(values, around) - cv2.erode(values, around) <= LOSSY_RANGE
    areas = is_flat & between
    return "half" if not areas.any() or areas.sum() < LOSSY_FLAT_SHARE * between.sum() else None


def _flat_share(values: Values, of: NDArray[np.bool_]) -> float:
    """Return the share of the pixels `of` [H, W] that have the value of FLAT_NEIGHBOURS neighbours or more."""
    padded = np.pad(values.astype(np.int32), 1, constant_values=-1)
    height, width = values.shape
    shifts = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    alike = sum(
        (padded[row : row + height, column : column + width] == values).astype(np.uint8) for row, column in shifts
    )
    return float((np.asarray(alike)[of] >= FLAT_NEIGHBOURS).mean())


def _near(mask: NDArray[np.bool_], reach_px: int) -> NDArray[np.bool_]:
    """Return a mask [H, W] with all pixels at most `reach_px` rows and columns away."""
    import cv2

    side = 2 * reach_px + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)
