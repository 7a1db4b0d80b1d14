"""The stroke sampler: cracks and scratches along new lines, as long, wide, curved and branched as the references'."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, bounding_box, second_moments
from mask_sampling.shapes import (
    MIN_WIDTH_PX,
    Floats,
    Shape,
    ShapeRequest,
    ShapeSettings,
    patch_area_px,
    rotation,
    turning,
)
from mask_sampling.shapes.spine import POINTS, Spine, spine

STIFFNESS_WIDTHS = 0.7
"""A new line's direction is smoothed by this many of its widths, so that its two sides do not fold."""
MIN_LENGTH = 0.5
"""A stroke is at least this long, over the square root of its area."""
WIDTH_NOISE = 0.12
"""Standard deviation of the new width over the learnt."""
WIDTH_KNOTS = 12
"""The new width departs from the learnt smoothly between this many points along the line."""
BRANCH_STARTS = (0.1, 0.9)
"""Where branches may start, along the main line."""
BRANCH_TAPER = 0.5
"""Width of a branch's end over that of its start."""
SPACING_PX = 0.4
"""A line is drawn by points this far apart, so that it has no gaps."""
ROOM = 1.4
"""The canvas leaves room for this many times the expected width."""
EXACT_PX = 2.0
"""Distances are to the pixel, but exact for what is this near to the line or to the outline."""
ON_LINE = -2.0
"""Stands for the distance of the pixels that a line cannot do without."""
SHORTENINGS = 6
"""A line that has too much area even at a width of one pixel is shortened at most this often."""
AREA_ERROR = 0.03
"""Unless its area is too large by at most this share."""


@dataclass(frozen=True)
class Line:
    """A line to be drawn."""

    points: Floats
    """[n, 2]: x, y in units of the main line's length."""
    widths: Floats
    """[n]: relative."""


def stroke(
    references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator
) -> Mask:
    """Return a new crack or scratch, as long, slanted and branched as the requested reference: one tight piece.

    Its curvature is that of a random reference and its width along it that of another; how wide follows from the
    area: MIN_WIDTH_PX at least, but as thin as one pixel where the reference is, and shorter if even that is too much.
    """
    like = references[request.like]
    own, curved, wide = (spine(each) for each in (like, *_drawn_from(references, rng)))
    area_px = patch_area_px(like, request)
    length_px = max(own.length_px * math.sqrt(area_px / own.area_px), MIN_LENGTH * math.sqrt(area_px))
    lines = _lines(own, curved, wide, _mean_width(length_px, area_px) / length_px, rng)
    matrix = turning(like, request, settings, rng)
    turn = rotation(_direction(matrix @ second_moments(like.patch) @ matrix.T) - _direction(_line_moments(lines)))
    lines = [Line(line.points @ turn.T, line.widths) for line in lines]
    return _drawn(lines, length_px, max(1, round(area_px)))


def _drawn_from(references: Sequence[Shape], rng: np.random.Generator) -> list[Shape]:
    """Return two random references."""
    return [references[index] for index in rng.integers(len(references), size=2)]


def _lines(own: Spine, curved: Spine, wide: Spine, mean_width: float, rng: np.random.Generator) -> list[Line]:
    """Return the main line, of length 1 and about this mean width, and its branches."""
    widths = _rounded(_varied(wide.widths, rng), mean_width)
    headings = _smoothed(_surrogate(curved.headings, rng), STIFFNESS_WIDTHS * mean_width * widths[1:])
    main = Line(_walk(headings), widths)
    lines = [main]
    known = [branch for each in (own, curved, wide) for branch in each.branches]
    for _ in own.branches:
        branch = known[int(rng.integers(len(known)))]
        start = int(rng.uniform(*BRANCH_STARTS) * (POINTS - 1))
        angle = float(rng.choice([-1, 1])) * branch.angle + float(rng.choice([0, math.pi]))
        count = max(2, round(min(branch.length, 1.0) * POINTS))
        taper = branch.width * np.linspace(1, BRANCH_TAPER, POINTS)
        wiggle = _smoothed(_surrogate(curved.headings, rng), STIFFNESS_WIDTHS * mean_width * taper[1:])[: count - 1]
        points = main.points[start] + _walk(headings[start] + angle + wiggle - wiggle[0])
        lines.append(Line(points, taper[np.linspace(0, POINTS - 1, count).astype(int)]))
    return lines


def _surrogate(series: Floats, rng: np.random.Generator) -> Floats:
    """Return a series with the same power spectrum and random phases, of mean 0.

    The series is taken to run back and forth, as its two ends need not meet.
    """
    spectrum = np.abs(np.fft.rfft(np.concatenate([series, series[::-1]])))
    phases = np.exp(2j * math.pi * rng.random(spectrum.size))
    surrogate: Floats = np.fft.irfft(spectrum * phases, 2 * series.size)[: series.size]
    return surrogate - surrogate.mean()


def _smoothed(series: Floats, spread: Floats) -> Floats:
    """Return the series, which runs from 0 to 1, smoothed at each position by its own standard deviation."""
    positions = np.linspace(0, 1, series.size)
    away = (positions - positions[:, None]) / np.maximum(spread, 1 / series.size)[:, None]
    weights = np.exp(-(away**2) / 2)
    smoothed: Floats = weights @ series / weights.sum(axis=1)
    return smoothed


