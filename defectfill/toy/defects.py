"""Damage to the face of any part; the part's material decides the light from what is broken, grooved or torn."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from defectfill.toy.maps import Floats, Generator, bump, cloud, grid, mix, rise, single
from defectfill.toy.part import Part

LIQUIDS = (
    (0.42, 0.27, 0.15),  # coffee
    (0.26, 0.24, 0.22),  # old oil
    (0.60, 0.28, 0.10),  # rust
    (0.22, 0.30, 0.55),  # ink
    (0.50, 0.16, 0.16),  # wine
    (0.34, 0.40, 0.18),  # mould
)
"""Share of the light (red, green, blue) that a full layer lets through."""
POWDERS = ((0.80, 0.79, 0.76), (0.62, 0.66, 0.60), (0.72, 0.66, 0.50))
"""Share of the light thrown back by what dries up pale: lime, mould, glue."""


def dig_hole(part: Part, rng: Generator) -> Part:
    """Return `part` with a hole: a ragged blob, rough and dark inside, with a raised and torn rim."""
    size_px, stuff = len(part.height), part.material
    radius = rng.uniform(0.045, 0.095)
    middle = _spot(part, rng, margin=1.3 * radius)
    ragged = 0.22 * cloud(rng, size_px, 1.2 / radius) + 0.10 * cloud(rng, size_px, 3 / radius)
    reach = radius * (1 + np.clip(ragged, -0.5, 0.4)) + stuff.fray * np.clip(part.fibres, -1, 2)
    inside = single(reach - _distance_along_grain(part, middle, rng))
    depth = np.clip(inside / (0.45 * radius), 0, 1) ** 0.7
    rubble = cloud(rng, size_px, 0.4 * 128)
    splinters = cloud(rng, size_px, 30)
    torn = part.cover * rise(inside + stuff.rim * (0.4 + 0.8 * splinters), 0, 0.35 * stuff.rim)
    floor = np.clip(1 + 0.35 * rubble, 0, 3)[..., None] * single(stuff.pit)
    deep = part.cover * rise(single(depth), 0.05, 0.75)
    return replace(
        part,
        height=part.height + part.cover * (0.008 * bump(inside / 0.025) - 0.05 * depth * (1 + 0.25 * rubble)),
        matte=np.maximum(part.matte, np.clip(3 * depth + torn, 0, 1)),
        albedo=mix(mix(part.albedo, stuff.torn, torn), floor, deep),
    )


def draw_scratch(part: Part, rng: Generator) -> Part:
    """Return `part` with a scratch: a thin bent groove with burred edges, here deep, there shallow."""
    size_px, stuff = len(part.height), part.material
    distance, along = _distance_to(_stroke(_spot(part, rng, margin=0.1), rng, size_px), size_px)
    pressure = np.abs(np.sin(np.pi * along)) ** 0.5 * np.clip(0.8 + 0.3 * _wander(along, rng), 0.3, 1)
    width = max(stuff.gash * rng.uniform(0.009, 0.016), 2 / size_px) * (0.5 + 0.5 * pressure)
    width = width * np.clip(1 + 12 * stuff.fray * part.fibres, 0.6, 1.6)
    cut = part.cover * pressure * bump(distance / width)
    burr = part.cover * pressure * bump(1.5 * (distance / width - 1))
    return replace(
        part,
        height=part.height - 0.005 * cut + 0.002 * burr,
        matte=np.maximum(part.matte, cut),
        albedo=mix(mix(part.albedo, stuff.torn, 0.7 * burr), stuff.groove, np.clip(1.3 * cut, 0, 1)),
    )


def spill_stain(part: Part, rng: Generator) -> Part:
    """Return `part` with a stain: a soft-edged blot, darker where it dried up, at times with drops beside it.

    A liquid darkens what is bright; on what is dark anyway something pale has dried.
    """
    size_px, stuff = len(part.height), part.material
    radius, edge = rng.uniform(0.09, 0.17), rng.uniform(0.25, 0.7)
    middle = _spot(part, rng, margin=radius)
    ragged = 0.25 * cloud(rng, size_px, 0.7 / radius) + 0.07 * cloud(rng, size_px, 3 / radius)
    inside = 1 + np.clip(ragged, -0.35, 0.6) - _distance_along_grain(part, middle, rng) / radius
    inside = single(inside + 0.9 * stuff.fray / radius * np.clip(part.fibres, -1, 2))
    for drop in rng.uniform((-1, -1, 0.02), (1, 1, 0.05), (rng.integers(4), 3)):
        away = np.hypot(*(grid(size_px) - middle[:, None, None] - 2 * radius * single(drop[:2])[:, None, None]))
        inside = np.maximum(inside, (single(drop[2]) - away) / radius)
    layer = part.cover * rise(inside, 0, edge) * np.clip(0.8 + 0.15 * cloud(rng, size_px, 9), 0.4, 1.1)
    layer += part.cover * rng.uniform(0, 0.5) * bump(inside / edge - 1)
    bright = float(part.albedo[layer > 0.3].mean()) if (layer > 0.3).any() else 1.0
    liquid, powder = single(LIQUIDS[rng.integers(len(LIQUIDS))]), POWDERS[rng.integers(len(POWDERS))]
    density = rng.uniform(0.7, 1.1)
    wet = part.albedo * liquid ** (density * layer)[..., None]
    dry = mix(part.albedo, powder, np.clip(0.75 * density * layer, 0, 0.9))
    return replace(
        part,
        matte=np.clip(part.matte + rng.uniform(-0.1, 0.4) * layer, 0, 1),
        albedo=wet if bright > 0.12 else dry,
    )


def _distance_along_grain(part: Part, middle: Floats, rng: Generator) -> Floats:
    """Return each pixel's distance to `middle` (x, y); along the grain it counts less by the material's stretch."""
    size_px = len(part.height)
    column, row = np.clip((middle + 1) * size_px / 2, 0, size_px - 1).astype(int)
    grain_x, grain_y = part.grain[:, row, column].tolist()
    stretch = rng.uniform(1, part.material.stretch) ** 0.5
    x, y = grid(size_px) - middle[:, None, None]
    return np.hypot((x * grain_x + y * grain_y) / stretch, (y * grain_x - x * grain_y) * stretch)


def _spot(part: Part, rng: Generator, margin: float) -> Floats:
    """Return a point (x, y) on the face, drawn evenly from those `margin` or more from its edge and the picture's."""
    clear = ndimage.distance_transform_edt(np.pad(part.cover > 0.99, 1))[1:-1, 1:-1] * 2 / len(part.cover)
    rows, columns = np.nonzero(clear >= min(margin, clear.max()))
    chosen = int(rng.random() * len(rows))
    return single((2 * np.array([columns[chosen], rows[chosen]]) + 1) / len(clear) - 1)


def _wander(along: npt.NDArray[Any], rng: Generator) -> Floats:
    """Return a random polyline of deviation 1 over 0 to 1, at `along`."""
    return single(np.interp(along, np.linspace(0, 1, 9), rng.standard_normal(9)))


def _stroke(middle: Floats, rng: Generator, size_px: int) -> Floats:
    """Return points [N, 2] half a pixel apart on a gently bent line around `middle`."""
    along = np.linspace(0, 1, int(rng.uniform(0.35, 0.9) * size_px) + 1)
    heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.7) * along + 0.08 * _wander(along, rng)
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) / size_px, axis=0)
    return single(middle + points - points[len(points) // 2])


def _distance_to(stroke: Floats, size_px: int) -> tuple[Floats, Floats]:
    """Return each pixel's distance to the stroke, infinite from 0.1 on, and how far along (0 to 1) it is met."""
    distance, nearest = KDTree(stroke).query(grid(size_px).reshape(2, -1).T, distance_upper_bound=0.1)
    along = np.minimum(nearest / len(stroke), 1)
    return single(distance).reshape(size_px, size_px), single(along).reshape(size_px, size_px)
