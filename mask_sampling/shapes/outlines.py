"""Simple outlines as long and as slanted as the reference: polygon, box and star."""

import math
from collections.abc import Sequence

import numpy as np

from mask_sampling import Mask, bounding_box, second_moments
from mask_sampling.shapes import (
    MIN_WIDTH_PX,
    Floats,
    Shape,
    ShapeRequest,
    ShapeSettings,
    patch_area_px,
    turning,
)

POLYGON_CORNERS = (5, 9)
"""Fewest and most corners of a polygon."""
POLYGON_RADII = (0.8, 1.0)
"""Nearest and farthest a polygon's corners lie from its centre: nearly on a circle, so it is nearly convex."""
STAR_POINTS = (4, 8)
"""Fewest and most points of a star."""
STAR_INNER = (0.35, 0.6)
"""Radius of the corners between a star's points over that of the points."""
STAR_OUTER = (0.8, 1.0)
"""Shortest and longest point of a star."""
CORNER_JITTER = 0.3
"""Corners are moved around the centre by up to this share of the even distance between them."""
AREA_TRIES = 6
"""An outline is drawn this often, its size corrected each time."""
GOOD_AREA = 0.005
"""Unless the area is wrong by less than this share."""


def polygon(
    references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator
) -> Mask:
    """Return a polygon of POLYGON_CORNERS corners, as long, slanted and large as requested: a tight patch."""
    count = int(rng.integers(*POLYGON_CORNERS, endpoint=True))
    return _drawn(_around(rng.uniform(*POLYGON_RADII, count), rng), references, request, settings, rng)


def box(references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator) -> Mask:
    """Return a rectangle as long, slanted and large as requested: a tight patch."""
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return _drawn(corners, references, request, settings, rng)


def star(references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator) -> Mask:
    """Return a star of STAR_POINTS points, as long, slanted and large as requested: a tight patch."""
    count = int(rng.integers(*STAR_POINTS, endpoint=True))
    outer = rng.uniform(*STAR_OUTER, count)
    inner = np.full(count, float(rng.uniform(*STAR_INNER)))
    return _drawn(_around(np.stack([outer, inner], axis=1).ravel(), rng), references, request, settings, rng)


def _around(radii: Floats, rng: np.random.Generator) -> Floats:
    """Return the corners [n, 2] at these distances from the centre, about evenly around it, starting anywhere."""
    steps = np.arange(radii.size) + rng.uniform(-CORNER_JITTER, CORNER_JITTER, radii.size)
    angles = 2 * math.pi * (steps / radii.size + rng.random())
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _drawn(
    corners: Floats,
    references: Sequence[Shape],
    request: ShapeRequest,
    settings: ShapeSettings,
    rng: np.random.Generator,
) -> Mask:
    """Return the outline of these corners [n, 2] with the reference's second moments and the requested area."""
    like = references[request.like]
    turn = turning(like, request, settings, rng)
    area_px = patch_area_px(like, request)
    corners = _standardised(corners)
    values, vectors = np.linalg.eigh(turn @ second_moments(like.patch) @ turn.T)
    widths = np.sqrt(values * area_px / (_area(corners) * math.sqrt(values[0] * values[1])))
    least = min(MIN_WIDTH_PX / math.sqrt(12), math.sqrt(widths[0] * widths[1]))
    if widths[0] < least:
        widths = np.array([least, widths[0] * widths[1] / least])
    corners = corners @ (vectors * widths).T
    best, smallest_error, scale = np.ones((1, 1), dtype=np.bool_), math.inf, 1.0
    for _ in range(AREA_TRIES):
        drawn = _filled(scale * corners)
        found_px = float(drawn.sum())
        error = abs(found_px / area_px - 1)
        if error < smallest_error:
            best, smallest_error = drawn, error
        if error < GOOD_AREA:
            break
        scale *= math.sqrt(area_px / found_px)
    return best


def _standardised(corners: Floats) -> Floats:
    """Return the outline with its centroid at the origin and the identity as its second moments."""
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]
    centre = cross @ (corners + following) / (3 * cross.sum())
    corners, following = corners - centre, following - centre
    cross = corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]
    sums = corners + following
    moments = sum(((part * cross[:, None]).T @ part for part in (corners, following, sums)), start=np.zeros((2, 2))) / (
        12 * cross.sum()
    )
    values, vectors = np.linalg.eigh(moments)
    standardised: Floats = corners @ (vectors / np.sqrt(values)) @ vectors.T
    return standardised


def _area(corners: Floats) -> float:
    """Return the area inside the outline."""
    following = np.roll(corners, -1, axis=0)
    return abs(float((corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]).sum())) / 2


def _filled(corners: Floats) -> Mask:
    """Return the pixels inside the outline and those from its centre to the corners: one piece, a tight patch."""
    from scipy.ndimage import label
    from skimage.draw import line

    origin = np.ceil(-corners.min(axis=0)) + 1
    width, height = (np.ceil(corners.max(axis=0)) + origin + 2).astype(int)
    drawn = _inside(corners + origin, height, width)
    middle_x, middle_y = origin.astype(int)
    for x, y in np.trunc(corners).astype(int):
        drawn[line(middle_y, middle_x, middle_y + y, middle_x + x)] = True
    pieces, count = label(drawn, np.ones((3, 3)))
    if count > 1:
        drawn = pieces == pieces[middle_y, middle_x]
    return drawn[bounding_box(drawn)]


def _inside(corners: Floats, height: int, width: int) -> Mask:
    """Return the pixels [H, W] to whose left the outline is crossed an odd number of times."""
    crossed = np.zeros((height, width), dtype=np.bool_)
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.arange(math.ceil(min(y, next_y)), math.ceil(max(y, next_y)))
        if rows.size:
            columns = np.ceil(x + (rows - y) * ((next_x - x) / (next_y - y))).astype(int)
            crossed[rows, columns] ^= True
    return np.logical_xor.accumulate(crossed, axis=1)
