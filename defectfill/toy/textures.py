"""Surfaces that fill the picture: sawn wood, woven cloth."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defectfill.toy.maps import Floats, Generator, bump, cloud, grid, mix, rise, single, specks, streaks, turned
from defectfill.toy.part import Material, Part, colour, hang_lamps

WOODS = (
    (0.62, 0.43, 0.24),  # pine
    (0.44, 0.29, 0.16),  # oak
    (0.17, 0.10, 0.06),  # walnut
    (0.52, 0.35, 0.22),  # beech
    (0.30, 0.13, 0.07),  # cherry
    (0.66, 0.54, 0.38),  # maple
    (0.36, 0.29, 0.22),  # weathered
)
DYES = (
    (0.62, 0.56, 0.45),  # linen
    (0.72, 0.70, 0.66),  # bleached
    (0.08, 0.12, 0.26),  # denim
    (0.42, 0.07, 0.06),  # red
    (0.16, 0.18, 0.09),  # olive
    (0.05, 0.05, 0.055),  # black
    (0.25, 0.25, 0.26),  # grey
    (0.06, 0.22, 0.24),  # teal
    (0.50, 0.30, 0.07),  # ochre
    (0.33, 0.42, 0.55),  # sky
    (0.26, 0.15, 0.09),  # brown
    (0.36, 0.16, 0.24),  # mauve
)
WEAVES: tuple[Callable[[npt.NDArray[np.int_], npt.NDArray[np.int_]], npt.NDArray[np.bool_]], ...] = (
    lambda i, j: (i + j) % 2 == 0,  # plain
    lambda i, j: (i + j) % 4 < 2,  # twill
    lambda i, j: (i + j) % 3 < 1,  # light twill
    lambda i, j: (i // 2 + j // 2) % 2 == 0,  # basket
    lambda i, j: (np.where(i // 8 % 2 == 0, i, -i) + j) % 4 < 2,  # herringbone
)
"""Return which thread of warp i and weft j is on top: True the warp."""
_THREADS = 96


def saw_wood(rng: Generator, size_px: int) -> Part:
    """Return a sawn board that fills the picture, with growth lines, at times a knot; species, cut and light vary."""
    lamps, heading = hang_lamps(rng), rng.uniform(-np.pi, np.pi)
    x, y = grid(size_px)
    u, v = turned(x, y, heading)
    v = v + rng.uniform(0.004, 0.03) * cloud(rng, size_px, 2.5) + rng.normal(0, 0.04) * u**2
    first, second = (single(WOODS[chosen]) for chosen in rng.choice(len(WOODS), 2))
    base = (first + rng.random() ** 3 * (second - first)) * single(rng.normal(1, 0.02, 3)) * rng.uniform(0.85, 1.1)
    knot, v, knot_age = _knot(u, v, rng)
    late = _growth_lines(np.where(knot_age < 6, knot_age, _age(u, v, rng)), rng)
    along, across = single(u / 3), single(v / 3)
    fibres = 0.6 * streaks(rng, along, across, (9, min(300, 1.2 * size_px))) + 0.6 * streaks(
        rng, along, across, (4, 90)
    )
    vessels = streaks(rng, along, across, (rng.uniform(20, 40), min(500, size_px)))
    pores = np.clip(vessels - rng.uniform(0.9, 2.4), 0, 1)
    shade = 1 + 0.07 * fibres + rng.uniform(0.03, 0.08) * cloud(rng, size_px, 3) - rng.uniform(0.1, 0.4) * pores
    darkened = single((0.62, 0.52, 0.42)) ** (rng.uniform(0.4, 1.15) * late)[..., None]
    albedo = np.clip(shade, 0.3, 2)[..., None] * base * darkened
    albedo = albedo * single((0.42, 0.33, 0.27)) ** (rng.uniform(0.7, 1.1) * knot)[..., None]
    return Part(
        cover=np.ones_like(u),
        height=0.0012 * fibres - 0.004 * pores + 0.0015 * late,
        grain=np.stack([np.full_like(u, math.cos(heading)), np.full_like(u, math.sin(heading))]),
        fibres=fibres,
        matte=np.clip(0.25 + 0.1 * fibres, 0, 1),
        albedo=albedo,
        backdrop=np.zeros((size_px, size_px, 3), dtype=np.float32),
        material=_timber(base, rng),
        lamps=lamps,
    )


def _timber(base: Floats, rng: Generator) -> Material:
    pale = np.clip(1.35 * base, 0, 0.85)
    crack = pale * 0.12 if rng.random() < 0.6 else np.clip(1.5 * pale, 0, 0.9)
    return Material(
        dull=2.5,
        gloss=rng.uniform(0, 0.9),
        lobe=(0.25, 0.45),
        ridges=0.05,
        fray=0.008,
        stretch=2.2,
        pit=colour(0.06 * base),
        groove=colour(crack),
        torn=colour(pale),
        rim=0.014,
        gash=1.4,
    )


def _knot(u: Floats, v: Floats, rng: Generator) -> tuple[Floats, Floats, Floats]:
    """Return a knot's share [H, W], `v` bent round it so that lines of equal `v` give way, and its own age [H, W].

    Two boards of three have none; what is drawn after it is the same in all.
    """
    here, middle_u, middle_v = rng.random() < 0.35, rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.8)
    radius, wide = rng.uniform(0.05, 0.17), rng.uniform(2, 3)
    lumps = cloud(rng, len(u), 5)
    if not here:
        return np.zeros_like(u), v, np.full_like(u, 9)
    off_u, off_v = u - middle_u, v - middle_v
    pull = 0.85 * np.exp(-((off_u / (1.6 * wide * radius)) ** 2) - (off_v / (wide * radius)) ** 2)
    away = np.hypot(off_u / 1.25, off_v) * (1 + 0.10 * lumps)
    share = 0.55 * (1 - rise(away, 0.9 * radius, 1.1 * radius)) + 0.5 * bump((away / radius - 1) / 0.3)
    share += 0.35 * np.exp(-((away / (1.7 * radius)) ** 2))  # the wood round it is darker too
    return share, single(middle_v + off_v * (1 - pull)), single(6 * away / radius)


def _age(u: Floats, v: Floats, rng: Generator) -> Floats:
    """Return the year in which the wood grew: straight lines beside the heart, arches over it."""
    rings = rng.uniform(4, 14)
    heart, tilt, depth = rng.normal(0, 1.4), rng.normal(0, 0.45), rng.uniform(0.1, 0.6)
    wavy = 0.06 * cloud(rng, len(u), 2)
    return rings * np.hypot(v - heart, depth + tilt * (u + 1) + wavy)


def _growth_lines(age: Floats, rng: Generator) -> Floats:
    """Return how late in its year wood of an `age` grew, 0 to about 1: rises slowly, ends abruptly; years differ."""
    steps = np.linspace(0, 1, 24, endpoint=False)
    sharp = rng.uniform(1.5, 5)
    years = rng.uniform(0.45, 1.0, (60, 1)) * steps ** (sharp * rng.uniform(0.7, 1.4, (60, 1)))
    table = np.convolve(years.ravel(), np.ones(4) / 4, mode="same")
    return single(np.interp(age % 60, np.linspace(0, 60, table.size), table))


def weave_cloth(rng: Generator, size_px: int) -> Part:
    """Return woven cloth that fills the picture; weave, threads, dyes, stripes, folds and light vary."""
    lamps, heading = hang_lamps(rng), rng.uniform(-0.5, 0.5)
    x, y = grid(size_px)
    u, v = turned(x, y, heading)
    drape = cloud(rng, size_px, 1.6) + 0.4 * cloud(rng, size_px, 4)
    count = min(rng.uniform(12, 26), size_px / 4.8)  # threads across the picture: none finer than 4.8 px
    pitch, aspect = 2 / count, rng.uniform(0.85, 1.2)
    warp = _threads((u + 1.6) / pitch + 0.25 * cloud(rng, size_px, 3), rng)
    weft = _threads((v + 1.6) / pitch * aspect + 0.25 * cloud(rng, size_px, 3), rng)
    above, relief = _interlace(warp, weft, rng)
    number = np.where(above > 0.5, warp.astype(int), _THREADS + weft.astype(int))
    tangle = streaks(rng, u, v, (30, 90)) + streaks(rng, v, u, (30, 90))
    yarn = single(rng.standard_normal(2 * _THREADS))
    fuzz = 0.07 * tangle + rng.uniform(0.03, 0.10) * yarn[number] + 0.05 * cloud(rng, size_px, 4)
    gaps = rise(relief, rng.uniform(-0.3, 0.2), 1.7)
    gaps += math.exp(-size_px / count / 4) * (0.7 - gaps)  # a pixel sees the mean of what is finer
    dyes = _dyes(rng)
    albedo = mix(dyes[_THREADS + weft.astype(int)], dyes[warp.astype(int)], above)
    lint = specks(rng, size_px, 0.0008)
    albedo = mix(albedo * np.clip((0.22 + 0.9 * gaps) * (1 + fuzz), 0.05, 2)[..., None], (0.6, 0.6, 0.58), 0.7 * lint)
    upright = single(above > 0.5)  # the warp runs along v
    grain_x, grain_y = turned(1 - upright, upright, -heading)
    return Part(
        cover=np.ones_like(u),
        height=single(0.13 * pitch * relief + rng.uniform(0.02, 0.05) * drape),
        grain=np.stack([grain_x, grain_y]),
        fibres=yarn[number],
        matte=np.full_like(u, 0.4),
        albedo=albedo,
        backdrop=np.zeros((size_px, size_px, 3), dtype=np.float32),
        material=_fabric(dyes, rng),
        lamps=lamps,
    )


def _fabric(dyes: Floats, rng: Generator) -> Material:
    below = 0.018 if dyes.mean() > 0.07 else 0.4  # dark under pale cloth, bright under dark cloth
    return Material(
        dull=2.3,
        gloss=rng.uniform(0.1, 0.5),
        lobe=(0.25, 0.6),
        ridges=0.0,
        fray=0.014,
        stretch=1.3,
        pit=(below, below, below),
        groove=(below, below, below),
        torn=colour(np.clip(dyes.mean(axis=0) * 1.25 + 0.05, 0, 0.85)),
        rim=0.012,
        gash=2.2,
    )


def _threads(place: Floats, rng: Generator) -> Floats:
    """Return thread number plus position across the thread (0 to 1); threads differ in width."""
    jitter = single(rng.normal(0, 0.09, _THREADS))
    return np.clip(place + np.interp(place, np.arange(_THREADS), jitter).astype(np.float32), 0, _THREADS - 2.01)


def _interlace(warp: Floats, weft: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Return the share of the warp in what is seen [H, W], and the relief [H, W]: -1 between threads to 2 on top."""
    i, j = np.indices((_THREADS, _THREADS))
    on_top = 2 * single(WEAVES[rng.integers(len(WEAVES))](i, j)) - 1
    round_warp, round_weft = (np.sqrt(np.clip(1 - 0.98 * (2 * (t % 1) - 1) ** 2, 0, 1)) for t in (warp, weft))
    warp_height = _along_thread(on_top, warp, weft) + 1.1 * round_warp
    weft_height = 1.1 * round_weft - _along_thread(on_top.T, weft, warp)
    pixels_per_thread = len(warp) / max(float(np.ptp(warp)), 1)
    above = np.clip(0.5 + (warp_height - weft_height) * 0.12 * pixels_per_thread, 0, 1)
    return above, np.maximum(warp_height, weft_height)


