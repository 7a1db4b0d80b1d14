"""The blob sampler: thresholded noise around an ellipse, as large, slanted and rough as the reference."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, bounding_box, second_moments
from mask_sampling.shapes import Floats, Shape, ShapeRequest, ShapeSettings, patch_area_px, turning

AMPLITUDES = (0.05, 0.1, 0.15, 0.22, 0.33)
"""Standard deviations of the noise to choose from, over the radius of a disc of the same area."""
OCTAVES = ((0.9, 1.0), (0.45, 0.5), (0.22, 0.25))
"""Distances between the noise's bumps, over that radius, and how strong each is."""
BUMP_WIDTH = 0.6
"""Standard deviation of a bump over the distance between bumps."""
REACH = 1.6
"""No blob goes beyond its ellipse, enlarged by this factor."""
ROUGHNESS_SIDE_PX = 100
"""Roughness is compared at about this size."""
MARGIN = 3.0
"""The blob is drawn in full in the box in which it was found at that size, and this many of its pixels around."""
SMALLEST_PIECE = 0.03
"""Pieces of a reference with less than this share of its area are not followed."""
AREA_ERROR = 0.01
"""Noise that closes a ring around a large hole misses the area by more than this share: another is taken."""
CLEANINGS = 6
"""Crumbs and holes are taken out, and their area made up for, at most this often."""

Singles = NDArray[np.float32]


def blob(references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator) -> Mask:
    """Return a blob with the reference's size, slant, elongation and roughness, in as many pieces: a tight patch.

    Every piece is an ellipse with the second moments of the reference's; one noise is added to all.
    """
    like = references[request.like]
    area_px = max(1, round(patch_area_px(like, request)))
    matrix = turning(like, request, settings, rng) * math.sqrt(area_px / like.patch.sum())
    ellipses = [(matrix @ centre, matrix @ moments @ matrix.T) for centre, moments in _pieces(like.patch)]
    reach = np.array([centre + sign * _reach(moments) for centre, moments in ellipses for sign in (-1, 1)])
    low, size = reach.min(axis=0) - 1 - rng.random(2), np.ptp(reach, axis=0) + 3
    radius_px = math.sqrt(area_px / math.pi)
    bumps = [rng.standard_normal(np.ceil(size / (radius_px * spacing)).astype(int) + 3) for spacing, _ in OCTAVES]

    def cut(x: Floats, y: Floats, amplitude: float, requested_px: int) -> Mask:
        """Return the blob with noise of this amplitude, seen at these positions along x and y only."""
        envelope = _envelope(x + low[0], y + low[1], ellipses) / radius_px
        noise = _noise(x / radius_px, y / radius_px, bumps)
        return _cut(envelope.astype(np.float32) + np.float32(amplitude) * noise, requested_px, len(ellipses))

    step_px = max(1.0, float(size.max()) / ROUGHNESS_SIDE_PX)
    x, y = (np.arange(0, length, step_px) for length in size)
    small = {each: cut(x, y, each, max(1, round(area_px / step_px**2))) for each in AMPLITUDES}
    wanted = _roughness(_shrunk(like.patch))
    for amplitude in sorted(AMPLITUDES, key=lambda each: abs(math.log(_roughness(small[each]) / wanted))):
        drawn = small[amplitude]
        if step_px > 1:
            rows, columns = bounding_box(drawn)
            drawn = cut(_finely(x[columns], step_px), _finely(y[rows], step_px), amplitude, area_px)
        if abs(drawn.sum() - area_px) <= AREA_ERROR * area_px:
            break
    return drawn[bounding_box(drawn)]


def _finely(positions: Floats, step_px: float) -> Floats:
    """Return positions one pixel apart, from MARGIN steps before the first to MARGIN steps after the last."""
    return np.arange(positions[0] - MARGIN * step_px, positions[-1] + MARGIN * step_px)


