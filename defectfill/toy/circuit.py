"""A printed circuit board: traces, vias and pads under and beside solder mask, legends, a few parts."""

import math

import numpy as np

from defectfill.toy.maps import Floats, Generator, cloud, coverage, grid, mix, single, specks, turned
from defectfill.toy.part import Lamp, Material, Part, colour, hang_lamps
from defectfill.toy.wiring import NODES, lay_out

MASKS = (
    (0.022, 0.105, 0.045),  # green
    (0.010, 0.050, 0.030),  # dark green
    (0.020, 0.055, 0.190),  # blue
    (0.220, 0.020, 0.022),  # red
    (0.016, 0.016, 0.018),  # black
    (0.580, 0.580, 0.560),  # white
)
"""Solder masks over bare laminate; over copper they are lighter."""
FINISHES = ((0.58, 0.57, 0.55), (0.60, 0.43, 0.19), (0.52, 0.30, 0.18))
"""Tin, gold, bare copper."""


def print_circuit(rng: Generator, size_px: int) -> Part:
    """Return a piece of a circuit board that fills the picture; layout, scale, colours and light vary."""
    lamps, heading = hang_lamps(rng), rng.integers(4) * math.pi / 2 + rng.normal(0, 0.06)
    x, y = grid(size_px)
    layout = lay_out(rng)
    pitch = rng.uniform(0.085, 0.125)
    shift = rng.uniform(-0.5, 0.5, 2)
    u, v = (at / single(pitch) + single((NODES - 1) / 2) for at in turned(x, y, heading))
    u, v = u + single(shift[0]), v + single(shift[1])
    traces = _capsules(layout.traces, u, v)
    pads, bodies = _boxes(layout.pads, u, v, 0.08), _boxes(layout.bodies, u, v, 0.05)
    rings, holes = _circles(layout.rings, u, v, 2), _circles(layout.rings, u, v, 3)
    plane = rng.random() < 0.4
    clearance = single(rng.uniform(0.2, 0.35))
    copper = np.maximum.reduce([traces, pads, rings])
    if plane:
        copper = np.maximum(copper, -copper - clearance)
    bare = np.maximum(pads + single(0.05), rings + single(0.02))
    legend = np.minimum(_capsules(layout.legends, u, v), -bare)
    shares = [coverage(inside * single(pitch)) for inside in (copper, bare, legend, holes, bodies)]
    return _finish(rng, size_px, (u, v), shares, bodies * single(pitch), lamps, heading)


def _finish(
    rng: Generator,
    size_px: int,
    uv: tuple[Floats, Floats],
    shares: list[Floats],
    body_inside: Floats,
    lamps: tuple[Lamp, ...],
    heading: float,
) -> Part:
    """Return the board whose shares of copper, bare metal, legend, holes and cases (H, W) are known."""
    copper, bare, legend, holes, bodies = shares
    mask = single(MASKS[rng.choice(6, p=(0.45, 0.15, 0.14, 0.1, 0.1, 0.06))]) * single(rng.normal(1, 0.06, 3))
    metal = single(FINISHES[rng.choice(3, p=(0.5, 0.4, 0.1))]) * rng.uniform(0.85, 1.1)
    fine = min(1.0, size_px / 256)
    glass = np.sin(uv[0] * single(9 * fine)) * np.sin(uv[1] * single(9 * fine))
    grain, patches, dust = cloud(rng, size_px, 90), cloud(rng, size_px, 5), specks(rng, size_px, 0.0008)
    solder = cloud(rng, size_px, 30)
    lighter = single(rng.uniform(1.35, 2.2)) * mask + single((0.012, 0.012, 0.004))
    albedo = mix(mask * (1 + 0.10 * glass + 0.05 * patches)[..., None], lighter, copper)
    albedo = mix(albedo, metal * (1 + 0.06 * grain + 0.08 * solder)[..., None], bare)
    ink = single((0.66, 0.66, 0.63)) if mask.mean() < 0.4 else single((0.03, 0.03, 0.03))
    albedo = mix(albedo, ink, legend * np.clip(0.95 + 0.1 * grain, 0, 1))
    albedo = mix(albedo, (0.008, 0.007, 0.006), holes)
    shadow = np.exp(np.minimum(body_inside, 0) / single(0.03))
    albedo = albedo * single(1 - 0.5 * shadow)[..., None]
    case = single(rng.uniform(0.02, 0.05)) * (1 + 0.15 * grain)[..., None] * np.ones(3, np.float32)
    albedo = mix(albedo, case, bodies) + 0.15 * dust[..., None]
    rounded = np.clip(body_inside / single(0.02), 0, 1)
    height = (
        0.004 * copper + 0.004 * bare * (1 + 0.5 * solder) - 0.03 * holes + 0.03 * bodies * rounded + 0.003 * patches
    )
    return Part(
        cover=np.ones_like(copper),
        height=single(height + 0.0003 * grain),
        grain=np.stack([np.full_like(copper, math.cos(heading)), np.full_like(copper, math.sin(heading))]),
        fibres=single(0.5 * glass),
        matte=np.clip(rng.uniform(0, 0.4) + 0.3 * legend + 0.4 * bodies + 0.2 * holes, 0, 1),
        albedo=np.clip(single(albedo), 0.003, 0.95),
        backdrop=np.zeros((size_px, size_px, 3), dtype=np.float32),
        material=_laminate(mask, rng),
        lamps=lamps,
    )


