"""A part as light, camera and damage need to know it."""

import math
from dataclasses import dataclass
from typing import TypeAlias

from defectfill.toy.maps import Floats, Generator

Colour: TypeAlias = tuple[float, float, float]
"""Shares of red, green and blue light, linear, 0 to 1; a fresh groove may throw back more."""


@dataclass(frozen=True)
class Lamp:
    """A lamp far away."""

    azimuth: float
    """Direction in which it stands, in radians from x towards y."""
    elevation: float
    """Radians above the ground."""
    strength: float
    falloff: float
    """Gain of its light per half picture width towards it."""


@dataclass(frozen=True)
class Material:
    """The material of a part: its reflection of light, and its way of breaking."""

    dull: float
    """Weight of the light thrown back whichever way."""
    gloss: float
    """Weight of the light mirrored."""
    lobe: tuple[float, float]
    """Widths of the mirrored light along and across the grain, about 0.1 (polished) to 0.5."""
    ridges: float
    """Slope of the fibres' flanks, per unit of Part.fibres."""
    fray: float
    """Length by which damage runs out along single fibres, per unit of Part.fibres."""
    stretch: float
    """How many times longer than wide damage is along the grain, 1 or more."""
    pit: Colour
    """Share of the light thrown back from inside a hole."""
    groove: Colour
    """The same from within a scratch."""
    torn: Colour
    """The same from the torn edge of a hole or scratch."""
    rim: float
    """Width of that edge."""
    gash: float
    """How many times wider than in metal a scratch is."""


@dataclass(frozen=True)
class Part:
    """A part on its ground, before light falls on it; maps are [H, W] unless said otherwise."""

    cover: Floats
    """Share of the pixel that is the part's face, 0 to 1."""
    height: Floats
    grain: Floats
    """[2, H, W] unit vector (x, y) along the fibres: machining marks, wood fibres, threads, ribs."""
    fibres: Floats
    """Noise of deviation about 1, that changes from fibre to fibre and little along them."""
    matte: Floats
    """0 as the material's lobe says; 1 torn: dull whichever way."""
    albedo: Floats
    """[H, W, 3] share of the light that is thrown back, 0 to 1."""
    backdrop: Floats
    """[H, W, 3] linear light from the ground and the side walls, seen where the face is not."""
    material: Material
    lamps: tuple[Lamp, ...]


def hang_lamps(rng: Generator) -> tuple[Lamp, Lamp]:
    """Return a main lamp in any direction and a weaker one about opposite."""
    azimuth = rng.uniform(-math.pi, math.pi)
    main = Lamp(azimuth, rng.uniform(0.8, 1.1), rng.uniform(0.85, 1.1), rng.uniform(0.05, 0.22))
    fill = Lamp(azimuth + rng.normal(2.5, 0.4), rng.uniform(0.65, 0.9), rng.uniform(0.2, 0.55), rng.uniform(0, 0.2))
    return main, fill


def colour(values: Floats) -> Colour:
    """Return an array of three as a Colour."""
    red, green, blue = values.tolist()
    return red, green, blue
