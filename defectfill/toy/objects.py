"""Single parts on a ground: a turned washer on a dark mat, a nut on bright paper."""

import math

import numpy as np

from defectfill.toy.maps import (
    Floats,
    Generator,
    bump,
    cloud,
    coverage,
    grid,
    hairlines,
    mix,
    rise,
    single,
    specks,
    streaks,
    turned,
)
from defectfill.toy.part import Lamp, Material, Part, colour, hang_lamps

METALS = ((0.50, 0.485, 0.465), (0.47, 0.49, 0.51), (0.54, 0.42, 0.23), (0.52, 0.37, 0.28))
"""Steel, zinc plate, brass, copper."""
SHELLS = ((0.30, 0.11, 0.045), (0.42, 0.19, 0.08), (0.20, 0.08, 0.04), (0.36, 0.21, 0.11))
"""Red-brown, tan, dark chestnut, pale."""


def turn_washer(rng: Generator, size_px: int) -> Part:
    """Return a metal ring with turning or brushing marks on a dark mat; pose, size, metal, finish and light vary."""
    inner = rng.uniform(0.26, 0.38)
    outer = inner + rng.uniform(0.28, 0.38)
    lamps = hang_lamps(rng)
    x, y = grid(size_px) + single(rng.uniform(-0.1, 0.1, (2, 1, 1)))
    lean, squeeze = rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.05)  # the camera is not quite overhead
    downhill = squeeze * (x * math.cos(lean) + y * math.sin(lean))
    x, y = x + math.cos(lean) * downhill, y + math.sin(lean) * downhill
    radius = np.hypot(x, y)
    inside = np.minimum(outer - radius, radius - inner)
    chamfer = np.clip(1 - inside / rng.uniform(0.02, 0.045), 0, 1)
    grain, marks = _finish(x, y, rng)
    tarnish, dents = cloud(rng, size_px, 7), cloud(rng, size_px, 5)
    scuffs, dust = hairlines(rng, x, y, int(rng.integers(5)), 0.012), specks(rng, size_px, 0.001)
    tint = single(METALS[rng.choice(4, p=(0.45, 0.25, 0.2, 0.1))]) * single(rng.normal(1, 0.025, 3))
    patina, gain = rng.uniform(0.015, 0.05), rng.uniform(0.85, 1.1)
    worn = gain * (1 + patina * (2 * tarnish + marks) + 0.10 * scuffs - 0.35 * dust)
    return Part(
        cover=coverage(inside),
        height=0.0012 * dents - 0.009 * chamfer**2 - 0.0006 * scuffs,
        grain=grain,
        fibres=marks,
        matte=np.clip(rng.uniform(0.04, 0.25) + 0.03 * tarnish + 0.2 * scuffs, 0, 1),
        albedo=worn[..., None] * tint,
        backdrop=_mat_and_wall(x, y, (inner, outer), lamps[0], rng),
        material=_metal(gain * tint, rng),
        lamps=lamps,
    )


def _metal(tint: Floats, rng: Generator) -> Material:
    return Material(
        dull=1.0,
        gloss=1.5,
        lobe=(0.08, 0.48),
        ridges=rng.uniform(0.08, 0.2),
        fray=0.0,
        stretch=1.2,
        pit=(0.04, 0.038, 0.036),
        groove=colour(tint * rng.uniform(1.8, 2.6)),
        torn=colour(0.75 * tint),
        rim=0.006,
        gash=1.0,
    )


