"""From a part to its photograph: light, lens, sensor."""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from defectfill.toy.maps import Floats, Generator, grid, mix, single
from defectfill.toy.part import Part

GLARE = 0.006
"""Light that strays inside the lens, on the scale of `light`: no pixel is quite black."""
KNEE = 0.7
"""From here on the camera holds highlights back: 0.95 is the most it records."""


def light(part: Part) -> Floats:
    """Return the linear light [H, W, 3], about 0 to 1, that part and ground send up to the camera.

    Each lamp adds a dull share, which follows the slope of the height, and a glossy lobe around the mirror
    direction. A lobe narrow along the grain and wide across it is the bow tie seen on every turned face.
    """
    slope_y, slope_x = np.gradient(part.height, 2 / len(part.height))
    (grain_x, grain_y), (x, y) = part.grain, grid(len(part.height))
    ridges = (1 - part.matte) * part.material.ridges * part.fibres
    tilt_x, tilt_y = -slope_x - ridges * grain_y, -slope_y + ridges * grain_x  # of the surface normal
    upright = 1 / np.sqrt(1 + tilt_x**2 + tilt_y**2)
    dull, glossy = 0.10 + 0.07 * upright, np.zeros_like(upright)
    for lamp in part.lamps:
        towards_x, towards_y, lamp_z = math.cos(lamp.azimuth), math.sin(lamp.azimuth), math.sin(lamp.elevation)
        lamp_x, lamp_y = towards_x * math.cos(lamp.elevation), towards_y * math.cos(lamp.elevation)
        halfway = 1 / math.sqrt(2 + 2 * lamp_z)  # between lamp and camera, which looks straight down
        strength = lamp.strength * (1 + lamp.falloff * (x * towards_x + y * towards_y))
        dull += 0.17 * strength * np.maximum((tilt_x * lamp_x + tilt_y * lamp_y + lamp_z) * upright, 0)
        off_x, off_y = lamp_x * halfway - tilt_x * upright, lamp_y * halfway - tilt_y * upright
        along = (off_x * grain_x + off_y * grain_y) / (part.material.lobe[0] + 0.40 * part.matte)
        across = (off_y * grain_x - off_x * grain_y) / part.material.lobe[1]
        glossy += strength * (1 - 0.85 * part.matte) * np.exp(-(along**2) - across**2)
    face = (part.material.dull * dull + part.material.gloss * glossy)[..., None] * part.albedo
    return mix(part.backdrop, face, part.cover)


def photograph(scene: Floats, rng: Generator) -> npt.NDArray[np.uint8]:
    """Return the 8-bit picture [H, W, 3] a modest camera takes of linear light: soft, vignetted, tinged and noisy."""
    size_px = len(scene)
    x, y = grid(size_px)
    exposure = rng.normal(1, 0.05) * (1 - rng.uniform(0.04, 0.12) * (x**2 + y**2))
    blur_px = rng.uniform(0.5, 0.75) * size_px / 256
    balance = single(rng.normal(1, 0.015, 3))
    grain = rng.uniform(0.6, 1.3)
    seen = ndimage.gaussian_filter(scene, (blur_px, blur_px, 0)) * exposure[..., None] * balance + GLARE
    grey, colour = (rng.standard_normal((size_px, size_px, depth), dtype=np.float32) for depth in (1, 3))
    seen += grain * np.sqrt(1.6e-4 * np.maximum(seen, 0) + 1e-6) * (0.8 * grey + 0.4 * colour)
    rolled_off = np.where(seen > KNEE, KNEE + 0.25 * np.tanh((seen - KNEE) / 0.25), np.maximum(seen, 0))
    levels = np.round(255 * rolled_off ** (1 / 2.2))
    return np.asarray(levels, dtype=np.uint8)
