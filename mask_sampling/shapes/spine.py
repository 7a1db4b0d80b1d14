"""The line that a reference is drawn along: its skeleton's longest path, the widths along it, its side branches."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask
from mask_sampling.shapes import MIN_WIDTH_PX, Floats, Shape

WORK_SIDE_PX = 200
"""Longer references are looked at in blocks, so that they have at most this many along the longer side."""
POINTS = 200
"""A line is learnt and drawn as this many points, evenly spaced."""
SMOOTHING_PX = 1.5
"""Lines along a skeleton are smoothed by this standard deviation at least, to rid them of the pixels' steps."""
SMOOTHING_WIDTHS = 0.4
"""And by this many of their widths, below which a skeleton follows the roughness of the outline."""
STUB_WIDTHS = 1.5
"""A side branch counts when it goes beyond the main line's outline by this many of its widths there."""
SLENDER = 3.0
"""Curvature is learnt from lines that are this many times as long as wide."""
TANGENT_PX = 5
"""The main line's direction at a branch is taken from so many steps along the skeleton to either side."""


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
    """The main line of a reference's largest piece."""

    area_px: float
    """Of the piece."""
    length_px: float
    """Of the main line, between the ends of the skeleton."""
    headings: Floats
    """[POINTS - 1]: the main line's directions, in radians around their mean."""
    widths: Floats
    """[POINTS]: the widths along it, relative to their mean."""
    branches: tuple[Branch, ...]


def spine(shape: Shape) -> Spine:
    """Return the spine of the reference's largest piece, by its skeleton."""
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
    """Return the largest piece of a mask in blocks, with a margin, the blocks' side, and the piece's area in pixels.

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
    """Return the indices of the pixels [n, 2] on the way between two that are as far apart as any, along the others.

    Ways count times their depth [n], so that a wide line comes before a thin branch that is a little longer.
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
    """Return the index of the largest distance that is finite."""
    return int(np.where(np.isfinite(distances), distances, -1).argmax())


def _branches(skeleton: Mask, depth: Floats, path: NDArray[np.int_], length: float) -> tuple[Branch, ...]:
    """Return the parts of the skeleton that go well beyond the outline of the main line `path` ([n, 2]: y, x)."""
    from scipy.ndimage import distance_transform_edt, find_objects, label

    main = np.zeros_like(skeleton)
    main[tuple(path.T)] = True
    away, nearest = distance_transform_edt(~main, return_indices=True)
    beyond = away - depth[tuple(nearest)]
    pieces, count = label(skeleton & (beyond > 0), np.ones((3, 3)))
    widths = depth[tuple(path.T)]
    found = []
    for number, box in enumerate(find_objects(pieces, count), start=1):
        pixels = np.argwhere(pieces[box] == number) + [part.start for part in box]
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
