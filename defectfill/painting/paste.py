"""The painter that pastes: a reference's defect, cut out by its mask, is turned and scaled into the planned mask.

It needs no model: what it paints is real, but for its place, its angle and its brightness.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray
from defectfill.painting.label import annotation_margin
from defectfill.painting.measures import DARKEST
from defectfill.painting.painter import Painting, painted_over
from defectfill.painting.window import Window, depth_in, region_around, unit_rgb

MARGIN_PX = 16
"""So far around a defect its reference is cut out."""
SURROUNDINGS_PX = (2, 10)
"""The surroundings of a defect, whose colour is matched, begin and end so far outside its mask."""
MOST_GAIN = 2.0
"""Brightness is raised or lowered by this factor at most."""
MOST_ENLARGED = 2.0
"""A defect is enlarged by this factor at most along either axis: beyond, it is too blurred for its surroundings."""
MOST_STRETCHED = 1.5
"""And more along one axis than along the other by this one."""
NEAR_SIZE = 2.0
"""References whose defect is this many times as large or small as the planned one at most are taken first."""
RIM_PX = 2
"""So far outside its mask a defect fades out."""
JOINED_PX = 5
"""Parts of a mask that so large a square bridges belong together."""
SPECK_SHARE = 0.05
"""Parts of a smaller share of the largest one's area are left out."""
PIXEL_VARIANCE = 1 / 12
"""Of the points of a pixel along either axis."""


@dataclass(frozen=True)
class Ellipse:
    """The ellipse of the same centre, area's spread and direction as a mask."""

    centre: NDArray[np.float64]
    """[2], x and y of its middle."""
    axes: NDArray[np.float64]
    """[2, 2], its longer and its shorter axis as rows, of length 1."""
    spread: NDArray[np.float64]
    """[2], standard deviations of the pixels along them."""


@dataclass(frozen=True)
class Cutout:
    """One part of a reference's defect with what is around it."""

    image: NDArray[np.float32]
    """[h, w, 3] in [0, 1]."""
    mask: NDArray[np.bool_]
    """[h, w]."""
    ellipse: Ellipse
    surroundings: NDArray[np.float32]
    """[3], the mean colour around it."""
    margin_px: int
    """So far inside its mask's outline one begins to see it; see annotation_margin."""


def cut_out(image: ImageArray, mask: NDArray[np.bool_]) -> tuple[Cutout, ...]:
    """Return the parts of the defect in a reference [H, W, C] with its mask [H, W], not empty."""
    found = []
    for part in parts_of(mask):
        near = region_around(part, MARGIN_PX)
        pixels, inside = unit_rgb(image[near]), part[near]
        margin = annotation_margin(image[near], inside)
        found.append(Cutout(pixels, inside, ellipse_of(inside), _surroundings(pixels, mask[near]), margin))
    return tuple(found)


@dataclass(frozen=True)
class PastePainter:
    """A Painter (see defectfill.painting.painter) that pastes defects of references.

    Each candidate takes another reference, in an order that the seed decides, as long as there are more; those of
    nearly the planned size come first.
    """

    references: Sequence[tuple[Cutout, ...]]
    """The parts of each reference's defect."""
    candidates: int = 1

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window, seed in zip(windows, seeds, strict=True):
            planned = [(part, ellipse_of(part)) for part in parts_of(window.mask)]
            largest = max((ellipse.spread for _, ellipse in planned), key=lambda spread: float(spread.prod()))
            left, _, right, _ = window.box
            order = self._order(largest * (right - left) / len(window.mask), seed)
            yield painted_over(window, [self._candidate(window, planned, order, k) for k in range(self.candidates)])

    def _order(self, spread: NDArray[np.float64], seed: int) -> list[int]:
        """Return the numbers of the references, shuffled, those first that are about as large in their photographs.

        spread: as in Ellipse, of the planned defect in its own.
        """
        shuffled = np.random.default_rng(derive_seed(seed, "paste")).permutation(len(self.references)).tolist()
        return sorted(shuffled, key=lambda number: _misfit(_nearest(self.references[number], spread), spread) > 1)

    def _candidate(
        self,
        window: Window,
        planned: Sequence[tuple[NDArray[np.bool_], Ellipse]],
        order: Sequence[int],
        number: int,
    ) -> NDArray[np.float32]:
        """Return the window [R, R, 3] with a reference's defect in each part of its mask."""
        parts, result = self.references[order[number % len(order)]], window.image.copy()
        for part, ellipse in planned:
            _paste(result, window, part, ellipse, _nearest(parts, ellipse.spread))
        return result


def _nearest(parts: Sequence[Cutout], spread: NDArray[np.float64]) -> Cutout:
    """Return the part that is to be scaled least to have a spread [2]."""
    return min(parts, key=lambda part: _misfit(part, spread))


def _misfit(cutout: Cutout, spread: NDArray[np.float64]) -> float:
    """Return how far a cutout is to be scaled along the axis where that is more; 1 is NEAR_SIZE."""
    return float(np.abs(np.log(spread / cutout.ellipse.spread)).max()) / math.log(NEAR_SIZE)