def _finish(x: Floats, y: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Return grain [2, H, W] and marks [H, W] of a turned face or, at times, of a brushed one."""
    fine = min(160.0, 0.7 * len(x))
    brushed, angle = rng.random() < 0.3, rng.uniform(-np.pi, np.pi)
    if brushed:
        along, across = turned(x, y, angle)
        grain = np.stack([np.full_like(x, math.cos(angle)), np.full_like(x, math.sin(angle))])
        lines = 0.9 * streaks(rng, along, across, (3, fine)) + 0.4 * streaks(rng, along, across, (9, 30))
        return grain, single(lines)
    radius, turn = np.hypot(x, y), single(np.arctan2(y, x) / (2 * np.pi))
    rings = streaks(rng, np.zeros_like(x), radius, (2, fine / 1.5))
    marks = 0.8 * streaks(rng, turn, radius, (16, fine)) + 0.6 * rings
    return single(np.stack([-y, x]) / np.maximum(radius, 1e-3)), single(marks)


def _mat_and_wall(x: Floats, y: Floats, radii: tuple[float, float], lamp: Lamp, rng: Generator) -> Floats:
    """Return linear light [H, W, 3] from a dark mat in the washer's shadow and from the washer's side wall."""
    towards_x, towards_y = math.cos(lamp.azimuth), math.sin(lamp.azimuth)

    def inside(shift_x: float, shift_y: float) -> Floats:
        radius = np.hypot(x - shift_x, y - shift_y)
        return np.minimum(radii[1] - radius, radius - radii[0])

    fleece, patches = cloud(rng, len(x), 100), cloud(rng, len(x), 4)
    shadow = 1 / (1 + np.exp(-inside(-0.07 * towards_x, -0.07 * towards_y) / 0.02))
    contact = np.exp(-np.abs(inside(0, 0)) / 0.05)
    mat = rng.uniform(0.010, 0.026) * (1 + 0.10 * fleece + 0.08 * patches) + 0.02 * np.clip(fleece - 3, 0, 1)
    mat *= (1 + lamp.falloff * (x * towards_x + y * towards_y)) * (1 - 0.65 * shadow) * (1 - 0.4 * contact)
    tinge = single(np.array([0.95, 1.0, 1.08]) + rng.normal(0, 0.06, 3))
    lower_x, lower_y = rng.normal(0, 0.012, 2).tolist()  # the lower rim, seen a little from one side
    wall = coverage(inside(lower_x, lower_y))
    radius = np.maximum(np.hypot(x, y), 1e-3)
    outwards = np.sign(radius - sum(radii) / 2) / radius
    steel = 0.075 + 0.045 * outwards * (x * towards_x + y * towards_y)
    return mix(mat[..., None] * tinge, np.repeat(steel[..., None], 3, axis=2), wall)


def grow_nut(rng: Generator, size_px: int) -> Part:
    """Return a brown ribbed nut with a pale fibrous cap on bright paper; pose, shape, colour, ground and light vary."""
    lamps = hang_lamps(rng)
    x, y = grid(size_px) + single(rng.uniform(-0.1, 0.1, (2, 1, 1)))
    heading, rear = rng.uniform(-np.pi, np.pi), rng.uniform(-0.5, 1.1)  # where the cap points, and how far upwards
    size = rng.uniform(0.5, 0.62)
    outline = size * _outline(np.arctan2(y, x) - heading, math.cos(rear), rng)
    off = np.hypot(x, y) / outline
    z = np.sqrt(np.clip(1 - off**2, 0, 1))
    axis = (math.cos(rear) * math.cos(heading), math.cos(rear) * math.sin(heading), math.sin(rear))
    rim_x, rim_y = x / np.maximum(outline, off * outline), y / np.maximum(outline, off * outline)
    towards = np.clip(rim_x * axis[0] + rim_y * axis[1] + z * axis[2], -0.9999, 0.9999)
    polar = np.arccos(towards) / np.pi  # 0 in the middle of the cap, 1 at the tip
    sideways = rim_y * math.cos(heading) - rim_x * math.sin(heading)
    upwards = z * math.cos(rear) - (rim_x * math.cos(heading) + rim_y * math.sin(heading)) * math.sin(rear)
    turn = np.arctan2(sideways, upwards) / (2 * np.pi)
    grain = np.stack([axis[0] - towards * rim_x, axis[1] - towards * rim_y])
    ribs = 0.8 * streaks(rng, polar, turn, (3, 44)) + 0.5 * streaks(rng, polar, turn, (9, min(150.0, 0.8 * size_px)))
    cap, albedo = _shell_and_cap(polar, turn, ribs, size, rng)
    inside = size * (1 - off)
    return Part(
        cover=coverage(inside),
        height=size * 0.92 * z + (1 - cap) * 0.003 * ribs - 0.01 * cap,
        grain=grain / np.maximum(np.hypot(*grain), 1e-3),
        fibres=ribs,
        matte=np.clip(rng.uniform(0, 0.3) + 0.05 * ribs + 2 * cap, 0, 1),
        albedo=albedo * (0.55 + 0.45 * rise(z, 0, 0.7))[..., None],
        backdrop=_paper(x, y, size, lamps[0], rng),
        material=_nutshell(rng),
        lamps=lamps,
    )


def _nutshell(rng: Generator) -> Material:
    pale = rng.uniform(0.85, 1.15)
    return Material(
        dull=2.6,
        gloss=rng.uniform(0.5, 1.4),
        lobe=(0.2, 0.3),
        ridges=0.06,
        fray=0.006,
        stretch=1.5,
        pit=(0.02, 0.013, 0.009),
        groove=(0.03, 0.018, 0.01),
        torn=colour(pale * single((0.62, 0.44, 0.26))),
        rim=0.016,
        gash=1.4,
    )


def _outline(angle: Floats, sideways: float, rng: Generator) -> Floats:
    """Return how far the nut's outline is from its middle, about 1, at an `angle` from where the cap points.

    `sideways` is 1 where the axis lies flat (blunt at the cap, pointed opposite), 0 where it stands upright.
    """
    away = np.abs((angle + np.pi) % (2 * np.pi) - np.pi)  # 0 at the cap, pi at the tip
    tip = rng.uniform(0.06, 0.16) * np.exp(-(np.pi - away) / 0.28)
    blunt = rng.uniform(0.02, 0.09) * bump(away / 0.8)
    slim = rng.uniform(-0.03, 0.06) * np.cos(2 * angle)
    bent = sum(rng.normal(0, 0.012 / order) * np.cos(order * angle + rng.uniform(0, 6.3)) for order in (2, 3, 5))
    return single(1 + sideways * (tip - blunt + slim) + bent)


def _shell_and_cap(polar: Floats, turn: Floats, ribs: Floats, size: float, rng: Generator) -> tuple[Floats, Floats]:
    """Return the share of the cap [H, W], and the albedo [H, W, 3] of shell and cap."""
    first, second = rng.choice(len(SHELLS), 2)
    shell = mix(single(SHELLS[first]), single(SHELLS[second]), single(rng.random()))
    bands = streaks(rng, polar, turn, (2, 17))
    shade = np.clip(1 + 0.20 * ribs + 0.16 * bands + rng.uniform(-0.5, 0.5) * (polar - 0.6), 0.35, 1.9)
    tip = rise(polar + 0.03 * ribs, 0.84, 0.97)
    skin = mix(shade[..., None] * shell, (0.42, 0.33, 0.24), 0.55 * tip * np.clip(0.6 + 0.5 * ribs, 0, 1))
    edge = rng.uniform(0.20, 0.29) + 0.005 * streaks(rng, np.zeros_like(turn), turn, (2, 44)) - polar
    cap = coverage(edge * np.pi * size)
    seam = bump((edge + 0.008) / 0.02)
    straws = 0.6 * streaks(rng, polar, turn, (22, min(130.0, 0.8 * len(polar)))) + 0.8 * cloud(rng, len(polar), 75)
    pale = single((0.40, 0.27, 0.15)) * single(rng.normal(1, 0.06, 3)) * rng.uniform(0.75, 1.2)
    husk = np.clip(1 + 0.20 * straws - 0.35 * rise(edge, 0.1, 0.25), 0.3, 2)[..., None] * pale
    return cap, mix(skin, husk, cap) * (1 - 0.45 * seam)[..., None]


def _paper(x: Floats, y: Floats, size: float, lamp: Lamp, rng: Generator) -> Floats:
    """Return linear light [H, W, 3] from bright paper, with the soft shadow of a ball of radius `size`."""
    towards_x, towards_y = math.cos(lamp.azimuth), math.sin(lamp.azimuth)
    reach = 0.35 * size
    inside = size - np.hypot(x + reach * towards_x, y + reach * towards_y)
    shadow = 1 / (1 + np.exp(-inside / rng.uniform(0.05, 0.09)))
    contact = np.exp(-np.clip(np.hypot(x, y) - 0.85 * size, 0, None) / 0.12)
    tooth, patches, dust = cloud(rng, len(x), 90), cloud(rng, len(x), 4), specks(rng, len(x), 0.0006)
    tone = rng.uniform(0.42, 0.72) * (1 + 0.012 * tooth + 0.02 * patches - 0.4 * dust)
    tone *= 1 + lamp.falloff * (x * towards_x + y * towards_y)
    tone *= (1 - rng.uniform(0.35, 0.6) * shadow) * (1 - 0.35 * contact)
    return tone[..., None] * single(rng.normal((1, 0.985, 0.96), 0.03))
