"""A position on an object for a given shape: legal, likely by what the references show, and spread evenly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, PlacementError
from mask_sampling.pose import Pose, Registration, depth

GRID_SIDE = 256
"""Positions are compared on a grid of at most this many cells along the longer side."""
TRIES = 8
"""Positions tried on the grid before all pixels are computed."""
SLAB = 1 / 64
"""Share of the positions, by weight, that count as one line across the object while they are spread."""
FFT_DECIMALS = 3
"""Decimals of a number of pixels that the FFT gives in double precision; the others are noise."""

Floats: TypeAlias = NDArray[np.float64]
Sides: TypeAlias = tuple[bool, bool, bool, bool]
"""top, bottom, left, right of the frame."""
INSIDE: Sides = (False, False, False, False)


@dataclass(frozen=True)
class Scene:
    """An image in which a position is looked for. [H, W] pixels, [h, w] grid cells."""

    allowed: Mask
    """[H, W]: the object, without what the user has forbidden."""
    object_px: int
    """Pixels of the object."""
    pose: Pose
    factor: int
    """Pixels along the side of a grid cell."""
    share: NDArray[np.float32]
    """[h, w]: the allowed share of each cell."""
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    depth: NDArray[np.float32]
    """[h, w]: of the cells' middles."""
    density: Floats | None = None
    """[h, w]: how likely a defect's centroid lies there; None: all positions are equally likely."""


def scene(
    foreground: Mask, registration: Registration, permitted: Mask | None = None, offset: tuple[int, int] = (0, 0)
) -> Scene:
    """Return the scene of an object; `permitted` [H, W] is where the user lets defects be.

    offset: by how much the object lies further right and down than its foreground tells, which is then the frame.

    Raises ValueError when the foreground is empty, PlacementError when nothing of it is permitted.
    """
    pose = registration.pose(foreground).moved(offset)
    allowed = foreground if permitted is None else foreground & permitted
    if not allowed.any():
        raise PlacementError("the zones leave nothing of the object")
    factor = math.ceil(max(foreground.shape) / GRID_SIDE)
    share = _means(allowed, factor)
    rows, columns = ((np.arange(length) + 0.5) * factor - 0.5 for length in share.shape)
    u, v = pose.to_object(columns[None, :], rows[:, None])
    inside = depth(_means(foreground, factor) >= 0.5)
    single = np.float32
    return Scene(
        allowed, int(foreground.sum()), pose, factor, share, u.astype(single), v.astype(single), inside.astype(single)
    )


def _means(mask: Mask, factor: int) -> NDArray[np.float32]:
    """Return the True shares of `factor` by `factor` pixels; those missing at the right and below are False."""
    missing = [(0, -length % factor) for length in mask.shape]
    padded = np.pad(mask, missing)
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def place_patch(
    patch: Mask,
    scene: Scene,
    rng: np.random.Generator,
    *,
    limits: Sequence[tuple[float, float]] | None = None,
    spread: Sequence[float] | None = None,
    max_cut: float = 0.0,
    inside_px: float | None = None,
    sides: Sides = INSIDE,
    free: Mask | None = None,
) -> Mask:
    """Return `patch` (tight) at a legal position in the scene, cut to what is allowed: a mask of the image's size.

    Legal are the positions at which at least 1 - `max_cut` of `inside_px` (default: the whole patch) lies on what is
    allowed, and on `free` [H, W] where that is given, and which keep the centroid within the frame. A patch that
    goes on beyond the frame does so at `sides`. With `limits`, ranges of u, positions have the scene's density and
    on an object with a main axis the patch stays within one of them; without, all are equally likely. `spread`,
    two numbers in [0, 1), picks one: evenly spread numbers give evenly spread positions. Raises PlacementError when
    none is legal.
    """
    allowed = scene.allowed if free is None else scene.allowed & free
    share = scene.share if free is None else _means(allowed, scene.factor)
    y, x = (int(axis.mean()) for axis in np.nonzero(patch))
    moving = _Moving(patch, (y, x), (1 - max_cut) * (patch.sum() if inside_px is None else inside_px), sides)
    weights = np.ones(share.shape)
    if limits is not None and scene.density is not None:
        weights *= scene.density
    if limits is not None and scene.pose.kind == "object":
        weights *= _within(limits, moving, scene)
    if not weights.any():
        raise PlacementError("no place")
    likely = weights * moving.legal(share, scene.factor, allowed.shape)
    for _ in range(TRIES):
        if not likely.any():
            break
        cell = _pick(likely, scene, *(rng.random(2) if spread is None else spread))
        offset = rng.integers(scene.factor, size=2)
        placed = moving.at(int(cell[0] * scene.factor + offset[0]), int(cell[1] * scene.factor + offset[1]), allowed)
        if placed is not None:
            return placed
        likely[cell] = 0
    return _anywhere(moving, allowed, weights, scene.factor, rng)


