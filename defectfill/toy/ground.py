"""What single parts lie on, and points scattered on a plane."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from defectfill.toy.maps import Floats, Generator, cloud, single, specks
from defectfill.toy.part import Lamp

POINTS = 64
"""Scattered points repeat after this many cells either way."""


def lay_on_ground(
    inside: Callable[[Floats, Floats], Floats], x: Floats, y: Floats, rise_by: float, lamp: Lamp, rng: Generator
) -> Floats:
    """Return linear light [H, W, 3] from paper, card or a mat, in the soft shadow of a part.

    `inside` is positive where the part is, at any x and y; `rise_by` is about its height.
    """
    towards_x, towards_y = math.cos(lamp.azimuth), math.sin(lamp.azimuth)
    reach, soft = rise_by * rng.uniform(0.5, 1), rng.uniform(0.02, 0.05)
    away = _distance(inside(x + single(reach * towards_x), y + single(reach * towards_y)))
    shadow = 1 / (1 + np.exp(-np.clip(away / single(soft), -20, 20)))
    contact = np.exp(np.minimum(_distance(inside(x, y)), 0) / single(0.4 * rise_by))
    tooth, patches, dust = cloud(rng, len(x), 90), cloud(rng, len(x), 3), specks(rng, len(x), 0.0006)
    tone = rng.uniform(0.35, 0.75) if rng.random() < 0.75 else rng.uniform(0.03, 0.15)
    light = tone * (1 + 0.012 * tooth + 0.025 * patches - 0.4 * dust)
    light *= 1 + lamp.falloff * (x * towards_x + y * towards_y)
    light *= (1 - rng.uniform(0.2, 0.55) * shadow) * (1 - 0.5 * contact)
    return light[..., None] * single(rng.normal((1, 0.99, 0.97), 0.03))


def _distance(inside: Floats) -> Floats:
    """Return each pixel's true distance to the edge where `inside` [H, W] changes its sign, positive inside."""
    within, beyond = (
        ndimage.distance_transform_edt(np.pad(inside > 0, 1, mode="edge") == side) for side in (True, False)
    )
    return single((within - beyond)[1:-1, 1:-1] * 2 / len(inside))


def nearest_points(
    u: Floats, v: Floats, moved: Floats, stagger: float = 0, aspect: float = 1
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Return distance to the nearest and second nearest of scattered points, and the nearest's number, [H, W] each.

    There is a point in every unit cell of u and v (0 or more), at `moved` [2, POINTS * POINTS] from the cell's corner.
    Every other row is moved by `stagger`; distances along v count `aspect` times. Numbers are below POINTS * POINTS.
    """
    row = np.floor(v).astype(np.int32)
    nearest = np.full_like(u, 9)
    second, owner = nearest.copy(), np.zeros(u.shape, dtype=np.int64)
    for down in (-1, 0, 1):
        off = single((row + down) % 2) * single(stagger)
        column = np.floor(u - off).astype(np.int32)
        for right in (-1, 0, 1):
            number = (row + down) % POINTS * POINTS + (column + right) % POINTS
            off_u = moved[0][number] + off + single(column + right) - u
            off_v = (moved[1][number] + single(row + down) - v) * single(aspect)
            away = off_u * off_u + off_v * off_v
            np.minimum(second, np.maximum(away, nearest), out=second)
            np.copyto(owner, number, where=away < nearest)
            np.minimum(nearest, away, out=nearest)
    return np.sqrt(nearest), np.sqrt(second), owner
