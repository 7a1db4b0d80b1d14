"""Outlines of marks: how far inside its edge each pixel of a picture lies, [S, S] in pixels, positive inside."""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from defectfill.toy.maps import Floats, Generator, single
from defectfill.toy.world.fields import log_uniform, octave_noise, pixels, smooth_noise

_STEP = 0.5
"""Pixels between the points of a line."""


def outline_line(rng: Generator, size: int) -> Floats:
    """Return the inside of a bent line of varying width, at times branched or broken."""
    width = log_uniform(rng, 0.6, 0.022 * size)
    middle = rng.uniform(0.2, 0.8, 2) * size
    strokes = [_stroke(rng, middle, rng.uniform(0, 6.3), rng.uniform(0.1, 0.8) * size, width, centred=True)]
    for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.6, 0.2, 0.12, 0.08]))):
        trunk = strokes[0]
        at = int(rng.integers(len(trunk)))
        ahead = trunk[min(at + 2, len(trunk) - 1)] - trunk[max(at - 2, 0)]
        heading = math.atan2(ahead[0], ahead[1]) + rng.choice([-1, 1]) * rng.uniform(0.3, 1.3)
        thin = max(0.5, trunk[at, 2] * rng.uniform(0.4, 0.9))
        strokes.append(_stroke(rng, trunk[at, :2], heading, rng.uniform(0.2, 0.6) * len(trunk) * _STEP, thin))
    inside = _inside_strokes(np.concatenate(strokes), size)
    return inside + np.float32(rng.uniform(0, 0.5) * width) * octave_noise(rng, size, 1.2)


def _stroke(
    rng: Generator, start: npt.NDArray[np.float64], heading: float, length: float, width: float, centred: bool = False
) -> npt.NDArray[np.float64]:
    """Return points [N, 3] of a line: row, column and half the line's width there; it tapers at its ends."""
    count = max(4, int(length / _STEP))
    along = np.linspace(0, 1, count)
    bends = rng.normal(0, 1.0) * along + np.cumsum(rng.normal(0, log_uniform(rng, 0.003, 0.06), count))
    if rng.random() < 0.35:  # a crack turns sharply
        bends += np.cumsum((rng.random(count) < 0.05) * rng.normal(0, 0.6, count))
    points = np.cumsum(np.stack([np.sin(heading + bends), np.cos(heading + bends)], axis=1) * _STEP, axis=0)
    points += start - (points[count // 2] if centred else 0)
    knots = np.linspace(0, 1, int(rng.integers(3, 12)))
    swell = np.interp(along, knots, np.exp(rng.normal(0, 0.35, len(knots))))
    taper = np.clip(np.minimum(along, 1 - along) / rng.uniform(0.02, 0.5), 0, 1) ** 0.5
    return np.column_stack([points, 0.5 * width + width * swell * taper / 2])


def _inside_strokes(points: npt.NDArray[np.float64], size: int) -> Floats:
    """Return how far inside lines of points [N, 3] each pixel lies."""
    spots = np.rint(points[:, :2]).astype(np.int64)
    seen = ((spots >= 0) & (spots < size)).all(axis=1)
    points, spots = points[seen], spots[seen]
    owner = np.full((size, size), -1)
    owner[spots[:, 0], spots[:, 1]] = np.arange(len(points))
    rows, columns = ndimage.distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    nearest = single(points)[owner[rows, columns]]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return single(nearest[..., 2] - np.hypot(y - nearest[..., 0], x - nearest[..., 1]))


def outline_spot(rng: Generator, size: int) -> Floats:
    """Return the inside of a small ragged spot, at times with smaller ones beside it."""
    radius, middle = log_uniform(rng, 0.015 * size, 0.09 * size), rng.uniform(-0.35, 0.35, 2) * size
    inside = _lump(rng, size, middle, radius)
    for _ in range(int(rng.choice([0, 1, 4], p=[0.75, 0.15, 0.1]))):
        beside = middle + rng.normal(0, 2.5 * radius, 2)
        inside = np.maximum(inside, _lump(rng, size, beside, radius * rng.uniform(0.15, 0.6)))
    return inside


def outline_patch(rng: Generator, size: int) -> Floats:
    """Return the inside of a larger area: a lump, a chip with straight sides, torn scraps or a strip."""
    reach, middle = rng.uniform(0.1, 0.26) * size, rng.uniform(-0.3, 0.3, 2) * size
    kind = rng.choice(["lump", "chip", "scraps", "strip"], p=[0.4, 0.25, 0.2, 0.15])
    if kind == "lump":
        return _lump(rng, size, middle, reach, ragged=rng.uniform(0.02, 0.3))
    x, y = pixels(size)
    x, y = x - np.float32(middle[1]), y - np.float32(middle[0])
    rough = np.float32(rng.uniform(0, 0.12) * reach) * octave_noise(rng, size, 1.3)
    if kind == "scraps":
        noise = smooth_noise(rng, size, reach * rng.uniform(0.3, 0.8))
        around = 1.4 - (x * x + y * y) / np.float32((1.2 * reach) ** 2)
        return np.float32(0.25 * reach) * np.minimum(noise + around - 0.7, around) + rough
    if kind == "strip":
        turn = rng.uniform(0, math.pi)
        along = x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn))
        across = y * np.float32(math.cos(turn)) - x * np.float32(math.sin(turn))
        half = np.float32(reach * rng.uniform(0.3, 0.5))
        return np.minimum(half - np.abs(across), np.float32(1.3 * reach) - np.abs(along)) + rough
    turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(2, 5)))) + np.array([0.0])
    turns = np.concatenate([turns, turns[:1] + math.pi, [turns[0] + math.pi / 2, turns[0] - math.pi / 2]])
    away = reach * rng.uniform(0.4, 1, len(turns))
    sides = [
        np.float32(off) - x * np.float32(math.cos(turn)) - y * np.float32(math.sin(turn))
        for turn, off in zip(turns, away, strict=True)
    ]
    return np.minimum.reduce(sides) + rough


def _lump(
    rng: Generator, size: int, middle: npt.NDArray[np.float64], radius: float, ragged: float | None = None
) -> Floats:
    """Return the inside of a rounded area about `middle` (y, x from the picture's middle), wavy and ragged."""
    x, y = pixels(size)
    x, y = x - np.float32(middle[1]), y - np.float32(middle[0])
    turn, stretch = rng.uniform(0, math.pi), np.float32(log_uniform(rng, 1, 2) ** 0.5)
    along = (x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn))) / stretch
    across = (y * np.float32(math.cos(turn)) - x * np.float32(math.sin(turn))) * stretch
    bearing, edge = np.arctan2(across, along), np.ones_like(x)
    for count in range(2, 6):
        edge += np.float32(rng.normal(0, 0.09)) * np.cos(count * bearing + np.float32(rng.uniform(0, 6.3)))
    rough = radius * (rng.uniform(0, 0.15) if ragged is None else ragged)
    return (
        np.float32(radius) * np.maximum(edge, 0.4)
        - np.hypot(along, across)
        + np.float32(rough) * octave_noise(rng, size, 1.3)
    )
