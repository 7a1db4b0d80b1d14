"""Round things seen from above: the mouth of a bottle, the cut end of a cable."""

import math

import numpy as np

from defectfill.toy.ground import POINTS, lay_on_ground, nearest_points
from defectfill.toy.maps import Floats, Generator, bump, cloud, coverage, grid, mix, rise, single, specks, streaks
from defectfill.toy.part import Lamp, Material, Part, colour, hang_lamps

GLASSES = (
    (0.20, 0.085, 0.022),  # amber
    (0.055, 0.15, 0.065),  # green
    (0.030, 0.032, 0.030),  # black
    (0.42, 0.46, 0.45),  # clear
    (0.10, 0.20, 0.30),  # blue
    (0.70, 0.69, 0.66),  # white plastic
)
SHEATHS = ((0.03, 0.03, 0.032), (0.16, 0.16, 0.165), (0.45, 0.45, 0.44), (0.62, 0.61, 0.58), (0.45, 0.14, 0.03))
"""Black, dark grey, grey, white, orange."""
CORES = (
    (0.10, 0.045, 0.02),  # brown
    (0.03, 0.07, 0.26),  # blue
    (0.10, 0.28, 0.06),  # green
    (0.025, 0.025, 0.025),  # black
    (0.28, 0.28, 0.28),  # grey
    (0.45, 0.035, 0.03),  # red
    (0.60, 0.50, 0.05),  # yellow
    (0.65, 0.64, 0.61),  # white
)
WIRES = ((0.62, 0.30, 0.17), (0.60, 0.58, 0.56), (0.55, 0.33, 0.20))
"""Copper, tinned copper or aluminium, dull copper."""


def blow_bottle(rng: Generator, size_px: int) -> Part:
    """Return a bottle seen from above: mouth, lip, rings and shoulder; glass, sizes, ground and light vary."""
    lamps = hang_lamps(rng)
    x, y = grid(size_px) + single(rng.uniform(-0.06, 0.06, (2, 1, 1)))
    radius, turn = np.hypot(x, y), single(np.arctan2(y, x) / (2 * np.pi))
    mouth = rng.uniform(0.20, 0.30)
    lip, outer = mouth + rng.uniform(0.11, 0.16), rng.uniform(0.66, 0.85)
    glass = single(GLASSES[rng.choice(6, p=(0.3, 0.22, 0.12, 0.16, 0.08, 0.12))]) * single(rng.normal(1, 0.05, 3))
    across = np.clip((radius - single(mouth)) / single(lip - mouth), 0, 1)
    down = np.clip((radius - single(lip)) / single(outer - lip), 0, 1)
    rings = streaks(rng, np.zeros_like(radius), radius, (2, rng.uniform(9, 16)))
    waves = streaks(rng, turn, radius, (7, 11))
    steps = sum(bump((down - single(at)) / single(wide)) for at, wide in rng.uniform((0.1, 0.04), (0.8, 0.12), (2, 2)))
    height = 0.09 * np.sqrt(np.clip(1 - (2 * across - 1) ** 2, 0.02, 1)) + 0.02 * steps
    height = height - 0.30 * (outer - lip) * down ** single(rng.uniform(1.2, 2.5)) + 0.002 * waves
    thick = 0.75 + 0.30 * rings - 0.35 * rise(down, 0.75, 1) - 0.45 * bump(down / 0.12) * (down > 0)
    clear = single(rng.uniform(0.5, 1.6) * np.clip(thick + 0.12 * waves + 0.5 * bump((across - 0.5) / 0.5), 0.12, 2.5))
    shine = _windows(radius, turn, ((mouth, lip), (lip, outer)), rng)
    smear, dust = cloud(rng, size_px, 5), specks(rng, size_px, 0.001)
    albedo = clear[..., None] * glass * (1 + 0.06 * smear)[..., None] + (shine + 0.2 * dust)[..., None]
    return Part(
        cover=coverage(np.minimum(outer - radius, radius - single(mouth))),
        height=single(height),
        grain=single(np.stack([-y, x]) / np.maximum(radius, 1e-3)),
        fibres=single(0.6 * waves),
        matte=np.clip(rng.uniform(0, 0.2) + 0.03 * smear, 0, 1),
        albedo=np.clip(single(albedo), 0.004, 1.2),
        backdrop=_floor_and_ground(x, y, radius, (mouth, outer), glass, lamps[0], rng),
        material=_glass(glass, rng),
        lamps=lamps,
    )