def _pieces(patch: Mask) -> list[tuple[Floats, Floats]]:
    """Return the centre (x, y) and second moments [2, 2] of a mask's pieces that matter, the largest first."""
    from scipy.ndimage import find_objects, label

    pieces, _ = label(patch, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    boxes = find_objects(pieces)
    found = []
    for number in np.argsort(-sizes, kind="stable"):
        if sizes[number] < SMALLEST_PIECE * sizes.sum():
            break
        rows, columns = boxes[number]
        piece = pieces[rows, columns] == number + 1
        y, x = np.nonzero(piece)
        found.append((np.array([x.mean() + columns.start, y.mean() + rows.start]), second_moments(piece)))
    return found


def _reach(moments: Floats) -> Floats:
    """Return how far a blob may go from the centre of its ellipse in x and y."""
    reach: Floats = REACH * 2 * np.sqrt(np.diag(moments))
    return reach


def _envelope(x: Floats, y: Floats, ellipses: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Return roughly the distance in pixels [H, W] into the nearest of the ellipses, below 0 outside."""
    fields = []
    for (centre_x, centre_y), moments in ellipses:
        inverse = np.linalg.inv(4 * moments)
        dx, dy = x - centre_x, (y - centre_y)[:, None]
        radius = np.sqrt(inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2)
        fields.append((1 - radius) * 2 * np.linalg.det(moments) ** 0.25)
    envelope: Floats = np.max(fields, axis=0)
    return envelope


def _noise(x: Floats, y: Floats, bumps: Sequence[Floats]) -> Singles:
    """Return smooth noise [H, W] of standard deviation about 1; x and y in radii."""
    total = np.zeros((y.size, x.size), dtype=np.float32)
    for (spacing, strength), heights in zip(OCTAVES, bumps, strict=True):
        along_x, along_y = (
            np.exp(-((line[:, None] / spacing + 1 - np.arange(count)) ** 2) / (2 * BUMP_WIDTH**2)).astype(np.float32)
            for line, count in zip((x, y), heights.shape, strict=True)
        )
        total += np.float32(strength) * (along_y @ heights.T.astype(np.float32) @ along_x.T)
    total /= np.float32(math.sqrt(math.pi) * BUMP_WIDTH * math.hypot(*(strength for _, strength in OCTAVES)))
    return total


def _cut(field: Singles, area_px: int, count: int) -> Mask:
    """Return the `area_px` highest pixels of the field that make at most `count` pieces without holes."""
    field = field.copy()
    kept = np.zeros(field.shape, dtype=np.bool_)
    for _ in range(CLEANINGS):
        highest = _highest(field, area_px)
        kept = _largest(highest, count)
        changed = highest != kept
        if not changed.any():
            break
        field[changed] = np.where(kept[changed], np.inf, -np.inf)
    return kept


def _highest(field: Singles, count: int) -> Mask:
    """Return the `count` highest pixels of the field."""
    highest = np.zeros(field.size, dtype=np.bool_)
    highest[np.argpartition(field.ravel(), -min(count, field.size))[-count:]] = True
    return highest.reshape(field.shape)


def _largest(mask: Mask, count: int) -> Mask:
    """Return the `count` largest pieces of a mask, their holes filled."""
    from scipy.ndimage import label

    pieces, _ = label(mask, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    chosen = np.zeros(sizes.size, dtype=np.bool_)
    chosen[np.argsort(-sizes, kind="stable")[:count]] = True
    chosen[0] = False
    outside, _ = label(np.pad(~chosen[pieces], 1, constant_values=True))
    filled: Mask = outside[1:-1, 1:-1] != outside[0, 0]
    return filled


def _roughness(mask: Mask) -> float:
    """Return the area of the convex hull of the largest piece over its own: 1 for a disc, more for a rough outline."""
    from scipy.spatial import ConvexHull

    piece = _largest(mask, 1)
    piece = piece[bounding_box(piece)]
    rows = np.arange(piece.shape[0])
    left, right = piece.argmax(axis=1), piece.shape[1] - piece[:, ::-1].argmax(axis=1)
    corners = [np.stack([row, side], axis=1) for row in (rows, rows + 1) for side in (left, right)]
    return float(ConvexHull(np.concatenate(corners)).volume) / float(piece.sum())


def _shrunk(patch: Mask) -> Mask:
    """Return the patch at about the size at which roughness is compared, never empty."""
    side = ROUGHNESS_SIDE_PX / REACH
    step = max(1.0, max(patch.shape) / side)
    if step == 1:
        return patch
    y, x = (np.arange(0, length, step).astype(int) for length in patch.shape)
    shrunk = patch[y[:, None], x]
    return shrunk if shrunk.any() else patch
