"""Marks on a picture: what damage of any kind is drawn with, and the masks that follow them.

A base that has seen whole parts only knows no line that is not the part's own, and an adapter cannot teach it one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from defectfill.toy.maps import Floats, Generator, mix, single
from defectfill.toy.world.fields import band_noise, blur, log_uniform, octave_noise, slopes, smooth_noise
from defectfill.toy.world.outlines import outline_line, outline_patch, outline_spot
from defectfill.toy.world.scene import draw_swatch

MARKS: dict[str, tuple[float, Callable[[Generator, int], Floats]]] = {
    "line": (0.4, outline_line),
    "spot": (0.25, outline_spot),
    "patch": (0.35, outline_patch),
}
"""A mark's word -> its share and what draws its outline."""
LEAST_CONTRAST = 0.1
"""Difference of a plain mark's shade from what it covers, at least; pictures are 0 to 1."""


@dataclass(frozen=True)
class Mark:
    """A picture with a mark."""

    picture: Floats
    """[S, S, 3] in [0, 1]."""
    mask: npt.NDArray[np.bool_]
    """[S, S]; the mark lies inside with a margin, and outside the picture is as it was."""
    word: str
    """One of MARKS."""


def draw_mark(picture: npt.NDArray[np.uint8] | Floats, rng: Generator, word: str | None = None) -> Mark:
    """Return a square picture [S, S, 3], uint8 or floats in [0, 1], with a mark of this or any kind."""
    plain = single(picture / np.float32(255) if picture.dtype == np.uint8 else picture)
    size = len(plain)
    word = word or str(rng.choice(list(MARKS), p=[share for share, _ in MARKS.values()]))
    inside = MARKS[word][1](rng, size)
    if not (inside > 0).any():  # it was drawn beyond the frame
        inside = inside + (np.float32(1) - inside.max())
    core, dented, reach = _lay(plain, inside, word, rng)
    margin = rng.uniform(0.01, 0.05) * size
    mask = ndimage.distance_transform_edt(inside <= -reach) <= margin
    marked = np.where(mask[..., None], np.clip(mix(dented, core, _cover(inside, rng, reach)), 0, 1), plain)
    return Mark(single(marked), np.asarray(mask, dtype=bool), word)


def _cover(inside: Floats, rng: Generator, reach: float) -> Floats:
    """Return the mark's share [S, S]: its edge sharp or soft, itself even, thin in places or see-through."""
    soft = np.float32(min(rng.uniform(0.8, 2.5), reach))
    share = np.clip(inside / soft + 0.5, 0, 1) * np.float32(rng.uniform(0.6, 1))
    if rng.random() < 0.5:
        share *= np.clip(1 + np.float32(rng.uniform(0.1, 0.6)) * octave_noise(rng, len(inside), 1.3) - 0.2, 0, 1)
    return share


def _lay(plain: Floats, inside: Floats, word: str, rng: Generator) -> tuple[Floats, Floats, float]:
    """Return what the mark is made of, the picture with its rim and bevel (both [S, S, 3]), and how far they reach."""
    stuff = _patch_stuff(plain, inside, rng) if word == "patch" else _thin_stuff(plain, inside, rng)
    if (plain == plain[..., :1]).all():
        stuff = np.repeat(stuff.mean(axis=2, keepdims=True), 3, axis=2)
    rim, bevel = log_uniform(rng, 1, 0.03 * len(plain)), log_uniform(rng, 1, 0.04 * len(plain))
    shade = np.ones_like(inside)
    if rng.random() < 0.5:
        ring = np.clip(1 - np.abs(inside + np.float32(0.3 * rim)) / np.float32(0.7 * rim), 0, 1)
        shade += np.float32(rng.choice([-1, 1]) * rng.uniform(0.1, 0.7)) * ring
    if rng.random() < 0.6:
        depth = np.clip(inside / np.float32(bevel) + 0.5, 0, 1)
        slope_x, slope_y = slopes(depth * depth * (3 - 2 * depth) * np.float32(bevel))
        turn, steep = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.8)
        shade += np.float32(steep * math.cos(turn)) * slope_x + np.float32(steep * math.sin(turn)) * slope_y
    shade = np.maximum(shade, 0.1)[..., None]
    return stuff * shade, plain * shade, max(rim, 0.5 * bevel, 1.3) + 1


def _thin_stuff(plain: Floats, inside: Floats, rng: Generator) -> Floats:
    """Return what lines and spots are of: mostly one shade with grain, else the picture itself, darker or lighter."""
    if rng.random() < 0.25:
        return np.clip(plain * np.float32(log_uniform(rng, 0.25, 0.7) ** rng.choice([-1, 1])), 0, 1)
    return _shade_with_grain(plain, inside, rng)


def _patch_stuff(plain: Floats, inside: Floats, rng: Generator) -> Floats:
    """Return what patches are of: half of them any material, a third one shade, the rest the part's own texture."""
    kind = rng.random()
    if kind < 1 / 2:
        return draw_swatch(rng, len(plain))
    if kind < 5 / 6:
        return _shade_with_grain(plain, inside, rng)
    return _own_texture(plain, rng)


def _shade_with_grain(plain: Floats, inside: Floats, rng: Generator) -> Floats:
    """Return one shade [S, S, 3], away from that of what it covers, with fine and coarse grain."""
    size, below = len(plain), float(plain[inside > 0].mean())
    tone = rng.uniform(0.02, 0.98)
    while abs(tone - below) < LEAST_CONTRAST:
        tone = rng.uniform(0.02, 0.98)
    tinge = rng.normal(0, 0.02 if rng.random() < 0.6 else 0.15, 3)
    grain = np.float32(log_uniform(rng, 0.005, 0.12)) * band_noise(rng, size, log_uniform(rng, 1.5, 5))
    grain += np.float32(log_uniform(rng, 0.005, 0.12)) * octave_noise(rng, size, rng.uniform(0.8, 1.8))
    return np.clip(single(tone + tinge) + grain[..., None], 0, 1)


def _own_texture(plain: Floats, rng: Generator) -> Floats:
    """Return the picture's own texture: taken from elsewhere, lighter or darker, and smeared or roughened."""
    size = len(plain)
    gain = np.float32(log_uniform(rng, 1.15, 2) ** rng.choice([-1, 1]))
    own = np.roll(plain, tuple(rng.integers(-size // 4, size // 4, 2)), axis=(0, 1)) if rng.random() < 0.5 else plain
    if rng.random() < 0.5:
        own = blur(own, log_uniform(rng, 1, 0.04 * size))
    rough = np.float32(log_uniform(rng, 0.02, 0.25)) * smooth_noise(rng, size, log_uniform(rng, 1.2, 6))
    return np.clip(own * gain * (1 + rough[..., None]) + np.float32(rng.normal(0, 0.04)), 0, 1)
