"""A made-up category in MVTec AD's layout: photographs of turned steel washers, some pitted or scratched.

For demos and tests, where no real photographs may be shipped. A picture comes about as in a workshop: a part
is made (`turn_washer`), damaged or not (`DEFECTS`), lit (`light`) and photographed (`photograph`). Another
category is another function that returns a Part; damage, light and camera take any.

Lengths without a unit are half picture widths: x and y run from -1 to 1, y downwards.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.spatial import KDTree

from defectfill.files import new_folder
from defectfill.images import write_png

Floats = npt.NDArray[np.float32]
Generator = np.random.Generator

VISIBLE_LEVELS = 2
"""A defect's mask takes in every pixel that the defect changes by more than this many of 256 grey levels."""
_PART, _DEFECT, _CAMERA = range(3)  # last word of a picture's seed: which of its generators


@dataclass(frozen=True)
class Sample:
    """One finished picture."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3)"""
    defect_mask: npt.NDArray[np.bool_]
    """(H, W), True where the defect shows; all False for a normal."""


@dataclass(frozen=True)
class Part:
    """A metal part on its ground, before light falls on it; maps are (H, W) unless said otherwise."""

    cover: Floats
    """Share of the pixel that is the part's upper face, 0 to 1."""
    height: Floats
    grain: Floats
    """(2, H, W) unit vector (x, y) along the machining marks."""
    ridges: Floats
    """Slope of the machining marks, across the grain."""
    matte: Floats
    """0 machined: glossy, widely across the grain and narrowly along it; 1 torn: dull whichever way."""
    albedo: Floats
    """(H, W, 3) share of the light that is thrown back, 0 to 1."""
    backdrop: Floats
    """(H, W, 3) linear light from the ground and the side walls, seen where the upper face is not."""
    azimuth: float
    """Where the main lamp stands, in radians from x towards y."""


def write_category(root: Path, seed: int, normals: int, test_normals: int, defective: int, size_px: int = 256) -> Path:
    """The folder `<root>/washer`, written whole or not at all, with images and masks in MVTec AD's layout.

    `normals` and `test_normals` count the pictures of `train/good` and `test/good`, `defective` those of each
    defect; all are `size_px` square. A picture depends on `seed` (0 or more), its folder and its number only:
    larger counts repeat the smaller ones. Raises FileExistsError if a washer folder is there.
    """
    category = root / "washer"
    if category.exists():
        raise FileExistsError(f"{category}: is there already")
    counts = {"train/good": normals, "test/good": test_normals}
    counts |= {f"test/{defect}": defective for defect in DEFECTS}
    with new_folder(category) as partial:
        for kind, (folder, count) in enumerate(counts.items()):
            for index in range(count):
                sample = make_sample((seed, index, kind), Path(folder).name, size_px)
                _write_sample(partial, folder, index, sample)
    return category


def make_sample(seed: Sequence[int], defect: str = "good", size_px: int = 256) -> Sample:
    """The picture that descends from `seed`, with a defect of DEFECTS or, for `good`, with none.

    Washer, light and camera noise come from `seed` alone: outside the mask, the pictures with and without the
    defect differ by VISIBLE_LEVELS at most.
    """
    part = turn_washer(np.random.default_rng([*seed, _PART]), size_px)
    normal = photograph(light(part), np.random.default_rng([*seed, _CAMERA]))
    if defect == "good":
        return Sample(normal, np.zeros((size_px, size_px), dtype=bool))
    damaged = DEFECTS[defect](part, np.random.default_rng([*seed, _DEFECT]))
    image = photograph(light(damaged), np.random.default_rng([*seed, _CAMERA]))
    return Sample(image, _visible_change(normal, image))


