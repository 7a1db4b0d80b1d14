"""Samplers of defect shapes: functions of one signature, each returning a tight patch.

A patch is a mask cropped to its bounding box; it is never empty. A sampler is called as
`sampler(references, settings, rng)`, with the masks of the real defects as references.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, bounding_box

MIN_WIDTH_PX = 1.4
"""Parts of a shape thinner than this, before or after scaling, are drawn this wide, so that they stay connected."""
BEND_LENGTH = 1 / 3
"""Distance between bends over the longer side of the bounding box, at least."""
BEND_LENGTH_PER_ELASTIC = 5.0
"""And at least this many times the largest displacement, so that nothing is folded over."""

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ShapeSettings:
    """How far a shape may depart from the reference it is made from."""

    rotation_degrees: float = 180.0
    """Rotated by up to this much, either way."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest factor, drawn log-uniformly; areas grow with its square."""
    flip: bool = True
    """Mirrored left to right in half of the cases."""
    elastic: float = 0.05
    """Largest displacement over the longer side of the mask's bounding box; 0 turns bending off."""


Sampler: TypeAlias = Callable[[Sequence[Mask], ShapeSettings, np.random.Generator], Mask]


def reference(references: Sequence[Mask], settings: ShapeSettings, rng: np.random.Generator) -> Mask:
    """The mask of one of `references`, mirrored, rotated, scaled and bent at random: a tight patch.

    Pixel areas grow with scale squared; curves down to one pixel in width stay whole. Raises ValueError when
    there are no references, or an empty one.
    """
    if not references:
        raise ValueError("there are no references")
    mask = references[int(rng.integers(len(references)))]
    patch = mask[bounding_box(mask)]
    if rng.random() < 0.5 and settings.flip:
        patch = patch[:, ::-1]
    angle = math.radians(float(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees)))
    scale = math.exp(float(rng.uniform(math.log(settings.scale[0]), math.log(settings.scale[1]))))
    return _transform(patch, angle, scale, settings.elastic, rng)


def _transform(patch: Mask, angle: float, scale: float, elastic: float, rng: np.random.Generator) -> Mask:
    """`patch` turned by `angle` (radians), scaled and bent, in one resampling."""
    from scipy.ndimage import map_coordinates

    reach_px = elastic * max(patch.shape)
    height, width = _canvas(patch.shape, angle, scale, reach_px)
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    spacing_px = scale * max(patch.shape) * max(BEND_LENGTH, BEND_LENGTH_PER_ELASTIC * elastic)
    bend_y, bend_x = reach_px * _smooth_noise((height, width), spacing_px, rng)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    field, margin_px = _inside_field(patch, MIN_WIDTH_PX / 2 / min(1, scale))
    source_y = cos * y + sin * x + bend_y + (patch.shape[0] - 1) / 2 + margin_px
    source_x = cos * x - sin * y + bend_x + (patch.shape[1] - 1) / 2 + margin_px
    moved: Mask = map_coordinates(field, [source_y, source_x], order=1, mode="constant", cval=-0.5) > 0
    return moved[bounding_box(moved)]


def _canvas(shape: tuple[int, ...], angle: float, scale: float, reach_px: float) -> tuple[int, int]:
    """Height and width that hold the transformed patch, each of the same parity as the patch's own.

    Equal parity puts both centres on the same spot of the pixel grid, so that doing nothing changes nothing.
    """
    height, width = shape
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    extra_y = (scale * (cos * height + sin * width + 2 * reach_px) - height) / 2 + MIN_WIDTH_PX
    extra_x = (scale * (cos * width + sin * height + 2 * reach_px) - width) / 2 + MIN_WIDTH_PX
    return height + 2 * max(0, math.ceil(extra_y)), width + 2 * max(0, math.ceil(extra_x))


def _inside_field(patch: Mask, half_width_px: float) -> tuple[Floats, int]:
    """A field over the patch and a margin around it, above 0 inside the shape; and that margin in pixels.

    Inside means within the mask, whose edge runs midway between True and False pixels, or within `half_width_px`
    of its medial axis. The latter keeps thin curves from falling apart; where the mask is wider than twice that
    it adds nothing.
    """
    from skimage.morphology import skeletonize

    margin_px = math.ceil(half_width_px) + 1
    padded = np.pad(patch, margin_px)
    return np.maximum(padded - 0.5, half_width_px - _distance_to_curve(skeletonize(padded))), margin_px


def _distance_to_curve(curve: Mask) -> Floats:
    """The distance of each pixel's centre from `curve`, in pixels.

    A curve of single pixels is meant, which runs straight from one to the next: midway between two that touch
    at a corner it passes the other two pixels there at half a diagonal.
    """
    from scipy.ndimage import distance_transform_edt

    falling, rising = curve[:-1, :-1] & curve[1:, 1:], curve[:-1, 1:] & curve[1:, :-1]
    passed = np.zeros_like(curve)
    passed[:-1, 1:] |= falling
    passed[1:, :-1] |= falling
    passed[:-1, :-1] |= rising
    passed[1:, 1:] |= rising
    distance: Floats = distance_transform_edt(~curve)
    distance[passed & ~curve] = math.sqrt(0.5)
    return distance


def _smooth_noise(shape: tuple[int, int], spacing_px: float, rng: np.random.Generator) -> Floats:
    """Two smooth random fields (2 H W), the components of a displacement whose largest length is 1.

    Random vectors sit on a grid `spacing_px` apart, with Gaussian bumps between them.
    """
    bumps = [_bumps(length, spacing_px) for length in shape]
    vectors = rng.standard_normal((2, bumps[0].shape[1], bumps[1].shape[1]))
    noise: Floats = bumps[0] @ vectors @ bumps[1].T
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    longest = np.hypot(*noise).max()
    return noise / longest if longest > 0 else noise


def _bumps(length: int, spacing_px: float) -> Floats:
    """The weight of every control point (columns) at every pixel (rows) along an axis of `length` pixels."""
    points = np.arange(-1, math.ceil(length / spacing_px) + 2)
    away = np.arange(length)[:, None] / spacing_px - points
    weights: Floats = np.exp(-(away**2) / (2 * 0.6**2))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