def _windows(radius: Floats, turn: Floats, bands: tuple[tuple[float, float], ...], rng: Generator) -> Floats:
    """Return what rings mirror of windows and lamps: bright arcs (H, W), 0 to about 1."""
    arcs = np.zeros_like(radius)
    for inner, outer in bands:
        for place, middle, length, width, strength in rng.uniform(
            (0.15, 0, 0.04, 0.05, 0.1), (0.85, 1, 0.30, 0.16, 0.8), (3, 5)
        ):
            off = (turn - single(middle) + single(0.5)) % 1 - single(0.5)
            at = inner + place * (outer - inner)
            ring = bump((radius - single(at)) / single(width * (outer - inner))) ** single(0.5)
            arcs += single(strength) * ring * rise(single(length / 2) - np.abs(off), 0, 0.03)
    return arcs


def _floor_and_ground(
    x: Floats, y: Floats, radius: Floats, radii: tuple[float, float], glass: Floats, lamp: Lamp, rng: Generator
) -> Floats:
    """Return the light (H, W, 3) from the table round a bottle and from the rings down inside its neck."""
    around = lay_on_ground(lambda x, y: single(radii[1] - np.hypot(x, y)), x, y, 0.25, lamp, rng)
    off_x, off_y = rng.normal(0, 0.02, 2).tolist()
    deep = np.hypot(x - single(off_x), y - single(off_y)) / single(radii[0])
    rings = streaks(rng, np.zeros_like(x), deep / 2, (2, 9))
    dim = rng.uniform(0.02, 0.25) * np.clip(0.8 + 0.8 * rings, 0.05, 3) * (0.35 + 0.65 * rise(0.95 - deep, 0, 0.4))
    tint = glass / single(max(float(glass.max()), 0.05))
    return np.where((radius < sum(radii) / 2)[..., None], dim[..., None] * (0.3 + 0.7 * tint), around)


def _glass(glass: Floats, rng: Generator) -> Material:
    return Material(
        dull=1.6,
        gloss=rng.uniform(1, 2.5),
        lobe=(0.14, 0.16),
        ridges=0.02,
        fray=0.0,
        stretch=1.3,
        pit=(0.015, 0.015, 0.016),
        groove=colour(np.clip(0.4 + 0.6 * glass, 0, 0.9) if glass.mean() < 0.3 else 0.2 * glass),
        torn=colour(np.clip(0.3 + 1.5 * glass, 0, 0.85)),
        rim=0.018,
        gash=1.0,
    )


def cut_cable(rng: Generator, size_px: int) -> Part:
    """Return the cut end of a cable: sheath, filler, two to five stranded cores; colours, sizes and light vary."""
    lamps = hang_lamps(rng)
    x, y = grid(size_px) + single(rng.uniform(-0.08, 0.08, (2, 1, 1)))
    outer, sheath = rng.uniform(0.62, 0.82), rng.uniform(0.07, 0.12)
    radius = np.hypot(x, y) * (1 + single(rng.uniform(0, 0.012)) * cloud(rng, size_px, 3))
    inside = outer - radius
    stain, grit, saw = cloud(rng, size_px, 6), cloud(rng, size_px, 70), rng.uniform(-np.pi, np.pi)
    cuts = streaks(
        rng, x * math.cos(saw) / 3, y * math.cos(saw) / 2 - x * math.sin(saw) / 2, (3, min(90.0, 0.5 * size_px))
    )
    hull = single(SHEATHS[rng.integers(len(SHEATHS))]) * rng.uniform(0.85, 1.15)
    fill = single((0.5, 0.48, 0.44)) * rng.uniform(0.05, 1.1)
    gap = coverage(inside - single(sheath))
    plastic = 1 + 0.05 * grit + 0.05 * cuts + 0.04 * stain
    albedo = plastic[..., None] * mix(np.broadcast_to(hull, (*x.shape, 3)), fill, gap)
    height = 0.02 * rise(inside, 0, 0.03) - 0.03 * gap + 0.006 * gap * cloud(rng, size_px, 14)
    metal = np.zeros_like(x)
    for core_x, core_y, size in _place_cores(outer - sheath, rng):
        off_x, off_y = x - single(core_x), y - single(core_y)
        within = single(size) - np.hypot(off_x, off_y) * (1 + single(0.01) * cloud(rng, size_px, 4))
        albedo *= (1 - 0.45 * gap * np.exp(np.minimum(within, 0) / single(0.03)))[..., None]
        dye = single(CORES[rng.integers(len(CORES))]) * rng.uniform(0.85, 1.15)
        share, wires = coverage(within), coverage(within - single(size * rng.uniform(0.24, 0.36)))
        strands, domes = _strands(off_x, off_y, size, rng)
        albedo = mix(mix(albedo, plastic[..., None] * dye, share), strands, wires)
        height += share * (0.03 + 0.01 * rise(within, 0, 0.02)) + wires * (domes - 0.012)
        metal += wires
    return Part(
        cover=coverage(inside),
        height=single(height + 0.0006 * cuts),
        grain=np.stack([np.full_like(x, math.cos(saw)), np.full_like(x, math.sin(saw))]),
        fibres=single(0.7 * cuts),
        matte=np.clip(rng.uniform(0.2, 0.6) - 0.2 * metal + 0.03 * grit, 0, 1),
        albedo=np.clip(single(albedo), 0.004, 0.95),
        backdrop=lay_on_ground(lambda x, y: single(outer - np.hypot(x, y)), x, y, 0.3, lamps[0], rng),
        material=_compound(rng),
        lamps=lamps,
    )


