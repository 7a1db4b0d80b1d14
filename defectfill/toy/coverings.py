"""Coverings that fill the picture: leather, glazed tiles."""

import math

import numpy as np
import numpy.typing as npt

from defectfill.toy.ground import POINTS, nearest_points
from defectfill.toy.maps import (
    Floats,
    Generator,
    bump,
    cloud,
    coverage,
    grid,
    mix,
    rise,
    single,
    specks,
    streaks,
    turned,
)
from defectfill.toy.part import Material, Part, colour, hang_lamps

HIDES = (
    (0.30, 0.13, 0.055),  # cognac
    (0.12, 0.055, 0.03),  # brown
    (0.035, 0.033, 0.033),  # black
    (0.45, 0.31, 0.19),  # natural
    (0.28, 0.04, 0.035),  # red
    (0.06, 0.09, 0.16),  # navy
    (0.22, 0.20, 0.17),  # taupe
    (0.55, 0.50, 0.43),  # cream
    (0.08, 0.12, 0.07),  # green
)
GLAZES = (
    (0.72, 0.71, 0.68),  # white
    (0.55, 0.47, 0.36),  # sand
    (0.30, 0.31, 0.32),  # grey
    (0.05, 0.055, 0.06),  # anthracite
    (0.33, 0.14, 0.08),  # terracotta
    (0.12, 0.25, 0.33),  # blue
    (0.20, 0.32, 0.22),  # green
    (0.45, 0.42, 0.40),  # stone
)


def tan_leather(rng: Generator, size_px: int) -> Part:
    """Return leather that fills the picture; hide, grain, wrinkles, colour and light vary."""
    lamps, heading = hang_lamps(rng), rng.uniform(-np.pi, np.pi)
    x, y = grid(size_px)
    u, v = turned(x, y, heading)
    folds = cloud(rng, size_px, rng.uniform(4, 8))
    count = min(rng.uniform(16, 38), size_px / 5.5)  # pebbles across the picture: none finer than 5.5 px
    stretch = rng.uniform(1, 1.5)
    bent_u, bent_v = (at + single(rng.uniform(0.2, 0.6) / count) * cloud(rng, size_px, 14) for at in (u, v))
    moved = single(rng.uniform(0.1, 0.9, (2, POINTS * POINTS)))
    nearest, second, owner = nearest_points(
        single((bent_u + 1.6) * (count / 2 / stretch)), single((bent_v + 1.6) * (count / 2)), moved
    )
    valleys = 1 - rise(second - nearest, 0, rng.uniform(0.15, 0.35))
    along, across = single(u / 4 + 0.5), single(v / 2 + 0.5 + 0.03 * folds)
    creases = bump(streaks(rng, along, across, (7, 16)) / single(rng.uniform(0.15, 0.3)))
    creases *= rng.uniform(0, 1) * rise(cloud(rng, size_px, 3), 0, 1.5)
    pores = np.clip(cloud(rng, size_px, 80) - rng.uniform(1.2, 2), 0, 1)
    dome = np.clip(1 - nearest**2, 0, 1)
    hide = single(HIDES[rng.integers(len(HIDES))]) * single(rng.normal(1, 0.04, 3)) * rng.uniform(0.8, 1.2)
    tones = single(rng.standard_normal(POINTS * POINTS))[owner]
    worn = 1 + rng.uniform(0.02, 0.10) * cloud(rng, size_px, 4) + 0.03 * tones + 0.05 * cloud(rng, size_px, 60)
    worn *= 1 - rng.uniform(0.12, 0.35) * np.maximum(valleys, creases) - 0.3 * pores
    relief = single(0.5 / count) * (1.5 * dome - 0.9 * valleys) * rng.uniform(0.6, 1.6)
    return Part(
        cover=np.ones_like(u),
        height=relief - 0.012 * creases + 0.012 * folds - 0.003 * pores,
        grain=np.stack([np.full_like(u, math.cos(heading)), np.full_like(u, math.sin(heading))]),
        fibres=tones,
        matte=np.clip(0.2 + 0.4 * valleys + 0.05 * tones, 0, 1),
        albedo=np.clip(worn, 0.1, 2)[..., None] * hide,
        backdrop=np.zeros((size_px, size_px, 3), dtype=np.float32),
        material=_hide(hide, rng),
        lamps=lamps,
    )


def _hide(hide: Floats, rng: Generator) -> Material:
    undyed = rng.uniform(0.12, 0.25) * single((1, 0.8, 0.6))
    pale = single(np.clip(0.5 * hide + undyed, 0, 0.8))
    return Material(
        dull=2.4,
        gloss=rng.uniform(0.3, 1.2),
        lobe=(0.25, 0.3),
        ridges=0.0,
        fray=0.006,
        stretch=1.4,
        pit=colour(0.12 * pale),
        groove=colour(pale if hide.mean() < 0.12 else single(0.15) * hide),
        torn=colour(pale),
        rim=0.016,
        gash=1.7,
    )


