"""Eight kinds of random texture: fields [S, S] of mean 0 and deviation 1, at any scale."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defectfill.toy.ground import POINTS, nearest_points
from defectfill.toy.maps import Floats, Generator, single
from defectfill.toy.world.fields import (
    band_noise,
    log_uniform,
    octave_noise,
    pixels,
    smooth_noise,
    smooth_step,
    standard,
    turned_pixels,
)


def _isotropic(rng: Generator, size: int) -> Floats:
    """Draw noise of one scale, smooth or grainy."""
    scale = log_uniform(rng, 1.2, size / 3)
    field = (smooth_noise if rng.random() < 0.5 else band_noise)(rng, size, scale)
    return _toned(rng, field)


def _anisotropic(rng: Generator, size: int) -> Floats:
    """Draw fibres: noise much longer than wide; at times of two widths."""
    angle = rng.uniform(0, math.pi) if rng.random() < 0.65 else rng.integers(2) * math.pi / 2
    stretch = log_uniform(rng, 3, 60)
    field = smooth_noise(rng, size, log_uniform(rng, 0.8, size / 12), stretch, angle)
    if rng.random() < 0.6:
        field = field + rng.uniform(0.3, 1) * smooth_noise(rng, size, log_uniform(rng, 0.8, 4), stretch / 2, angle)
    return _toned(rng, field)


def _octaves(rng: Generator, size: int) -> Floats:
    """Draw noise of all scales: plain, or folded so that it has veins."""
    stretch = 1 if rng.random() < 0.6 else log_uniform(rng, 1.5, 6)
    field = octave_noise(rng, size, rng.uniform(0.7, 2.2), stretch, rng.uniform(0, math.pi))
    if rng.random() < 0.3:
        field = -(np.abs(field) ** np.float32(rng.uniform(0.4, 1)))
    return standard(field)


def _cells(rng: Generator, size: int) -> Floats:
    """Draw cells round scattered points: flat ones, domed ones or the walls between them."""
    nearest, second, owner = scattered(rng, size, log_uniform(rng, 4, size / 4), rng.uniform(0.3, 0.5))
    tones = single(rng.standard_normal(POINTS * POINTS))[owner]
    walls = smooth_step(second - nearest, 0.08, rng.uniform(0.06, 0.3))
    kind = rng.integers(4)
    if kind == 0:
        return standard(tones + np.float32(rng.uniform(0, 0.3)) * walls)
    if kind == 1:
        return standard(walls + np.float32(rng.uniform(0, 0.3)) * tones)
    return standard((second - nearest if kind == 2 else -nearest) + np.float32(rng.uniform(0, 0.2)) * tones)


def _weave(rng: Generator, size: int) -> Floats:
    """Draw threads over and under each other, in plain, twill or basket weave."""
    pitch = log_uniform(rng, 3, size / 8)
    u, v = turned_pixels(rng, size, bend=rng.uniform(0, 0.5) * pitch)
    u, v = u / np.float32(pitch) + 500, v / np.float32(pitch * rng.uniform(0.7, 1.4)) + 500
    column, row = u.astype(np.int32), v.astype(np.int32)
    over = int(rng.integers(1, 4))
    group = 1 if rng.random() < 0.7 else 2
    on_top = (column // group + row // group * int(rng.choice([1, -1]))) % (over + int(rng.integers(1, 3))) < over
    along, across = (np.cos(np.float32(np.pi) * (at - single(number) - 0.5)) for at, number in ((u, column), (v, row)))
    round_off = np.float32(rng.uniform(0.2, 0.8))
    relief = np.where(
        on_top, along * (1 - round_off + round_off * across), across * (1 - round_off + round_off * along)
    )
    tones = single(rng.standard_normal((2, 1024))) * np.float32(rng.uniform(0.05, 0.3))
    tones[1] += np.float32(rng.normal(0, 0.4))
    return standard(relief + np.where(on_top, tones[0][column % 1024], tones[1][row % 1024]))


def _leaves(rng: Generator, size: int) -> Floats:
    """Draw dead leaves: flat ellipses and boxes of all sizes, each hiding what is below it."""
    x, y = pixels(size)
    field = np.full((size, size), rng.standard_normal(), dtype=np.float32)
    smallest = log_uniform(rng, 1.5, 8)
    largest = max(size * rng.uniform(0.08, 0.3), 1.5 * smallest)
    count = int(rng.integers(40, 130))
    radii = 1 / np.sqrt(rng.uniform(1 / largest**2, 1 / smallest**2, count))
    boxes, slim, tilt = rng.random() < 0.4, rng.uniform(0.3, 1), np.float32(rng.uniform(0, 0.05))
    turned = rng.uniform(0, math.pi, count) if rng.random() < 0.6 else np.full(count, rng.uniform(0, math.pi))
    for radius, angle, (down, right), tone in zip(
        np.sort(radii)[::-1], turned, rng.uniform(0, size, (count, 2)), rng.standard_normal(count), strict=True
    ):
        reach = radius * 1.42
        rows = slice(max(0, int(down - reach)), int(down + reach) + 2)
        columns = slice(max(0, int(right - reach)), int(right + reach) + 2)
        off_x, off_y = x[0, columns] - (right - size / 2), (y[rows, 0] - (down - size / 2))[:, None]
        along = (off_x * math.cos(angle) + off_y * math.sin(angle)) / radius
        across = (off_y * math.cos(angle) - off_x * math.sin(angle)) / (radius * slim)
        inside = (np.abs(along) < 1) & (np.abs(across) < 1) if boxes else along**2 + across**2 < 1
        field[rows, columns][inside] = (tone + tilt * radius * across)[inside]
    return standard(field)


def _spots(rng: Generator, size: int) -> Floats:
    """Draw spots on an even ground: round ones of many sizes, or the peaks of noise."""
    if rng.random() < 0.5:
        field = band_noise(rng, size, log_uniform(rng, 2, size / 8))
        return standard(smooth_step(field, rng.uniform(0.8, 2.4), rng.uniform(0.2, 0.8)))
    nearest, _, owner = scattered(rng, size, log_uniform(rng, 4, size / 4), 0.35)
    radii = single(rng.uniform(0.05, 0.45, POINTS * POINTS) * (rng.random(POINTS * POINTS) < rng.uniform(0.2, 1)))
    return standard(smooth_step(radii[owner] - nearest, 0, rng.uniform(0.1, 0.4)) * (radii[owner] > 0))


def _ridges(rng: Generator, size: int) -> Floats:
    """Draw straight, bent or circular ridges side by side, and scratches across them."""
    x, y = turned_pixels(rng, size, bend=rng.uniform(0, 4) if rng.random() < 0.4 else 0)
    if rng.random() < 0.3:
        off_x, off_y = rng.uniform(-0.7, 0.7, 2) * size
        y, x = np.hypot(x - np.float32(off_x), y - np.float32(off_y)), x + y
    profile = _profile(rng, 4 * size)
    field = profile[np.clip((y + size) * 2, 0, 4 * size - 1).astype(np.int32)]
    if rng.random() < 0.5:
        field = field * (1 + np.float32(rng.uniform(0.1, 0.6)) * smooth_noise(rng, size, log_uniform(rng, 4, size / 2)))
    for _ in range(int(rng.integers(0, 12))):
        u, v = turned_pixels(rng, size)
        middle, offset, length = rng.uniform(-0.5, 0.5, 3) * size
        fading = np.clip(1 - np.abs(u - np.float32(middle)) / np.float32(abs(length) + 1), 0, 1)
        across = np.clip(1.5 - np.abs(v - np.float32(offset)) / np.float32(rng.uniform(0.5, 1.5)), 0, 1)
        field = field + np.float32(rng.normal(0, 3)) * fading * across
    return standard(field)


def _profile(rng: Generator, count: int) -> Floats:
    """Return heights [count] across ridges, half a pixel apart: even waves, or lines of random height and width."""
    steps = np.arange(count, dtype=np.float32) / 2
    if rng.random() < 0.4:
        wave = np.sin(2 * np.pi * steps / np.float32(log_uniform(rng, 2.5, count / 24)))
        return single(np.sign(wave) * np.abs(wave) ** np.float32(log_uniform(rng, 0.2, 2)))
    profile = np.zeros(count, dtype=np.float32)
    for scale in (log_uniform(rng, 1, 3), log_uniform(rng, 1, count / 40)):
        knots = np.arange(0, count / 2 + scale, scale)
        profile += single(np.interp(steps, knots, rng.standard_normal(len(knots))))
    return np.sign(profile) * np.abs(profile) ** np.float32(rng.uniform(0.6, 2))


def scattered(rng: Generator, size: int, pitch: float, jitter: float) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Return distance to the nearest and second nearest of scattered points, and the nearest's number, [S, S] each.

    Points lie `pitch` pixels apart on a turned and stretched grid, each moved by up to `jitter` of that (0 to 0.5).
    Distances are in pitches; numbers are below 64 * 64.
    """
    u, v = turned_pixels(rng, size, bend=rng.uniform(0, 0.4) * pitch if rng.random() < 0.3 else 0)
    u, v = u / np.float32(pitch) + 1024, v / np.float32(pitch * rng.uniform(0.6, 1)) + 1024
    moved = single(rng.uniform(0.5 - jitter, 0.5 + jitter, (2, POINTS * POINTS)))
    return nearest_points(u, v, moved)


def _toned(rng: Generator, field: Floats) -> Floats:
    """Return `field`, at times with its bright or its dark side drawn out."""
    if rng.random() < 0.6:
        return standard(field)
    return standard(np.exp(np.float32(rng.choice([-1, 1]) * rng.uniform(0.3, 1)) * field))


TEXTURES: dict[str, Callable[[Generator, int], Floats]] = {
    "isotropic": _isotropic,
    "anisotropic": _anisotropic,
    "octaves": _octaves,
    "cells": _cells,
    "weave": _weave,
    "leaves": _leaves,
    "spots": _spots,
    "ridges": _ridges,
}
"""Kind -> what draws such a texture of a size in pixels."""


def draw_texture(rng: Generator, size: int) -> Floats:
    """Return a texture [S, S] of any kind, mean 0 and deviation 1."""
    kinds = list(TEXTURES.values())
    return kinds[int(rng.integers(len(kinds)))](rng, size)
