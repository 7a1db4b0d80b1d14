"""The reference sampler: a real defect's mask, moved and bent."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, bounding_box
from mask_sampling.shapes import MIN_WIDTH_PX, Floats, Shape, ShapeRequest, ShapeSettings, patch_area_px, turning

BEND_LENGTH = 1 / 3
"""Distance between bends over the longer side of the bounding box, at least."""
BEND_LENGTH_PER_ELASTIC = 5.0
"""And at least this many times the largest displacement, so that nothing is folded over."""


def reference(
    references: Sequence[Shape], request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator
) -> Mask:
    """Return the mask of the requested reference, turned, scaled to the area and bent at random: a tight patch.

    Curves down to one pixel in width stay whole.
    """
    like = references[request.like]
    scale = math.sqrt(patch_area_px(like, request) / like.patch.sum())
    return bent(like.patch, scale * turning(like, request, settings, rng), settings.elastic, rng)


def bent(patch: Mask, matrix: Floats, elastic: float, rng: np.random.Generator) -> Mask:
    """Return `patch` under the linear map `matrix` ([2, 2], of x, y) and then bent, in one resampling: tight again."""
    from scipy.ndimage import map_coordinates

    stretch = np.linalg.svd(matrix, compute_uv=False)
    reach_px = elastic * max(patch.shape)
    height, width = _canvas(patch.shape, matrix, float(stretch[0]) * reach_px)
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    spacing_px = float(stretch[0]) * max(patch.shape) * max(BEND_LENGTH, BEND_LENGTH_PER_ELASTIC * elastic)
    bend_y, bend_x = reach_px * _smooth_noise((height, width), spacing_px, rng)
    (xx, xy), (yx, yy) = np.linalg.inv(matrix)
    field, margin_px = _inside_field(patch, MIN_WIDTH_PX / 2 / min(1.0, float(stretch[1])))
    source_y = yy * y + yx * x + bend_y + (patch.shape[0] - 1) / 2 + margin_px
    source_x = xy * y + xx * x + bend_x + (patch.shape[1] - 1) / 2 + margin_px
    moved: Mask = map_coordinates(field, [source_y, source_x], order=1, mode="constant", cval=-0.5) > 0
    return moved[bounding_box(moved)] if moved.any() else np.ones((1, 1), dtype=np.bool_)


def _canvas(shape: tuple[int, ...], matrix: Floats, reach_px: float) -> tuple[int, int]:
    """Return the height and width that hold the transformed patch, each of the same parity as the patch's own.

    Equal parity puts both centres on the same spot of the pixel grid, so that doing nothing changes nothing.
    """
    height, width = shape
    box_x, box_y = np.abs(matrix) @ (width, height) + 2 * reach_px
    extra_y, extra_x = (box_y - height) / 2 + MIN_WIDTH_PX, (box_x - width) / 2 + MIN_WIDTH_PX
    return height + 2 * max(0, math.ceil(extra_y)), width + 2 * max(0, math.ceil(extra_x))


def _inside_field(patch: Mask, half_width_px: float) -> tuple[Floats, int]:
    """Return a field over the patch and a margin around it, above 0 inside the shape; and that margin in pixels.

    Inside means within the mask, whose edge runs midway between True and False pixels, or within `half_width_px`
    of its medial axis. The latter keeps thin curves from falling apart; where the mask is wider than twice that
    it adds nothing.
    """
    margin_px = math.ceil(half_width_px) + 1
    padded = np.pad(patch, margin_px)
    return np.maximum(padded - 0.5, half_width_px - _distance_to_axis(padded.tobytes(), padded.shape)), margin_px


@lru_cache(maxsize=16)
def _distance_to_axis(mask: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return each pixel centre's distance from a mask's medial axis; kept, since few references make many shapes."""
    from skimage.morphology import skeletonize

    return _distance_to_curve(skeletonize(np.frombuffer(bytearray(mask), dtype=np.bool_).reshape(shape))).astype(
        np.float32
    )


def _distance_to_curve(curve: Mask) -> Floats:
    """Return the distance of each pixel's centre from `curve`, in pixels.

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


def _smooth_noise(shape: tuple[int, int], spacing_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return two smooth random fields [2, H, W], the components of a displacement whose largest length is 1.

    Random vectors sit on a grid `spacing_px` apart, with Gaussian bumps between them.
    """
    bumps = [_bumps(length, spacing_px) for length in shape]
    vectors = rng.standard_normal((2, bumps[0].shape[1], bumps[1].shape[1]), dtype=np.float32)
    noise: NDArray[np.float32] = bumps[0] @ (vectors @ bumps[1].T)
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    longest = np.hypot(*noise).max()
    return noise / longest if longest > 0 else noise


def _bumps(length: int, spacing_px: float) -> NDArray[np.float32]:
    """Return the weight of every control point (columns) at every pixel (rows) along an axis of `length` pixels."""
    points = np.arange(-1, math.ceil(length / spacing_px) + 2)
    away = np.arange(length)[:, None] / spacing_px - points
    weights = np.exp(-(away**2) / (2 * 0.6**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