def turn_washer(rng: Generator, size_px: int) -> Part:
    """A washer with concentric turning marks on a dark mat; pose, size, tint and light vary a little."""
    inner, outer = rng.uniform(0.30, 0.35), rng.uniform(0.64, 0.70)
    azimuth = rng.normal(-2.2, 0.25)
    x, y = _grid(size_px) + _single(rng.uniform(-0.07, 0.07, (2, 1, 1)))
    y = y * rng.uniform(1, 1.02)  # the camera is not quite overhead
    radius = np.hypot(x, y)
    inside = np.minimum(outer - radius, radius - inner)
    chamfer = np.clip(1 - inside / rng.uniform(0.025, 0.04), 0, 1)
    marks = _turning_marks(radius, np.arctan2(y, x), rng)
    stains, dents = _cloud(rng, size_px, 7), _cloud(rng, size_px, 5)
    tint = _single(np.array([1.0, 0.97, 0.93]) + rng.normal(0, 0.012, 3))
    return Part(
        cover=_coverage(inside),
        height=0.0012 * dents - 0.009 * chamfer**2,
        grain=np.stack([-y, x]) / np.maximum(radius, 1e-3),
        ridges=0.16 * marks,
        matte=np.clip(0.10 + 0.03 * stains, 0, 1),
        albedo=(0.5 + 0.025 * stains + 0.025 * marks)[..., None] * tint,
        backdrop=_mat_and_wall(x, y, (inner, outer), azimuth, rng),
        azimuth=azimuth,
    )


def dig_hole(part: Part, rng: Generator) -> Part:
    """`part` with a pit: a ragged blob, rough and dark inside, with a raised rim that catches the light."""
    size_px = len(part.height)
    radius = rng.uniform(0.045, 0.095)
    x, y = _grid(size_px) - _spot(part, rng, margin=1.3 * radius)[:, None, None]
    ragged = 0.22 * _cloud(rng, size_px, 1.2 / radius) + 0.10 * _cloud(rng, size_px, 3 / radius)
    inside = radius * (1 + np.clip(ragged, -0.5, 0.4)) - np.hypot(x, y)
    depth = np.clip(inside / (0.45 * radius), 0, 1) ** 0.7
    rubble = _cloud(rng, size_px, size_px / 5)
    return replace(
        part,
        height=part.height - 0.05 * depth * (1 + 0.25 * rubble) + 0.008 * _bump(inside / 0.025),
        matte=np.maximum(part.matte, np.clip(3 * depth, 0, 1)),
        albedo=part.albedo * (1 - depth * np.clip(0.93 - 0.12 * rubble, 0, 1))[..., None],
    )


def draw_scratch(part: Part, rng: Generator) -> Part:
    """`part` with a scratch: a thin bent groove of bare metal with burred edges, here deep, there shallow."""
    size_px = len(part.height)
    distance, along = _distance_to(_stroke(_spot(part, rng, margin=0.1), rng, size_px), size_px)
    pressure = np.abs(np.sin(np.pi * along)) ** 0.5 * np.clip(0.8 + 0.3 * _wander(along, rng), 0.3, 1)
    width = max(rng.uniform(0.009, 0.015), 2 / size_px) * (0.5 + 0.5 * pressure)
    cut = part.cover * pressure * _bump(distance / width)
    burr = part.cover * pressure * _bump(1.5 * (distance / width - 1))
    return replace(
        part,
        height=part.height - 0.005 * cut + 0.002 * burr,
        matte=np.maximum(part.matte, cut),
        albedo=part.albedo * (1 + rng.uniform(0.8, 1.6) * cut - 0.25 * burr)[..., None],
    )


DEFECTS: dict[str, Callable[[Part, Generator], Part]] = {"hole": dig_hole, "scratch": draw_scratch}
"""Defect -> what does such damage to the upper face of a part. New ones go last: order enters seeds."""


