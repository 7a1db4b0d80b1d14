"""A scene of random materials: ground, shapes on top, light, shadows and a camera."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from defectfill.toy.maps import Floats, Generator, mix, single
from defectfill.toy.world.fields import blur, log_uniform, pixels, slopes
from defectfill.toy.world.materials import Surface, draw_material
from defectfill.toy.world.shapes import draw_shape

SHAPES_SHARES = (0.3, 0.35, 0.2, 0.15)
"""Shares of scenes with none, one, two and three shapes."""
GREY_PICTURES = 0.25
"""Share of the pictures taken by a camera without colour."""


@dataclass(frozen=True)
class _Lamp:
    x: float
    y: float
    z: float
    """Direction towards the lamp, of length 1."""
    ambient: float
    """Share of the light that comes from everywhere."""


def draw_scene(rng: Generator, size: int) -> npt.NDArray[np.uint8]:
    """Return a picture [S, S, 3] of a random scene; the same generator state gives the same picture."""
    lamp = _draw_lamp(rng)
    light = _shade(draw_material(rng, size), None, lamp)
    x, y = pixels(size)
    for _ in range(int(rng.choice(4, p=SHAPES_SHARES))):
        inside, rounding = draw_shape(rng, x, y)
        light = _put(rng, light, inside, rounding, lamp)
    return _photograph(rng, light * _falloff(rng, size)[..., None])


def draw_swatch(rng: Generator, size: int) -> Floats:
    """Return a flat piece of a random material [S, S, 3] under random light, as a picture in [0, 1]."""
    light = _shade(draw_material(rng, size), None, _draw_lamp(rng))
    light *= np.float32(log_uniform(rng, 0.04, 0.6) / max(float(light.mean()), 1e-3))
    return single(np.clip(light, 0, 1) ** np.float32(1 / 2.2))


def _draw_lamp(rng: Generator) -> _Lamp:
    azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1.4)
    flat = math.cos(elevation)
    return _Lamp(flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation), rng.uniform(0.1, 0.6))


def _shade(surface: Surface, shape: Floats | None, lamp: _Lamp) -> Floats:
    """Return linear light [S, S, 3] from a surface that follows a shape's height [S, S]."""
    slope_x, slope_y = slopes(surface.height if shape is None else surface.height + shape)
    upright = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    towards = (np.float32(lamp.z) - slope_x * np.float32(lamp.x) - slope_y * np.float32(lamp.y)) * upright
    dull = np.float32(lamp.ambient) * (1 + upright) / 2 + np.float32(1 - lamp.ambient) * np.maximum(towards, 0)
    light = surface.albedo * dull[..., None]
    if surface.gloss > 0:
        halfway = 1 / math.sqrt(2 + 2 * lamp.z)
        off_x = np.float32(lamp.x * halfway) + slope_x * upright
        off_y = np.float32(lamp.y * halfway) + slope_y * upright
        mirrored = np.exp(np.float32(-surface.polish) * (off_x * off_x + off_y * off_y) * 4)
        wave_x, wave_y, phase = (np.float32(value) for value in surface.room)
        mirrored += np.float32(0.15) * (1 + np.sin(wave_x * slope_x * upright + wave_y * slope_y * upright + phase))
        tint = np.float32(0.5) * (surface.albedo + np.float32(0.3))
        light += np.float32(surface.gloss) * mirrored[..., None] * tint
    return single(light)


