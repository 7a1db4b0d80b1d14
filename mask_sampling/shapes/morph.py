"""The morph sampler: shapes between two references, and a little beyond them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from mask_sampling import Mask, bounding_box, second_moments
from mask_sampling.shapes import (
    Floats,
    Shape,
    ShapeRequest,
    ShapeSettings,
    patch_area_px,
    rotation,
    turning,
)
from mask_sampling.shapes.reference import bent

BEYOND = 0.25
"""How far beyond either reference a shape may lie, as a share of the way between them."""
SOLID = 0.4
"""A solid shape fills at least this share of the ellipse that has its second moments."""
MAX_ELONGATION = 4.0
"""And is longer than wide by at most this."""
WORK_SIDE_PX = 160
"""Solid shapes are mixed on a square of this side, in which they have the same area."""
WORK_AREA = 0.1
"""And this share of the square."""
TINY_PX = 150
"""The pattern of a reference whose bounding box has no more pixels is one of thin lines, widened so that they stay
connected; its shapes are drawn smaller to make up for that."""
MAX_EXCESS = 1.3
"""If their area is larger than asked for by more than this factor."""
REDRAWS = 4
"""At most this often."""


def morph(
    references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator
) -> Mask:
    """Return a shape between the reference that is asked for and a random other, or a little beyond: a tight patch.

    Two solid ones are mixed as signed distances, turned alike and of one area. Thin ones would lose what makes
    them thin, so there the first keeps its line and takes over extent and slant, the second moments, of the mix.
    """
    like = references[request.like]
    other = references[int(rng.integers(len(references)))]
    share = float(rng.uniform(-BEYOND, 1 + BEYOND))
    if _is_solid(like.patch) and _is_solid(other.patch):
        patch, matrix = _mixed(like, other, share), np.eye(2)
    else:
        patch, matrix = like.patch, _moments_map(like, other, share)
    area_px = patch_area_px(like, request)
    scale = math.sqrt(area_px / (patch.sum() * abs(np.linalg.det(matrix))))
    matrix = scale * turning(like, request, settings, rng) @ matrix
    drawn = bent(patch, matrix, settings.elastic, rng)
    for _ in range(REDRAWS if like.patch.size <= TINY_PX else 0):
        excess = float(drawn.sum()) / area_px
        if excess <= MAX_EXCESS:
            break
        matrix = matrix / math.sqrt(excess)
        drawn = bent(patch, matrix, settings.elastic, rng)
    return drawn


def _is_solid(patch: Mask) -> bool:
    """Return whether the patch is no line and fills its ellipse; cracks, crosses and scattered pieces do not."""
    shorter, longer = np.sqrt(np.linalg.eigvalsh(second_moments(patch)))
    return bool(longer <= MAX_ELONGATION * shorter and patch.sum() >= SOLID * 4 * math.pi * shorter * longer)


def _moments_map(like: Shape, other: Shape, share: float) -> Floats:
    """Return the map [2, 2], of area 1, that brings `like`'s ellipse `share` of the way towards `other`'s."""
    turn = rotation(like.axis - other.axis)
    own, theirs = second_moments(like.patch), turn @ second_moments(other.patch) @ turn.T
    own, theirs = (each / math.sqrt(np.linalg.det(each)) for each in (own, theirs))
    wanted = _applied(np.exp, (1 - share) * _applied(np.log, own) + share * _applied(np.log, theirs))
    matrix: Floats = _applied(np.sqrt, wanted) @ np.linalg.inv(_applied(np.sqrt, own))
    return matrix


def _applied(function: Callable[[Floats], Floats], symmetric: Floats) -> Floats:
    """Return a function of a symmetric matrix: of its eigenvalues."""
    values, vectors = np.linalg.eigh(symmetric)
    result: Floats = vectors * function(values) @ vectors.T
    return result


def _mixed(like: Shape, other: Shape, share: float) -> Mask:
    """Return the two shapes mixed as signed distances, as they lie in `like`'s picture: about WORK_AREA."""
    from scipy.ndimage import label

    distances = [_signed_distance(shape, like.axis) for shape in (like, other)]
    most = max(int(label(distance > 0)[1]) for distance in distances)
    while True:
        field = (1 - share) * distances[0] + share * distances[1]
        mixed: Mask = field > np.quantile(field, 1 - WORK_AREA)
        if label(mixed)[1] <= most or abs(share) < 0.05:
            return mixed[bounding_box(mixed)]
        share /= 2


def _signed_distance(shape: Shape, axis: float) -> Floats:
    """Return the distance from the outline, above 0 inside, on the working square, the object's axis at `axis`."""
    from scipy.ndimage import distance_transform_edt, map_coordinates

    side = WORK_SIDE_PX
    inverse = rotation(shape.axis - axis) * math.sqrt(shape.patch.sum() / (WORK_AREA * side**2))
    y, x = np.nonzero(shape.patch)
    grid_y, grid_x = np.mgrid[:side, :side] - (side - 1) / 2
    source_x = inverse[0, 0] * grid_x + inverse[0, 1] * grid_y + x.mean()
    source_y = inverse[1, 0] * grid_x + inverse[1, 1] * grid_y + y.mean()
    inside = map_coordinates(shape.patch.astype(np.float64), [source_y, source_x], order=1) > 0.5
    distance: Floats = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return distance