def _walk(headings: Floats) -> Floats:
    """Return the points ([n + 1, 2]: x, y) reached from the origin by steps of 1 / (POINTS - 1) in these directions."""
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) / (POINTS - 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def _varied(widths: Floats, rng: np.random.Generator) -> Floats:
    """Return the widths, reversed half of the time, and smoothly varied."""
    if rng.random() < 0.5:
        widths = widths[::-1]
    knots = np.linspace(0, 1, WIDTH_KNOTS)
    noise = np.interp(np.linspace(0, 1, widths.size), knots, WIDTH_NOISE * rng.standard_normal(WIDTH_KNOTS))
    varied: Floats = widths * np.exp(noise)
    return varied / varied.mean()


def _rounded(widths: Floats, mean_width: float) -> Floats:
    """Return the widths of discs of these widths side by side on a straight line: rounded where they would jut out."""
    along = np.linspace(0, 1, widths.size)
    squares = (mean_width * widths / 2) ** 2 - (along - along[:, None]) ** 2
    rounded: Floats = np.sqrt(squares.max(axis=1))
    return rounded / rounded.mean()


def _line_moments(lines: Sequence[Line]) -> Floats:
    """Return the second moments [2, 2] of the lines, weighted by their widths."""
    points = np.concatenate([line.points for line in lines])
    return np.cov(points.T, bias=True, aweights=np.concatenate([line.widths for line in lines]))


def _direction(moments: Floats) -> float:
    """Return the direction in which the second moments [2, 2] are largest."""
    longest = np.linalg.eigh(moments)[1][:, 1]
    return math.atan2(longest[1], longest[0])


def _drawn(lines: Sequence[Line], length_px: float, area_px: int) -> Mask:
    """Return a tight patch of the lines at this length and area; shorter where single pixels are too many."""
    from scipy.ndimage import label

    for _ in range(SHORTENINGS):
        canvas, near, distance = _relative_distance(lines, length_px, area_px)
        fewest_px = int(np.count_nonzero(distance == ON_LINE))
        if fewest_px <= max(area_px * (1 + AREA_ERROR), area_px + 1):
            break
        length_px *= max(area_px / fewest_px, 0.5)
    count = min(max(area_px, fewest_px), near.size)
    canvas.ravel()[near[np.argpartition(distance, count - 1)[:count]]] = True
    pieces, _ = label(canvas, np.ones((3, 3)))
    drawn = pieces == pieces.flat[near[distance.argmin()]]
    return drawn[bounding_box(drawn)]


def _relative_distance(lines: Sequence[Line], length_px: float, area_px: int) -> tuple[Mask, NDArray[np.intp], Floats]:
    """Return an empty canvas with room for the area; its pixels near the lines ([n]: index); and their distance [n].

    Distance is relative: from the nearest line, over its width there. It is below 0 where even MIN_WIDTH_PX reaches,
    and ON_LINE for the single pixels that hold the line together.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import KDTree

    dense = [_dense(line, length_px) for line in lines]
    points, widths = (np.concatenate(parts) for parts in zip(*dense, strict=True))
    total_px = length_px * sum(float(line.widths.sum()) / POINTS for line in lines)
    room_px = math.ceil(ROOM * _mean_width(total_px, area_px) * float(widths.max()) / 2) + 2
    shift = room_px - np.floor(points.min(axis=0))
    points = points + shift
    columns, rows = np.rint(points).astype(np.intp).T
    shape = (int(rows.max()) + room_px + 1, int(columns.max()) + room_px + 1)
    point_at = np.full(shape, -1, dtype=np.int32)
    point_at[rows, columns] = np.arange(rows.size)
    to_y, to_x = distance_transform_edt(point_at < 0, return_distances=False, return_indices=True)
    y, x = np.ogrid[: shape[0], : shape[1]]
    squares = (to_y - y) ** 2 + (to_x - x) ** 2
    near = np.flatnonzero(squares <= room_px**2)
    distance = np.sqrt(squares.ravel()[near])
    nearest = point_at.ravel()[to_y.ravel()[near] * shape[1] + to_x.ravel()[near]]
    last = min(area_px, near.size) - 1
    limit = np.partition(distance / widths[nearest], last)[last]
    exactly = np.flatnonzero((distance < EXACT_PX) | (np.abs(distance - limit * widths[nearest]) < EXACT_PX))
    centres = np.stack(np.divmod(near[exactly], shape[1])[::-1], axis=1)
    distance[exactly], nearest[exactly] = KDTree(points).query(centres)
    least = distance / (MIN_WIDTH_PX / 2) - 1
    relative = np.where(least <= 0, least, distance / widths[nearest])
    on_line = np.zeros(shape, dtype=np.bool_)
    for line_points, _ in dense:
        on_line[tuple(_pixel_path(line_points + shift).T)] = True
    relative[on_line.ravel()[near]] = ON_LINE
    return np.zeros(shape, dtype=np.bool_), near, relative


def _pixel_path(points: Floats) -> NDArray[np.intp]:
    """Return the pixels ([n, 2]: y, x) of a line one pixel wide, in one piece, along points ([n, 2]: x, y)."""
    steps = np.abs(np.diff(points, axis=0)).max(axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    positions = np.arange(0, max(along[-1], 1.0))
    return np.stack([np.rint(np.interp(positions, along, part)) for part in points.T[::-1]], axis=1).astype(np.intp)


def _mean_width(length_px: float, area_px: float) -> float:
    """Return the width of a straight line with round ends that has this length, the ends not counted, and this area."""
    return 2 / math.pi * (math.sqrt(length_px**2 + math.pi * area_px) - length_px)


def _dense(line: Line, length_px: float) -> tuple[Floats, Floats]:
    """Return the line's points [n, 2] in pixels, no more than SPACING_PX apart, and its relative widths [n]."""
    known = np.arange(len(line.points))
    count = 2 + math.ceil(length_px * (known.size - 1) / (POINTS - 1) / SPACING_PX)
    positions = np.linspace(0, known.size - 1, count)
    points = np.stack([np.interp(positions, known, part) for part in length_px * line.points.T], axis=1)
    return points, np.interp(positions, known, line.widths)
