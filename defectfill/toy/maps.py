"""Maps [H, W] that parts are made of: coordinates, noise, soft edges.

Noise takes one child of the generator per map, however many numbers that map needs: what is drawn after it
does not depend on the size of the picture.
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

Floats: TypeAlias = npt.NDArray[np.float32]
Generator: TypeAlias = np.random.Generator


def single(values: npt.ArrayLike) -> Floats:
    """Return `values` as 32-bit floats."""
    return np.asarray(values, dtype=np.float32)


def grid(size_px: int) -> Floats:
    """Return x and y of every pixel's centre, [2, H, W]."""
    steps = (2 * np.arange(size_px, dtype=np.float32) + 1) / size_px - 1
    return np.stack(np.meshgrid(steps, steps))


def turned(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    """Return coordinates along and across a direction at `angle` (radians from x towards y)."""
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def coverage(inside: Floats) -> Floats:
    """Return the share of each pixel inside a shape, from the distance to its edge (positive inside)."""
    return np.clip(inside * (len(inside) / 2) + 0.5, 0, 1)


def bump(offset: Floats) -> Floats:
    """Return 1 at offset 0, falling smoothly to exactly 0 at -1 and 1."""
    return np.clip(1 - offset * offset, 0, 1) ** 2


def rise(values: Floats, start: float, end: float) -> Floats:
    """Return 0 up to `start`, 1 from `end` on, smooth between."""
    share = np.clip((values - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def mix(below: Floats, above: npt.ArrayLike, share: Floats) -> Floats:
    """Return colours `below` [H, W, 3] with `above`, [3] or [H, W, 3], laid over them by `share` [H, W]."""
    return below + share[..., None] * (single(above) - below)


def cloud(rng: Generator, size_px: int, cells: float) -> Floats:
    """Return smooth noise [H, W] of mean 0 and deviation 1, about `cells` patches across, never finer than 2.5 px."""
    cells = min(cells, size_px / 2.5)
    nodes = np.arange(-2, math.ceil(cells) + 3)
    weights = np.exp(-(((np.linspace(0, cells, size_px)[:, None] - nodes) / 0.7) ** 2))
    weights[weights < 0.01] = 0
    spread = sparse.csr_array(single(weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))))
    coarse = rng.spawn(1)[0].standard_normal((len(nodes), len(nodes)), dtype=np.float32)
    return single(spread @ (spread @ coarse).T)


def streaks(rng: Generator, along: Floats, across: Floats, count: tuple[float, float]) -> Floats:
    """Return noise [H, W] of deviation about 1 that is long along one coordinate and fine across it.

    One unit of `along` and of `across` holds `count` patches, and is where the noise repeats. Finer than a
    pixel or so it turns into grain; callers bound the count by the picture's size.
    """
    rows, columns = max(2, round(count[0])), max(2, round(count[1]))
    table = rng.spawn(1)[0].standard_normal((rows, columns), dtype=np.float32)
    places = np.stack([along * rows, across * columns])
    return 1.5 * single(ndimage.map_coordinates(table, places, order=1, mode="grid-wrap", prefilter=False))


def hairlines(rng: Generator, x: Floats, y: Floats, count: int, width: float) -> Floats:
    """Return faint straight lines [H, W], each fading towards its ends, 0 to about 1."""
    lines = np.zeros_like(x)
    for angle, offset, middle, length, depth in rng.uniform(
        (-np.pi, -0.7, -0.5, 0.1, 0.2), (np.pi, 0.7, 0.5, 0.5, 1), (count, 5)
    ):
        along, across = turned(x, y, angle)
        lines += (
            float(depth) * bump((across - single(offset)) / width) * bump((along - single(middle)) / single(length))
        )
    return lines


def specks(rng: Generator, size_px: int, share: float) -> Floats:
    """Return dust [H, W], 0 to about 1: grains of about a hundredth of the picture on about `share` of it."""
    level = math.sqrt(2 * math.log(1 / (4 * share)))
    return np.clip(2 * (cloud(rng, size_px, 100) - level), 0, 1)