def _place_cores(room: float, rng: Generator) -> list[tuple[float, float, float]]:
    """Return x, y and radius of two to five cores that fill a circle of that radius, nearly touching."""
    count, phase = int(rng.choice([2, 3, 3, 3, 4, 5])), rng.uniform(0, 2 * np.pi)
    size = 0.97 * room / (1 + 1 / math.sin(math.pi / count))
    turns = phase + 2 * np.pi * np.arange(count) / count + rng.normal(0, 0.03, count)
    away = (room - size) * rng.uniform(0.97, 1, count)
    return [
        (float(off * math.cos(turn)), float(off * math.sin(turn)), 0.97 * size)
        for turn, off in zip(turns, away, strict=True)
    ]


def _strands(x: Floats, y: Floats, size: float, rng: Generator) -> tuple[Floats, Floats]:
    """Return colour (H, W, 3) and height (H, W) of a bundle of wires, cut unevenly."""
    count, turn = rng.uniform(4, 8.5), rng.uniform(0, np.pi)
    count = min(count, len(x) * size / 2 / 4.5)  # no wire finer than 4.5 px
    pitch = size / count
    moved = single(0.5 + rng.uniform(-0.1, 0.1, (2, POINTS * POINTS)))
    u = (x * math.cos(turn) + y * math.sin(turn)) / single(pitch) + 32
    v = (y * math.cos(turn) - x * math.sin(turn)) / single(0.866 * pitch) + 32
    nearest, _, owner = nearest_points(single(u), single(v), moved, stagger=0.5, aspect=0.866)
    tones, tilts = single(rng.normal(0, 0.14, POINTS * POINTS)), single(rng.normal(0, 0.15, (2, POINTS * POINTS)))
    body = 1 - rise(nearest, 0.40, 0.56)
    metal = single(WIRES[rng.integers(len(WIRES))]) * single(rng.normal(1, 0.03, 3)) * rng.uniform(0.8, 1.2)
    bright = (0.10 + 0.90 * body) * np.clip(1 + tones[owner] + 0.08 * cloud(rng, len(x), 60), 0.3, 2)
    heights = body * (1 + tilts[0][owner] * x / single(size) + tones[owner])
    return bright[..., None] * metal, single(0.25 * pitch * heights)


def _compound(rng: Generator) -> Material:
    return Material(
        dull=2.0,
        gloss=rng.uniform(0.3, 1.0),
        lobe=(0.25, 0.4),
        ridges=0.03,
        fray=0.004,
        stretch=1.2,
        pit=(0.018, 0.017, 0.016),
        groove=(0.85, 0.83, 0.8) if rng.random() < 0.3 else (0.012, 0.012, 0.012),
        torn=(0.25, 0.23, 0.21),
        rim=0.014,
        gash=1.6,
    )