def lay_tiles(rng: Generator, size_px: int) -> Part:
    """Return glazed tiles with joints that fill the picture; format, bond, glaze, joints and light vary."""
    lamps, heading = hang_lamps(rng), rng.integers(4) * math.pi / 2 + rng.normal(0, 0.12)
    x, y = grid(size_px)
    u, v = turned(x, y, heading)
    width, share = rng.uniform(0.55, 1.4), rng.choice([1, 0.5, 0.33])
    inside, number, across = _bond(u, v, width, width * share, rng.choice([0, 0.5]) if share < 1 else 0.0, rng)
    joint = rng.uniform(0.012, 0.03)
    face = coverage(inside - single(joint))
    brim = np.clip(1 - (inside - single(joint)) / single(rng.uniform(0.02, 0.05)), 0, 1) ** 2
    glaze, waves, tones = _glaze(u, v, number, rng), cloud(rng, size_px, 7), single(rng.standard_normal(4096))[number]
    tilt = single(rng.normal(0, 0.02, (2, 4096)))
    sand, dirt = cloud(rng, size_px, 110), cloud(rng, size_px, 6)
    mortar = rng.uniform(0.10, 0.55) * (1 + 0.12 * sand + rng.uniform(0.05, 0.2) * dirt)
    mortar = np.clip(mortar, 0.02, 0.8)[..., None] * single(rng.normal((1, 0.97, 0.92), 0.03))
    dust = specks(rng, size_px, 0.0006)
    fired = glaze * (1 + 0.03 * tones + 0.02 * waves - 0.25 * brim - 0.3 * dust)[..., None]
    return Part(
        cover=np.ones_like(u),
        height=face * (0.02 - 0.012 * brim + 0.0015 * waves + across[0] * tilt[0][number] + across[1] * tilt[1][number])
        + (1 - face) * 0.002 * sand,
        grain=np.stack([np.full_like(u, math.cos(heading)), np.full_like(u, math.sin(heading))]),
        fibres=0.5 * waves,
        matte=np.clip(1 - face + rng.uniform(0, 0.5), 0, 1),
        albedo=mix(single(mortar), np.clip(fired, 0.01, 0.9), face),
        backdrop=np.zeros((size_px, size_px, 3), dtype=np.float32),
        material=_ceramic(glaze, rng),
        lamps=lamps,
    )


def _bond(
    u: Floats, v: Floats, width: float, depth: float, shift: float, rng: Generator
) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Return how far inside its tile each point lies, the tile's number below 4096, and u, v (2, H, W) in the tile.

    Every other row is moved by `shift` of a tile's width.
    """
    v = (v + single(rng.uniform(8, 9))) / single(depth)
    row = np.floor(v)
    u = (u + single(rng.uniform(8, 9))) / single(width) + single(shift) * (row % 2)
    column = np.floor(u)
    across = np.stack([(u - column - 0.5) * single(width), (v - row - 0.5) * single(depth)])
    sides = 0.5 * single((width, depth))[:, None, None] - np.abs(across)
    return sides.min(axis=0), (row * 37 + column).astype(np.int64) % 4096, across


def _glaze(u: Floats, v: Floats, number: npt.NDArray[np.int64], rng: Generator) -> Floats:
    """Return the colour (H, W, 3) of tiles: even, speckled, veined like marble or clouded like slate."""
    size_px, style = len(u), int(rng.integers(4))
    base, other = (single(GLAZES[chosen]) * single(rng.normal(1, 0.04, 3)) for chosen in rng.choice(len(GLAZES), 2))
    patches = streaks(rng, u / 6 + single(0.173) * (number % 64), v / 6 + single(0.311) * (number % 61), (30, 30))
    fine, grit = cloud(rng, size_px, 20), cloud(rng, size_px, 70)
    veins = bump(single((patches + 0.4 * fine) / rng.uniform(0.15, 0.4)))
    layers = (
        0.1 * fine,
        rise(grit, rng.uniform(0.2, 1.2), 1.6),
        rng.uniform(0.3, 0.9) * veins + 0.1 * fine,
        np.clip(0.3 + 0.25 * patches + 0.12 * grit, 0, 1),
    )
    return mix(single(base)[None, None], other, np.clip(layers[style], 0, 1)) * (1 + 0.02 * grit)[..., None]


def _ceramic(glaze: Floats, rng: Generator) -> Material:
    body = single((0.50, 0.36, 0.26)) if rng.random() < 0.5 else single((0.6, 0.57, 0.52))
    return Material(
        dull=2.3,
        gloss=rng.uniform(0.1, 0.8),
        lobe=(0.16, 0.18),
        ridges=0.0,
        fray=0.0,
        stretch=1.0,
        pit=colour(0.25 * body),
        groove=colour(body * rng.uniform(1, 1.3) if glaze.mean() < 0.15 else body * rng.uniform(0.06, 0.15)),
        torn=colour(body),
        rim=0.02,
        gash=1.4,
    )