def light(part: Part) -> Floats:
    """The linear light (H, W, 3), about 0 to 1, that part and ground send up to the camera.

    Each of two lamps adds a dull share, which follows the slope of the height, and a glossy lobe around the
    mirror direction, narrow along the grain and wide across it: the bow tie seen on every turned face.
    """
    slope_y, slope_x = np.gradient(part.height, 2 / len(part.height))
    grain_x, grain_y = part.grain
    ridges = (1 - part.matte) * part.ridges
    tilt_x, tilt_y = -slope_x - ridges * grain_y, -slope_y + ridges * grain_x  # of the surface normal
    upright = 1 / np.sqrt(1 + tilt_x**2 + tilt_y**2)
    dull, glossy = 0.10 + 0.07 * upright, np.zeros_like(upright)
    for azimuth, elevation, strength in ((part.azimuth, 0.95, 1.0), (part.azimuth + 2.5, 0.75, 0.4)):
        lamp_x, lamp_y = math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation)
        lamp_z = math.sin(elevation)
        halfway = 1 / math.sqrt(2 + 2 * lamp_z)  # between lamp and camera, which looks straight down
        dull += 0.17 * strength * np.maximum((tilt_x * lamp_x + tilt_y * lamp_y + lamp_z) * upright, 0)
        off_x, off_y = lamp_x * halfway - tilt_x * upright, lamp_y * halfway - tilt_y * upright
        along = (off_x * grain_x + off_y * grain_y) / (0.08 + 0.40 * part.matte)
        across = (off_y * grain_x - off_x * grain_y) / 0.48
        glossy += strength * (1 - 0.85 * part.matte) * np.exp(-(along**2) - across**2)
    face = (dull + 1.5 * glossy)[..., None] * part.albedo
    return _single(part.backdrop + part.cover[..., None] * (face - part.backdrop))


def photograph(scene: Floats, rng: Generator) -> npt.NDArray[np.uint8]:
    """The 8-bit picture (H, W, 3) that a modest camera takes of linear light: soft, vignetted and noisy."""
    size_px = len(scene)
    x, y = _grid(size_px)
    exposure = rng.normal(1, 0.04) * (1 - 0.10 * (x**2 + y**2))
    blur_px = rng.uniform(0.5, 0.7) * size_px / 256
    seen = ndimage.gaussian_filter(scene, (blur_px, blur_px, 0)) * exposure[..., None]
    grey, colour = (rng.standard_normal((size_px, size_px, depth), dtype=np.float32) for depth in (1, 3))
    seen += np.sqrt(2e-4 * np.maximum(seen, 0) + 2e-6) * (0.8 * grey + 0.4 * colour)
    levels = np.round(255 * np.clip(seen, 0, 1) ** (1 / 2.2))
    return np.asarray(levels, dtype=np.uint8)


def _visible_change(normal: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where two pictures visibly differ, (H, W), with what such pixels enclose."""
    change = np.abs(image.astype(np.int16) - normal).max(axis=2) > VISIBLE_LEVELS
    closed = change | ndimage.binary_closing(change, np.ones((3, 3)))
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def _write_sample(category: Path, folder: str, index: int, sample: Sample) -> None:
    (category / folder).mkdir(parents=True, exist_ok=True)
    write_png(category / folder / f"{index:03d}.png", sample.image)
    if not folder.endswith("good"):
        masks = category / folder.replace("test", "ground_truth", 1)
        masks.mkdir(parents=True, exist_ok=True)
        write_png(masks / f"{index:03d}_mask.png", sample.defect_mask)


def _single(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float32)


def _grid(size_px: int) -> Floats:
    """x and y of every pixel's centre, (2, H, W)."""
    steps = (2 * np.arange(size_px, dtype=np.float32) + 1) / size_px - 1
    return np.stack(np.meshgrid(steps, steps))


def _coverage(inside: Floats) -> Floats:
    """Share of each pixel inside a shape, from the distance to its edge (positive inside)."""
    return np.clip(inside * len(inside) / 2 + 0.5, 0, 1)


def _bump(offset: Floats) -> Floats:
    """1 at offset 0, falling smoothly to exactly 0 at -1 and 1."""
    return _single(np.clip(1 - offset**2, 0, 1) ** 2)


def _cloud(rng: Generator, size_px: int, cells: float) -> Floats:
    """Smooth noise (H, W) of mean 0 and deviation 1, about `cells` patches across the picture."""
    nodes = np.arange(-2, math.ceil(cells) + 3)
    weights = np.exp(-(((np.linspace(0, cells, size_px)[:, None] - nodes) / 0.7) ** 2))
    weights[weights < 0.01] = 0
    spread = sparse.csr_array(_single(weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))))
    coarse = rng.standard_normal((len(nodes), len(nodes)), dtype=np.float32)
    return _single(spread @ (spread @ coarse).T)


