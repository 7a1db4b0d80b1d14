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

WORK_SIDE_PX = 200
"""Longer references are looked at in blocks, so that they have at most this many along the longer side."""
POINTS = 200
"""A line is learnt and drawn as this many points, evenly spaced."""
SMOOTHING_PX = 1.5
"""Lines along a skeleton are smoothed by this standard deviation at least, to rid them of the pixels' steps."""
SMOOTHING_WIDTHS = 0.4
"""And by this many of their widths, below which a skeleton follows the roughness of the outline."""
STIFFNESS_WIDTHS = 0.7
"""A new line's direction is smoothed by this many of its widths, so that its two sides do not fold."""
STUB_WIDTHS = 1.5
"""A side branch counts when it goes beyond the main line's outline by this many of its widths there."""
MIN_LENGTH = 0.5
"""A stroke is at least this long, over the square root of its area."""
SLENDER = 3.0
"""Curvature is learnt from lines that are this many times as long as wide."""
WIDTH_NOISE = 0.12
"""Standard deviation of the new width over the learnt."""
WIDTH_KNOTS = 12
"""The new width departs from the learnt smoothly between this many places along the line."""
TANGENT_PX = 5
"""The main line's direction at a branch is taken from so many steps along the skeleton to either side."""
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
class Branch:
    """A side branch, relative to the main line."""

    length: float
    """Over the main line's."""
    angle: float
    """Between both, in radians, from 0 to pi / 2."""
    width: float
    """Over the main line's mean."""


@dataclass(frozen=True)
class Spine:
    """What the skeleton of a reference's largest piece tells."""

    area_px: float
    """Of the piece."""
    length_px: float
    """Of the main line, between the ends of the skeleton."""
    headings: Floats
    """POINTS - 1: the main line's directions, in radians around their mean."""
    widths: Floats
    """POINTS: the widths along it, relative to their mean."""
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Line:
    """A line to be drawn."""

    points: Floats
    """n 2: x, y in units of the main line's length."""
    widths: Floats
    """n: relative."""


def stroke(
    references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator
) -> Mask:
    """A new crack or scratch, as long, slanted and branched as the reference wished for: a tight patch in one piece.

    Its curvature is that of a random reference and its width along it that of another; how wide follows from the
    area: MIN_WIDTH_PX at least, but as thin as one pixel where the reference is, and shorter if even that is too much.
    """
    like = references[request.like]
    own, curved, wide = (_spine(each) for each in (like, *_drawn_from(references, rng)))
    area_px = patch_area_px(like, request)
    length_px = max(own.length_px * math.sqrt(area_px / own.area_px), MIN_LENGTH * math.sqrt(area_px))
    lines = _lines(own, curved, wide, _mean_width(length_px, area_px) / length_px, rng)
    matrix = turning(like, request, settings, rng)
    turn = rotation(_direction(matrix @ second_moments(like.patch) @ matrix.T) - _direction(_line_moments(lines)))
    lines = [Line(line.points @ turn.T, line.widths) for line in lines]
    return _drawn(lines, length_px, max(1, round(area_px)))


def _drawn_from(references: Sequence[Shape], rng: np.random.Generator) -> list[Shape]:
    """Two random references."""
    return [references[index] for index in rng.integers(len(references), size=2)]