@dataclass(frozen=True)
class _Moving:
    """A patch that is moved about."""

    patch: Mask
    centroid: tuple[int, int]
    """Row, column of the patch."""
    needed_px: float
    """At least as many pixels lie on what is allowed."""
    sides: Sides

    @property
    def too_few_px(self) -> float:
        """No more pixels than these are too few: what is needed is rounded, and nothing at all is never enough."""
        return max(0.0, self.needed_px - 0.5)

    def legal(self, share: NDArray[np.float32], factor: int, frame: tuple[int, ...]) -> Mask:
        """Return whether the patch can lie with its centroid in each cell, of which `share` [h, w] is allowed.

        Exact for cells of one pixel, a good guess for larger ones.
        """
        cells = _means(np.pad(self.patch, [(-middle % factor, 0) for middle in self.centroid]), factor)
        row, column = (-(-middle // factor) for middle in self.centroid)
        kind = np.float64 if factor == 1 else np.float32
        inside_px = factor**2 * _correlated(share.astype(kind), cells.astype(kind), row, column)
        legal: Mask = inside_px.round(FFT_DECIMALS) > self.too_few_px
        slack = factor - 1
        rows, columns = (np.arange(length) * factor for length in share.shape)
        height, width = frame
        top, left = rows - self.centroid[0], columns - self.centroid[1]
        if self.sides[0]:
            legal &= (top <= 0)[:, None]
        if self.sides[1]:
            legal &= (top + slack + self.patch.shape[0] >= height)[:, None]
        if self.sides[2]:
            legal &= left <= 0
        if self.sides[3]:
            legal &= left + slack + self.patch.shape[1] >= width
        return legal

    def at(self, row: int, column: int, allowed: Mask) -> Mask | None:
        """Return the mask with the patch's centroid at `row`, `column`, cut to what is allowed; None where illegal."""
        height, width = allowed.shape
        top, left = row - self.centroid[0], column - self.centroid[1]
        bottom, right = top + self.patch.shape[0], left + self.patch.shape[1]
        beyond = (top <= 0, bottom >= height, left <= 0, right >= width)
        if any(side and not crossed for side, crossed in zip(self.sides, beyond, strict=True)):
            return None
        rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
        placed = np.zeros_like(allowed)
        own = self.patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        placed[rows, columns] = own & allowed[rows, columns]
        return placed if placed.sum() > self.too_few_px else None


def _correlated(
    field: NDArray[np.floating], kernel: NDArray[np.floating], row: int, column: int
) -> NDArray[np.floating]:
    """Return at each cell the sum of `kernel` times `field` below it, with the kernel's `row`, `column` at the cell.

    By FFT. In double precision whole numbers come out with errors that vanish in FFT_DECIMALS.
    """
    from scipy import fft

    size = [
        fft.next_fast_len(whole + part - 1, real=True) for whole, part in zip(field.shape, kernel.shape, strict=True)
    ]
    spectrum = fft.rfft2(field, size) * np.conj(fft.rfft2(kernel, size))
    rolled: NDArray[np.floating] = np.roll(fft.irfft2(spectrum, size), (row, column), axis=(0, 1))
    return rolled[: field.shape[0], : field.shape[1]]


def _within(limits: Sequence[tuple[float, float]], moving: _Moving, scene: Scene) -> Mask:
    """Return the cells [h, w] at which the patch stays within one of the limits along the main axis.

    Limits that are too short for the patch, and for the grid to tell, reach at both ends as far as it takes.
    """
    y, x = np.nonzero(moving.patch)
    pose = scene.pose
    along = math.cos(pose.axis) * (x - moving.centroid[1]) + math.sin(pose.axis) * (y - moving.centroid[0])
    first, last = along.min() / pose.half_length, along.max() / pose.half_length
    length = last - first + math.sqrt(2) * scene.factor / pose.half_length
    within = np.zeros(scene.share.shape, dtype=np.bool_)
    for low, high in limits:
        lacking = max(0.0, length - (high - low)) / 2
        within |= (scene.u + first >= low - lacking) & (scene.u + last <= high + lacking)
    return within


def _pick(weights: Floats, scene: Scene, first: float, second: float) -> tuple[int, int]:
    """Return the cell at quantile `first` along u and, among its neighbours there, at quantile `second` along v."""
    cells = np.flatnonzero(weights)
    cells = cells[np.argsort(scene.u.ravel()[cells], kind="stable")]
    shares = np.cumsum(weights.ravel()[cells])
    shares /= shares[-1]
    middle = min(max(first, SLAB / 2), 1 - SLAB / 2)
    near = slice(*np.searchsorted(shares, [middle - SLAB / 2, middle + SLAB / 2]).tolist())
    slab = cells[near.start : near.stop + 1]
    slab = slab[np.argsort(scene.v.ravel()[slab], kind="stable")]
    shares = np.cumsum(weights.ravel()[slab])
    row, column = divmod(int(slab[np.searchsorted(shares, second * shares[-1], side="right")]), weights.shape[1])
    return row, column


def _anywhere(moving: _Moving, allowed: Mask, weights: Floats, factor: int, rng: np.random.Generator) -> Mask:
    """Return the patch at a position found by looking at all pixels, drawn by the cells' weights."""
    height, width = allowed.shape
    fine = weights.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    fine = fine * moving.legal(allowed.astype(np.float32), 1, allowed.shape)
    if not fine.any():
        raise PlacementError("no place")
    shares = np.cumsum(fine.ravel())
    row, column = divmod(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), width)
    placed = moving.at(row, column, allowed)
    assert placed is not None, "what is legal at every pixel is legal"
    return placed