def _turning_marks(radius: Floats, angle: Floats, rng: Generator) -> Floats:
    """Noise (H, W) of deviation about 1, fine across the rings and long along them."""
    rings, arcs = 160, 64
    fine = ndimage.gaussian_filter(rng.standard_normal((arcs, rings)), (4, 0.6), mode="wrap")
    marks = _single(3 * fine + 0.7 * rng.standard_normal(rings))
    places = [angle / (2 * np.pi) % 1 * arcs, radius * rings]
    return _single(ndimage.map_coordinates(marks, places, order=1, mode="grid-wrap"))


def _mat_and_wall(x: Floats, y: Floats, radii: tuple[float, float], azimuth: float, rng: Generator) -> Floats:
    """Linear light (H, W, 3) from a dark mat in the washer's shadow and from the washer's side wall."""
    towards_x, towards_y = math.cos(azimuth), math.sin(azimuth)

    def inside(shift_x: float, shift_y: float) -> Floats:
        radius = np.hypot(x - shift_x, y - shift_y)
        return _single(np.minimum(radii[1] - radius, radius - radii[0]))

    fleece, patches = _cloud(rng, len(x), len(x) / 2.5), _cloud(rng, len(x), 4)
    shadow = 1 / (1 + np.exp(-inside(-0.07 * towards_x, -0.07 * towards_y) / 0.02))
    contact = np.exp(-np.abs(inside(0, 0)) / 0.05)
    mat = rng.uniform(0.012, 0.018) * (1 + 0.10 * fleece + 0.08 * patches) + 0.02 * np.clip(fleece - 3, 0, 1)
    mat *= (1 + 0.25 * (x * towards_x + y * towards_y)) * (1 - 0.65 * shadow) * (1 - 0.4 * contact)
    colour = _single(np.array([0.95, 1.0, 1.08]) + rng.normal(0, 0.02, 3))
    lower_x, lower_y = rng.normal(0, 0.012, 2).tolist()  # the lower rim, seen a little from one side
    wall = _coverage(inside(lower_x, lower_y))[..., None]
    outwards = np.sign(np.hypot(x, y) - sum(radii) / 2) / np.hypot(x, y)
    steel = 0.075 + 0.045 * outwards * (x * towards_x + y * towards_y)
    return _single(wall * steel[..., None] + (1 - wall) * mat[..., None] * colour)


def _spot(part: Part, rng: Generator, margin: float) -> Floats:
    """A point (x, y) on the upper face, drawn evenly from those `margin` or more from its edge."""
    clear = ndimage.distance_transform_edt(part.cover > 0.99) * 2 / len(part.cover)
    rows, columns = np.nonzero(clear >= min(margin, clear.max()))
    chosen = rng.integers(len(rows))
    return _single((2 * np.array([columns[chosen], rows[chosen]]) + 1) / len(clear) - 1)


def _wander(along: npt.NDArray[Any], rng: Generator) -> Floats:
    """A random polyline of deviation 1 over 0 to 1, at `along`."""
    return _single(np.interp(along, np.linspace(0, 1, 9), rng.standard_normal(9)))


def _stroke(middle: Floats, rng: Generator, size_px: int) -> Floats:
    """Points (N, 2) half a pixel apart on a gently bent line around `middle`."""
    along = np.linspace(0, 1, int(rng.uniform(0.25, 0.7) * size_px) + 1)
    heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.7) * along + 0.08 * _wander(along, rng)
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) / size_px, axis=0)
    return _single(middle + points - points[len(points) // 2])


def _distance_to(stroke: Floats, size_px: int) -> tuple[Floats, Floats]:
    """Each pixel's distance to the stroke, infinite from 0.06 on, and how far along (0 to 1) it is met."""
    distance, nearest = KDTree(stroke).query(_grid(size_px).reshape(2, -1).T, distance_upper_bound=0.06)
    along = np.minimum(nearest / len(stroke), 1)
    return _single(distance).reshape(size_px, size_px), _single(along).reshape(size_px, size_px)