def _laminate(mask: Floats, rng: Generator) -> Material:
    resin = single((0.42, 0.36, 0.20))
    return Material(
        dull=2.1,
        gloss=rng.uniform(0.3, 1.1),
        lobe=(0.16, 0.18),
        ridges=0.0,
        fray=0.0,
        stretch=1.2,
        pit=(0.02, 0.016, 0.010),
        groove=colour(resin if mask.mean() < 0.3 else 0.3 * resin) if rng.random() < 0.4 else (0.62, 0.40, 0.26),
        torn=colour(resin),
        rim=0.014,
        gash=1.2,
    )


def _near(u: Floats, v: Floats, x: float, y: float, reach: float) -> tuple[slice, slice] | None:
    """Return rows and columns of the picture that hold every point within `reach` of (x, y); None if there are none."""
    size = len(u)
    cos, sin = (float(at[0, -1] - at[0, 0]) / (size - 1) for at in (u, v))  # grid units per pixel
    scale = cos * cos + sin * sin
    off_x, off_y = x - float(u[0, 0]), y - float(v[0, 0])
    column, row = (off_x * cos + off_y * sin) / scale, (off_y * cos - off_x * sin) / scale
    span = reach / math.sqrt(scale) + 2
    rows = slice(max(0, int(row - span)), max(0, int(row + span) + 1))
    columns = slice(max(0, int(column - span)), max(0, int(column + span) + 1))
    return (rows, columns) if rows.start < min(size, rows.stop) and columns.start < min(size, columns.stop) else None


def _capsules(lines: list[tuple[float, float, float, float, float]], u: Floats, v: Floats) -> Floats:
    """Return how far inside round-ended lines each point lies, at least -1."""
    inside = np.full_like(u, -1)
    for x, y, to_x, to_y, half in lines:
        d_x, d_y = to_x - x, to_y - y
        squared = d_x * d_x + d_y * d_y
        here = _near(u, v, x + d_x / 2, y + d_y / 2, math.sqrt(squared) / 2 + half + 1)
        if here:
            off_u, off_v = u[here] - single(x), v[here] - single(y)
            share = np.clip((off_u * single(d_x) + off_v * single(d_y)) / single(squared or 1), 0, 1)
            away = np.hypot(off_u - share * single(d_x), off_v - share * single(d_y))
            inside[here] = np.maximum(inside[here], single(half) - away)
    return inside


def _boxes(boxes: list[tuple[float, float, float, float]], u: Floats, v: Floats, corner: float) -> Floats:
    """Return how far inside boxes with rounded corners each point lies, at least -1."""
    inside = np.full_like(u, -1)
    for x, y, half_x, half_y in boxes:
        here = _near(u, v, x, y, math.hypot(half_x, half_y) + 1)
        if here:
            off_u = np.abs(u[here] - single(x)) - single(half_x - corner)
            off_v = np.abs(v[here] - single(y)) - single(half_y - corner)
            beyond = np.hypot(np.maximum(off_u, 0), np.maximum(off_v, 0)) + np.minimum(np.maximum(off_u, off_v), 0)
            inside[here] = np.maximum(inside[here], single(corner) - beyond)
    return inside


def _circles(circles: list[tuple[float, float, float, float]], u: Floats, v: Floats, which: int) -> Floats:
    """Return how far inside circles each point lies, at least -1; `which` of a circle's numbers is its radius."""
    inside = np.full_like(u, -1)
    for circle in circles:
        here = _near(u, v, circle[0], circle[1], circle[which] + 1)
        if here and circle[which] > 0:
            away = np.hypot(u[here] - single(circle[0]), v[here] - single(circle[1]))
            inside[here] = np.maximum(inside[here], single(circle[which]) - away)
    return inside
