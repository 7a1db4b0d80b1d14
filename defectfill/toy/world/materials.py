"""Random materials: colours, two layers of texture, relief and gloss."""

import colorsys
from dataclasses import dataclass

import numpy as np

from defectfill.toy.maps import Floats, Generator, mix, single
from defectfill.toy.world.fields import band_noise, log_uniform, slopes, smooth_step
from defectfill.toy.world.textures import draw_texture

GREY_SHARE = 0.4
"""Share of the colours that are grey."""


@dataclass(frozen=True)
class Surface:
    """A flat piece of a material, before light falls on it."""

    albedo: Floats
    """[S, S, 3] share of the light that is thrown back, 0 to 1."""
    height: Floats
    """[S, S] in pixels."""
    gloss: float
    """Weight of the mirrored light, 0 to 1."""
    polish: float
    """How narrow the mirrored light is: about 1 (satin) to 8 (mirror)."""
    room: tuple[float, float, float]
    """What the surface mirrors of the room beside the lamp: a wave over its slope (x, y) and its phase."""


def draw_material(rng: Generator, size: int) -> Surface:
    """Return a random material, `size` pixels square."""
    base, contrast = draw_colour(rng), rng.uniform(0.1, 1) if rng.random() < 0.8 else 0.05
    first, second = draw_texture(rng, size), draw_texture(rng, size)
    albedo = mix(single(base)[None, None], _related(rng, base, contrast), _share(rng, first))
    if rng.random() < 0.5:
        albedo = mix(albedo, _related(rng, base, contrast), _share(rng, second) * np.float32(rng.uniform(0.2, 1)))
    else:
        albedo = albedo * np.clip(1 + np.float32(rng.uniform(0.02, 0.25)) * second, 0.1, 2)[..., None]
    tooth = band_noise(rng, size, log_uniform(rng, 1.2, 4))
    albedo = albedo * np.clip(1 + np.float32(log_uniform(rng, 0.01, 0.4)) * tooth, 0.1, 3)[..., None]
    relief = first if rng.random() < 0.6 else first + np.float32(rng.uniform(-1, 1)) * second
    steep = rng.uniform(0, 0.5) ** 2 * 2 if rng.random() < 0.7 else 0.0
    height = relief * np.float32(steep / max(float(slopes(relief)[0].std()), 1e-3))
    gloss = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
    room = (rng.normal(0, 4), rng.normal(0, 4), rng.uniform(0, 6.3))
    return Surface(np.clip(albedo, 0.004, 0.95), height, gloss, log_uniform(rng, 1, 8), room)


def draw_colour(rng: Generator) -> Floats:
    """Return a colour [3] in linear light, GREY_SHARE of them grey."""
    bright = log_uniform(rng, 0.02, 0.8)
    if rng.random() < GREY_SHARE:
        return single(bright * (1 + rng.normal(0, 0.02, 3)))
    hue = rng.random() if rng.random() < 0.5 else rng.uniform(0.02, 0.14)  # browns, tans and ochres are common
    full = single(colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 1), 1.0))
    return np.clip(full**2 * np.float32(bright / max(float((full**2).mean()), 0.2)), 0.003, 0.9)


def _related(rng: Generator, base: Floats, contrast: float) -> Floats:
    """Return a colour beside `base` in a material: mostly a lighter, darker or tinged one."""
    other = draw_colour(rng) if rng.random() < 0.25 else base * single(np.exp(rng.normal(0, 1) + rng.normal(0, 0.1, 3)))
    return np.clip(base * (other / base) ** np.float32(contrast), 0.003, 0.95)


def _share(rng: Generator, texture: Floats) -> Floats:
    """Return a layer's share [S, S], 0 to 1: soft, or with sharp edges."""
    hard = rng.random() < 0.35
    return smooth_step(texture, rng.uniform(-1, 1.5), rng.uniform(0.1, 0.6) if hard else rng.uniform(2, 6))