def _along_thread(on_top: Floats, thread: Floats, other: Floats) -> Floats:
    """Return the height [H, W] of the middle of a thread, 1 over and -1 under the other threads, smooth between."""
    number, crossing = thread.astype(int), np.maximum(other - 0.5, 0)
    before = crossing.astype(int)
    share = rise(crossing - single(before), 0.1, 0.9)
    return on_top[number, before] * (1 - share) + on_top[number, before + 1] * share


def _dyes(rng: Generator) -> Floats:
    """Return the colour of every thread, warp first, [2 * _THREADS, 3]: plain, of two colours, striped or checked."""
    main, second = (
        single(DYES[chosen]) * rng.uniform(0.75, 1.15) for chosen in rng.choice(len(DYES), 2, replace=False)
    )
    second = main + rng.uniform(0.15, 0.75) * (second - main)
    style, band = rng.choice(4, p=(0.5, 0.25, 0.13, 0.12)), int(rng.integers(3, 9))
    stripes = np.arange(_THREADS) // band % 2 == 0
    plain, all_second = np.ones(_THREADS, dtype=bool), np.zeros(_THREADS, dtype=bool)
    warp, weft = ((plain, plain), (plain, all_second), (stripes, plain), (stripes, stripes))[style]
    return np.where(np.concatenate([warp, weft])[:, None], main, second)
