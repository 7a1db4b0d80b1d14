"""Random shapes: how far inside their edge each pixel lies, and how high they stand there."""

import math
from collections.abc import Callable

import numpy as np

from defectfill.toy.maps import Floats, Generator, single
from defectfill.toy.world.fields import log_uniform

Outline = Callable[[Floats, Floats], Floats]
"""Distance in pixels to the edge, positive inside, from x and y in pixels from the shape's middle."""


def _ellipse(rng: Generator, reach: float) -> Outline:
    slim = rng.uniform(0.4, 1)
    return lambda x, y: np.float32(reach * slim) * (1 - np.hypot(x / np.float32(reach), y / np.float32(reach * slim)))


def _ring(rng: Generator, reach: float) -> Outline:
    inner = reach * rng.uniform(0.3, 0.9)

    def inside(x: Floats, y: Floats) -> Floats:
        radius = np.hypot(x, y)
        return np.minimum(np.float32(reach) - radius, radius - np.float32(inner))

    return inside


def _box(rng: Generator, reach: float) -> Outline:
    half_x, half_y = reach, reach * rng.uniform(0.08, 1)
    corner = min(half_y, half_x) * rng.uniform(0, 0.9)

    def inside(x: Floats, y: Floats) -> Floats:
        off_x, off_y = np.abs(x) - np.float32(half_x - corner), np.abs(y) - np.float32(half_y - corner)
        beyond = np.hypot(np.maximum(off_x, 0), np.maximum(off_y, 0))
        return np.float32(corner) - beyond - np.minimum(np.maximum(off_x, off_y), 0)

    return inside


def _polygon(rng: Generator, reach: float) -> Outline:
    count = int(rng.integers(3, 9))
    even = rng.random() < 0.5
    turns = np.arange(count) * 2 * math.pi / count + (0 if even else rng.uniform(-0.5, 0.5, count))
    away = reach * (np.full(count, 0.85) if even else rng.uniform(0.5, 1, count))

    def inside(x: Floats, y: Floats) -> Floats:
        sides = [
            np.float32(off) - x * np.float32(math.cos(turn)) - y * np.float32(math.sin(turn))
            for turn, off in zip(turns, away, strict=True)
        ]
        return np.minimum.reduce(sides)

    return inside


def _blob(rng: Generator, reach: float) -> Outline:
    return _round(reach * 0.7, [(n, rng.normal(0, 0.25 / n), rng.uniform(0, 6.3)) for n in range(2, 7)])


def _gear(rng: Generator, reach: float) -> Outline:
    return _round(reach * 0.8, [(int(rng.integers(5, 24)), rng.uniform(0.03, 0.2), rng.uniform(0, 6.3))])


def _round(radius: float, waves: list[tuple[int, float, float]]) -> Outline:
    def inside(x: Floats, y: Floats) -> Floats:
        bearing = np.arctan2(y, x)
        edge = np.ones_like(x)
        for count, depth, phase in waves:
            edge += np.float32(depth) * np.cos(np.float32(count) * bearing + np.float32(phase))
        return np.float32(radius) * np.maximum(edge, 0.2) - np.hypot(x, y)

    return inside


def _half(rng: Generator, reach: float) -> Outline:
    return lambda x, y: y + np.float32(0.4 * reach)


def _bar(rng: Generator, reach: float) -> Outline:
    half = reach * rng.uniform(0.04, 0.4)
    return lambda x, y: np.float32(half) - np.abs(y)


def _turned(rng: Generator, reach: float) -> Outline:
    """Draw a part from a lathe, seen from the side: a shaft with steps, cones and threads."""
    steps = np.arange(1024, dtype=np.float32)
    knots = np.sort(rng.uniform(0, 1024, 6))
    widths = rng.uniform(0.12, 0.4, 7)
    radius = widths[np.searchsorted(knots, steps)]
    if rng.random() < 0.5:
        radius = np.interp(steps, knots, widths[:6])
    start, end = np.sort(rng.uniform(0, 1024, 2))
    pitch = 1024 / (2 * reach) * log_uniform(rng, 4, max(5, reach / 2.5))
    thread = np.abs((steps / pitch) % 1 - 0.5) * 2
    sharp = log_uniform(rng, 0.5, 5)
    radius = radius * np.where((start < steps) & (steps < end), 0.75 + 0.4 * thread**sharp, 1)
    table, lead = single(radius * reach), rng.uniform(0, 0.6) * pitch
    length = reach * (3 if rng.random() < 0.5 else rng.uniform(0.6, 1))

    def inside(x: Floats, y: Floats) -> Floats:
        place = (x / np.float32(reach) + 1) * 512 + y * np.float32(lead / (0.5 * reach))
        edge = table[np.clip(place, 0, 1023).astype(np.int32)]
        return np.minimum(edge - np.abs(y), np.float32(length) - np.abs(x))

    return inside


SHAPES: dict[str, Callable[[Generator, float], Outline]] = {
    "ellipse": _ellipse,
    "ring": _ring,
    "box": _box,
    "polygon": _polygon,
    "blob": _blob,
    "gear": _gear,
    "half": _half,
    "bar": _bar,
    "turned": _turned,
}
"""Kind -> what draws a shape of about that radius in pixels."""


def draw_shape(rng: Generator, x: Floats, y: Floats) -> tuple[Floats, float]:
    """Return how far inside a random shape each pixel is [S, S], and the radius that its edge is rounded with.

    x and y [S, S] are pixels from the picture's middle. At times the shape is repeated on a grid.
    """
    size = len(x)
    kinds = list(SHAPES)
    kind = kinds[int(rng.integers(len(kinds)))]
    reach = size * (rng.uniform(0.12, 0.55) if kind != "turned" else rng.uniform(0.3, 0.8))
    angle, (right, down) = rng.uniform(0, 2 * math.pi), rng.uniform(-0.4, 0.4, 2) * size
    x, y = x - np.float32(right), y - np.float32(down)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x, y = x * cos + y * sin, y * cos - x * sin
    if rng.random() < 0.15 and kind not in ("half", "turned"):
        reach *= 0.25
        pitch_x, pitch_y = (np.float32(2 * reach * rng.uniform(1.1, 2.5)) for _ in range(2))
        x = (x + 100.5 * pitch_x) % pitch_x - pitch_x / 2
        y = (y + 100.5 * pitch_y) % pitch_y - pitch_y / 2 if rng.random() < 0.7 else y
    inside = SHAPES[kind](rng, reach)(x, y)
    deepest = max(float(inside.max()), 1.0)
    full = kind == "turned" or rng.random() < 0.3
    return inside, deepest if full else min(log_uniform(rng, 0.7, 20), deepest)