def _spine(shape: Shape) -> Spine:
    """What the skeleton of the reference's largest piece tells."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter1d
    from skimage.morphology import skeletonize

    piece, block_px, area_px = _largest_piece(shape.patch)
    depth = distance_transform_edt(piece)
    skeleton = skeletonize(piece)
    if not skeleton.any():
        skeleton = depth == depth.max()
    pixels = np.argwhere(skeleton)
    path = _longest_path(pixels, depth[skeleton])
    widths = np.maximum(block_px * (2 * depth[tuple(pixels[path].T)] - 2) + 1, MIN_WIDTH_PX)
    smoothing = max(SMOOTHING_PX, SMOOTHING_WIDTHS * float(widths.mean()) / block_px)
    line = gaussian_filter1d(pixels[path, ::-1].astype(np.float64), smoothing, axis=0, mode="nearest")
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    length_px = block_px * float(along[-1])
    if length_px == 0:
        return Spine(area_px, 0.0, np.zeros(POINTS - 1), np.ones(POINTS), ())
    evenly = np.linspace(0, along[-1], POINTS)
    even_line = np.stack([np.interp(evenly, along, part) for part in line.T], axis=1)
    steps = np.diff(even_line, axis=0)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    slender = length_px > SLENDER * widths.mean()
    return Spine(
        area_px,
        length_px,
        headings - headings.mean() if slender else np.zeros(POINTS - 1),
        np.interp(evenly, along, gaussian_filter1d(widths, SMOOTHING_PX)) / widths.mean(),
        _branches(skeleton, depth, pixels[path], along[-1]) if slender else (),
    )


def _largest_piece(patch: Mask) -> tuple[Mask, int, float]:
    """The largest piece of a mask, in blocks and with a margin; the blocks' side; and the piece's area in pixels.

    Blocks are True where any of their pixels is, which closes small gaps as well.
    """
    from scipy.ndimage import label

    block_px = math.ceil(max(patch.shape) / WORK_SIDE_PX)
    height, width = (math.ceil(length / block_px) for length in patch.shape)
    padded = np.pad(patch, [(0, height * block_px - patch.shape[0]), (0, width * block_px - patch.shape[1])])
    pieces, _ = label(padded.reshape(height, block_px, width, block_px).any(axis=(1, 3)), np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    piece = pieces == 1 + sizes.argmax()
    return np.pad(piece, 1), block_px, float(patch.sum() * sizes.max() / sizes.sum())


def _longest_path(pixels: NDArray[np.int_], depth: Floats) -> NDArray[np.int_]:
    """Indices of the pixels (n 2) on the way between two that are as far apart as any, along the others.

    Ways count times their depth (n), so that a wide line comes before a thin branch that is a little longer.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import KDTree

    pairs = KDTree(pixels).query_pairs(1.5, output_type="ndarray")
    lengths = np.hypot(*(pixels[pairs[:, 0]] - pixels[pairs[:, 1]]).T)
    graph = csr_matrix((lengths * depth[pairs].mean(axis=1), pairs.T), shape=(len(pixels), len(pixels)))
    start = _farthest(dijkstra(graph, directed=False, indices=0))
    distances, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [_farthest(distances)]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.array(path)


def _farthest(distances: Floats) -> int:
    """The index of the largest distance that is finite."""
    return int(np.where(np.isfinite(distances), distances, -1).argmax())


def _branches(skeleton: Mask, depth: Floats, path: NDArray[np.int_], length: float) -> tuple[Branch, ...]:
    """The parts of the skeleton that go well beyond the outline of the main line, which is `path` (n 2: y, x)."""
    from scipy.ndimage import distance_transform_edt, find_objects, label

    main = np.zeros_like(skeleton)
    main[tuple(path.T)] = True
    away, nearest = distance_transform_edt(~main, return_indices=True)
    beyond = away - depth[tuple(nearest)]
    pieces, count = label(skeleton & (beyond > 0), np.ones((3, 3)))
    widths = depth[tuple(path.T)]
    found = []
    for number, place in enumerate(find_objects(pieces, count), start=1):
        pixels = np.argwhere(pieces[place] == number) + [part.start for part in place]
        tip = pixels[beyond[tuple(pixels.T)].argmax()]
        root = nearest[:, tip[0], tip[1]]
        base = pixels[away[tuple(pixels.T)].argmin()]
        base_on_main = nearest[:, base[0], base[1]]
        if beyond[tuple(tip)] <= STUB_WIDTHS * 2 * depth[tuple(root)]:
            continue
        at = int(np.abs(path - base_on_main).sum(axis=1).argmin())
        ahead, behind = path[min(at + TANGENT_PX, len(path) - 1)], path[max(at - TANGENT_PX, 0)]
        (main_y, main_x), (side_y, side_x) = ahead - behind, tip - base_on_main
        angle = abs(math.atan2(main_x * side_y - main_y * side_x, main_x * side_x + main_y * side_y))
        found.append(
            Branch(
                length=math.hypot(side_x, side_y) / length,
                angle=min(angle, math.pi - angle),
                width=float(depth[tuple(pixels.T)].mean() / widths.mean()),
            )
        )
    return tuple(found)