def _put(rng: Generator, below: Floats, inside: Floats, rounding: float, lamp: _Lamp) -> Floats:
    """Return light [S, S, 3] with a shape of a new material above `below`, or sunk into it."""
    size = len(below)
    sunk = rng.random() < 0.2
    depth = np.clip(inside / np.float32(rounding), 0, 1)
    height = np.float32((-1 if sunk else 1) * rounding * rng.uniform(0.3, 1)) * np.sqrt(depth * (2 - depth))
    reach = rng.uniform(0, 0.08) * size
    shifted = _shifted(inside, round(-lamp.x * reach), round(-lamp.y * reach))
    soft = np.float32(log_uniform(rng, 2, 0.12 * size))
    dark = np.float32(rng.uniform(0, 0.75))
    if sunk:
        shadow = np.clip(0.5 - shifted / soft, 0, 1)
    else:
        below = below * (1 - dark * np.clip(0.5 + shifted / soft, 0, 1))[..., None]
    if rng.random() < 0.5:  # little light gets into the corner between shape and ground
        below = below * (1 - np.float32(rng.uniform(0.1, 0.7)) * np.clip(1 + inside / (soft / 2), 0, 1) ** 2)[..., None]
    rows, columns = _bounds(inside)
    span = min(size, max(rows.stop - rows.start, columns.stop - columns.start, 8))
    rows, columns = (slice(min(at.start, size - span), min(at.start, size - span) + span) for at in (rows, columns))
    face = _shade(draw_material(rng, span), height[rows, columns], lamp)
    if sunk:
        face *= (1 - dark * shadow[rows, columns])[..., None]
    out = below.copy()
    out[rows, columns] = mix(out[rows, columns], face, np.clip(inside[rows, columns] + np.float32(0.5), 0, 1))
    return out


def _shifted(field: Floats, right: int, down: int) -> Floats:
    """Return a field moved by whole pixels, its border repeated."""
    steps = np.arange(len(field))
    return field[np.clip(steps - down, 0, len(field) - 1)][:, np.clip(steps - right, 0, len(field) - 1)]


def _bounds(inside: Floats) -> tuple[slice, slice]:
    """Return rows and columns of the picture that a shape reaches into."""
    found = inside > -1
    spans = []
    for axis in (1, 0):
        where = np.flatnonzero(found.any(axis=axis))
        spans.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1))
    return spans[0], spans[1]


def _falloff(rng: Generator, size: int) -> Floats:
    """Return the light's strength [S, S]: stronger towards one side, weaker in the corners."""
    x, y = (field / np.float32(size / 2) for field in pixels(size))
    turn, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5) ** 2 * 2
    side = 1 + np.float32(fall * math.cos(turn)) * x + np.float32(fall * math.sin(turn)) * y
    return single(np.maximum(side, 0.1) * (1 - np.float32(rng.uniform(0, 0.25)) * (x * x + y * y) / 2))


def _photograph(rng: Generator, light: Floats) -> npt.NDArray[np.uint8]:
    """Return the 8-bit picture [S, S, 3]: exposed, blurred, noisy; at times grey."""
    size = len(light)
    grey = rng.random() < GREY_PICTURES
    if grey:
        light = (light @ single([0.3, 0.59, 0.11]))[..., None]
    middle = float(light[:: max(1, size // 64), :: max(1, size // 64)].mean())
    light = light * np.float32(log_uniform(rng, 0.06, 0.45) / max(middle, 1e-3))
    if rng.random() < 0.75:
        light = blur(light, rng.uniform(0.35, 0.9) if rng.random() < 0.85 else rng.uniform(0.9, 2))
    light = np.maximum(light, 0)
    grain = np.float32(log_uniform(rng, 2e-3, 3e-2))
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light += grain * np.sqrt(light + np.float32(0.004)) * noise * np.float32(0.7)
    # highlights are held back, shadows are never quite black
    codes = np.clip(light * np.float32(2047 / 1.6) + np.float32(2), 0, 2047).astype(np.int16)
    picture = _tone_curve()[codes]
    return np.repeat(picture, 3, axis=2) if grey else picture


@lru_cache(maxsize=1)
def _tone_curve() -> npt.NDArray[np.uint8]:
    """Return levels [2048] of linear light from 0 to 1.6: gamma, and a shoulder from 0.7 on."""
    light = np.linspace(0, 1.6, 2048)
    held = np.where(light > 0.7, 0.7 + 0.28 * np.tanh((light - 0.7) / 0.28), light)
    return np.round(255 * held ** (1 / 2.2)).astype(np.uint8)