def _paste(
    result: NDArray[np.float32], window: Window, part: NDArray[np.bool_], planned: Ellipse, cutout: Cutout
) -> None:
    """Lay a cutout over a part [R, R] of a window's mask in `result` [R, R, 3], the way that covers most of it."""
    near = region_around(part, MARGIN_PX)
    corner = np.array([near[1].start, near[0].start])
    here = Ellipse(planned.centre - corner, planned.axes, planned.spread)
    shrunk = _shrunk(cutout, here)
    turns = [_way_back(here, shrunk.ellipse, *signs) for signs in product((1, -1), (1, -1))]
    masks = [_warped(shrunk.mask.astype(np.float32), turn, part[near].shape) for turn in turns]
    best = int(np.argmax([(mask * part[near]).sum() for mask in masks]))
    colour = _surroundings(window.image[near], window.mask[near])
    gain = np.maximum(colour, DARKEST) / np.maximum(cutout.surroundings, DARKEST)
    pixels = _warped(shrunk.image, turns[best], part[near].shape) * np.clip(gain, 1 / MOST_GAIN, MOST_GAIN)
    margin = shrunk.margin_px * float(_scales(here, shrunk.ellipse).mean())
    weight = _faded(masks[best], margin)[..., None]
    result[near] += weight * (np.clip(pixels, 0, 1) - result[near])


def parts_of(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Yield the parts [H, W] of a mask, not empty, that lie clear of each other, the largest first; without specks."""
    import cv2

    square = np.ones((JOINED_PX, JOINED_PX), dtype=np.uint8)
    _, regions = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), square), connectivity=8)
    areas = np.bincount(regions[mask])
    numbers = np.argsort(-areas, kind="stable")
    yield from (mask & (regions == number) for number in numbers if areas[number] >= SPECK_SHARE * areas.max())


def ellipse_of(mask: NDArray[np.bool_]) -> Ellipse:
    """Return the ellipse of a mask [H, W], not empty.

    From sums of whole numbers, which do not depend on the order in which a processor adds them.
    """
    rows, columns = (each.astype(np.int64) for each in np.nonzero(mask))
    count, x, y = len(rows), int(columns.sum()), int(rows.sum())
    xx, yy, xy = (
        (count * int((one * other).sum()) - first * second) / count**2
        for one, other, first, second in ((columns, columns, x, x), (rows, rows, y, y), (columns, rows, x, y))
    )
    middle, reach, angle = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy), math.atan2(2 * xy, xx - yy) / 2
    axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    spread = np.sqrt([middle + reach + PIXEL_VARIANCE, max(middle - reach, 0) + PIXEL_VARIANCE])
    return Ellipse(np.array([x / count, y / count]), axes, spread)


def _scales(planned: Ellipse, own: Ellipse) -> NDArray[np.float64]:
    """Return by how much [2] a defect is enlarged along its axes, so as to cover the planned ellipse."""
    scales = planned.spread / own.spread
    return np.minimum(np.maximum(scales, scales.max() / MOST_STRETCHED), MOST_ENLARGED)


def _shrunk(cutout: Cutout, planned: Ellipse) -> Cutout:
    """Return a cutout that is far larger than planned at about the planned size, so that it is not undersampled."""
    import cv2

    factor = float(_scales(planned, cutout.ellipse).max())
    if factor > 0.75:
        return cutout
    size = tuple(max(round(length * factor), 1) for length in cutout.mask.shape[::-1])
    image = cv2.resize(cutout.image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(cutout.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    if not mask.any():
        return cutout
    return Cutout(image, mask, ellipse_of(mask), cutout.surroundings, round(cutout.margin_px * factor))


def _way_back(planned: Ellipse, own: Ellipse, along: int, across: int) -> NDArray[np.float64]:
    """Return the affine map [2, 3] from a planned ellipse's picture to a cutout's; -1: reversed along or across it."""
    to_own = own.axes.T @ np.diag(np.array([along, across]) / _scales(planned, own)) @ planned.axes
    return np.column_stack([to_own, own.centre - to_own @ planned.centre])


def _warped(values: NDArray[np.float32], way_back: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a picture [h, w] or [h, w, 3] as it looks in one of `shape` [H, W]; beyond its frame a mask is empty."""
    import cv2

    is_mask = values.ndim == 2
    return np.asarray(
        cv2.warpAffine(
            values,
            way_back,
            (shape[1], shape[0]),
            flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if is_mask else cv2.INTER_CUBIC),
            borderMode=cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REFLECT_101,
        ),
        dtype=np.float32,
    )


def _faded(mask: NDArray[np.float32], margin_px: float) -> NDArray[np.float32]:
    """Return the weight [h, w] of a defect: 1 from `margin_px` inside its mask on, 0 from RIM_PX outside it on.

    The margin of a mask that was drawn loosely holds the reference's own ground.
    """
    inside = mask >= 0.5
    if not inside.any():
        return mask
    depth = depth_in(inside) - depth_in(~inside)
    return np.asarray(np.clip((depth + (RIM_PX + 1)) / (margin_px + RIM_PX + 1), 0, 1), dtype=np.float32)


def _surroundings(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean colour [3] around the defects in pixels [h, w, 3]; without surroundings that of all pixels."""
    distance = depth_in(~mask)
    around = (distance > SURROUNDINGS_PX[0]) & (distance <= SURROUNDINGS_PX[1])
    return np.asarray(pixels[around if around.any() else np.ones_like(mask)].mean(axis=0, dtype=np.float64), np.float32)