def _lines(own: Spine, curved: Spine, wide: Spine, mean_width: float, rng: np.random.Generator) -> list[Line]:
    """The main line, of length 1 and about this mean width, and its branches."""
    widths = _rounded(_varied(wide.widths, rng), mean_width)
    headings = _smoothed(_surrogate(curved.headings, rng), STIFFNESS_WIDTHS * mean_width * widths[1:])
    main = Line(_walk(headings), widths)
    lines = [main]
    known = [branch for spine in (own, curved, wide) for branch in spine.branches]
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
    """A series with the same power spectrum and random phases, of mean 0.

    The series is taken to run back and forth, as its two ends need not meet.
    """
    spectrum = np.abs(np.fft.rfft(np.concatenate([series, series[::-1]])))
    phases = np.exp(2j * math.pi * rng.random(spectrum.size))
    surrogate: Floats = np.fft.irfft(spectrum * phases, 2 * series.size)[: series.size]
    return surrogate - surrogate.mean()


def _smoothed(series: Floats, spread: Floats) -> Floats:
    """The series, which runs from 0 to 1, smoothed at each place by its own standard deviation."""
    places = np.linspace(0, 1, series.size)
    away = (places - places[:, None]) / np.maximum(spread, 1 / series.size)[:, None]
    weights = np.exp(-(away**2) / 2)
    smoothed: Floats = weights @ series / weights.sum(axis=1)
    return smoothed


def _walk(headings: Floats) -> Floats:
    """The points (n + 1, 2: x, y) reached from the origin by steps of 1 / (POINTS - 1) in these directions."""
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) / (POINTS - 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def _varied(widths: Floats, rng: np.random.Generator) -> Floats:
    """The widths, reversed half of the time, and smoothly varied."""
    if rng.random() < 0.5:
        widths = widths[::-1]
    knots = np.linspace(0, 1, WIDTH_KNOTS)
    noise = np.interp(np.linspace(0, 1, widths.size), knots, WIDTH_NOISE * rng.standard_normal(WIDTH_KNOTS))
    varied: Floats = widths * np.exp(noise)
    return varied / varied.mean()


def _rounded(widths: Floats, mean_width: float) -> Floats:
    """The widths of discs of these widths, put side by side along a straight line: rounded where they would jut out."""
    along = np.linspace(0, 1, widths.size)
    squares = (mean_width * widths / 2) ** 2 - (along - along[:, None]) ** 2
    rounded: Floats = np.sqrt(squares.max(axis=1))
    return rounded / rounded.mean()


def _line_moments(lines: Sequence[Line]) -> Floats:
    """The second moments (2 2) of the lines, weighted by their widths."""
    points = np.concatenate([line.points for line in lines])
    return np.cov(points.T, bias=True, aweights=np.concatenate([line.widths for line in lines]))


def _direction(moments: Floats) -> float:
    """The direction in which the second moments (2 2) are largest."""
    longest = np.linalg.eigh(moments)[1][:, 1]
    return math.atan2(longest[1], longest[0])


def _drawn(lines: Sequence[Line], length_px: float, area_px: int) -> Mask:
    """The lines at this length and area: a tight patch. The length gives way where single pixels are too many."""
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
    """An empty canvas with room for the area; its pixels near the lines (n: index); and their distance (n).

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
    """The pixels (n 2: y, x) of a line of single pixels, joined at least at their corners, along points (n 2: x, y)."""
    steps = np.abs(np.diff(points, axis=0)).max(axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.arange(0, max(along[-1], 1.0))
    return np.stack([np.rint(np.interp(places, along, part)) for part in points.T[::-1]], axis=1).astype(np.intp)


def _mean_width(length_px: float, area_px: float) -> float:
    """The width of a straight line with round ends that has this length, the ends not counted, and this area."""
    return 2 / math.pi * (math.sqrt(length_px**2 + math.pi * area_px) - length_px)


def _dense(line: Line, length_px: float) -> tuple[Floats, Floats]:
    """The line's points (n 2) in pixels, no more than SPACING_PX apart, and its relative widths (n)."""
    known = np.arange(len(line.points))
    count = 2 + math.ceil(length_px * (known.size - 1) / (POINTS - 1) / SPACING_PX)
    places = np.linspace(0, known.size - 1, count)
    points = np.stack([np.interp(places, known, part) for part in length_px * line.points.T], axis=1)
    return points, np.interp(places, known, line.widths)
