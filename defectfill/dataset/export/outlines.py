"""Masks as polygons and as runs.

Readers of polygons disagree on where a pixel lies: pycocotools takes those whose middle is inside, ultralytics cuts
decimals off and supervision rounds before OpenCV fills what lies between, edges included. So a polygon's points lie
inside of the pixels at the mask's edge, and whoever writes says where in a pixel its left and its right edge are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Part:
    """A connected part of a mask: pixels that touch, be it at a corner."""

    shape: tuple[int, int]
    """H and W of the mask."""
    box: tuple[int, int, int, int]
    """left, top, width and height in pixels."""
    pixels: NDArray[np.bool_]
    """[height, width], this part alone in its box."""
    outline: NDArray[np.int64]
    """[N, 2], x and y of its outer outline, twice the pixel: even at its left and upper edge, odd at the others."""
    has_holes: bool
    area: int
    """Pixels."""

    def mask(self) -> NDArray[np.bool_]:
        """Return this part alone, [H, W]."""
        left, top, width, height = self.box
        mask = np.zeros(self.shape, dtype=bool)
        mask[top : top + height, left : left + width] = self.pixels
        return mask

    def polygon(self, near: float, far: float) -> NDArray[np.float64]:
        """Return the outline [N, 2] in pixels, with left and upper edges at `near` in a pixel, the others at `far`.

        Between 0 and 0.5 and between 0.5 and 1 pycocotools reads the very pixels of a part without holes; so does who
        cuts decimals off, if near is more than rounding errors.
        """
        return np.asarray(self.outline // 2 + np.where(self.outline % 2, far, near), dtype=np.float64)


def parts_of(mask: NDArray[np.bool_]) -> Iterator[Part]:
    """Yield the connected parts of a mask [H, W], from top to bottom."""
    import cv2

    rows, columns = mask.shape
    pixels = mask.view(np.uint8)
    left, top, width, height = cv2.boundingRect(pixels)
    if not width:
        return
    crop = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=8)
    doubled = np.repeat(np.repeat(crop, 2, axis=0), 2, axis=1)  # so that outlines have a left and a right of a pixel
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [number for number, (_, _, _, parent) in enumerate(hierarchy[0]) if parent < 0]
    by_label = {int(labels[tuple(contours[number][0, 0, ::-1] // 2)]): number for number in outer}
    for label, number in sorted(by_label.items()):
        x, y, width, height, area = (int(value) for value in stats[label])
        part = labels[y : y + height, x : x + width] == label
        outline = contours[number][:, 0].astype(np.int64) + np.array([2 * left, 2 * top])
        has_holes = bool(hierarchy[0][number][2] >= 0)
        yield Part((rows, columns), (left + x, top + y, width, height), part, outline, has_holes, area)


def run_lengths(flat: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the lengths of runs of equal values in `flat` [N], of which the first is of False, be it empty."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate([starts, changes, [len(flat)]]))
