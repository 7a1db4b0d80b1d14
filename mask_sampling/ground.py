"""The ground of a picture: the colour of most of its border, and how far each pixel is from it.

Distances between colours are in units of CIELAB, where black and white are 100 apart.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask

GROUND_SHARE = 0.6
"""At least this share of the image's border is taken to show the ground; the rest may be object."""
MIN_UNEVENNESS = 0.25
"""No ground is taken to be more even than this, in units of CIELAB (8 bits resolve about 0.4)."""
DETAIL = 1 / 512
"""What is finer than this share of the longer side is noise, a hair, or a leak in an edge."""

Image: TypeAlias = NDArray[np.uint8 | np.uint16]
Floats: TypeAlias = NDArray[np.floating]


def perceptual(image: Image, factor: int) -> Floats:
    """Return `image`, smaller by `factor`, in CIELAB relative to its brightest pixel: [H, W, K].

    K is 1 (lightness alone) for grey, and 4 with alpha, which counts up to 100; transparent pixels are 0.
    """
    from skimage.color import rgb2lab

    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 or uint16 [H, W, C], C = 1, 3 or 4, found {image.dtype} {image.shape}")
    pixels = _shrink(image.astype(np.float32), factor)
    rgb = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    lab: Floats = rgb2lab(rgb / max(1, rgb.max()))
    if image.shape[2] == 1:
        return lab[..., :1]
    if image.shape[2] == 3:
        return lab
    alpha = pixels[..., 3:] / np.iinfo(image.dtype).max
    return np.concatenate([lab * alpha, 100 * alpha], axis=2)


def _shrink(pixels: Floats, factor: int) -> Floats:
    """Return the means over blocks of `factor` by `factor` pixels; rows and columns left over are dropped."""
    height, width, channels = pixels.shape[0] // factor, pixels.shape[1] // factor, pixels.shape[2]
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, channels)
    means: Floats = blocks.mean(axis=(1, 3))
    return means


def smooth(colours: Floats) -> list[Floats]:
    """Return the channels [H, W], without what is finer than detail."""
    from scipy.ndimage import gaussian_filter

    return [gaussian_filter(colours[..., k], detail_px(colours)) for k in range(colours.shape[2])]


def ground_distance(smooth: Sequence[Floats]) -> tuple[Floats, float]:
    """Return how far each pixel is from the ground's colour there [H, W], and the ground's own unevenness.

    The ground is a plane over the image in each channel [H, W], fitted to the GROUND_SHARE of the border that it
    fits best.
    """
    height, width = shape = smooth[0].shape
    y, x = (np.float32(1 / max(shape)) * axis for axis in np.ogrid[:height, :width])
    ring = _border(shape)
    terms = np.stack([np.broadcast_to(term, shape)[ring] for term in (np.float32(1), y, x)], axis=1)
    seen = np.stack([channel[ring] for channel in smooth], axis=1)
    misfit = np.linalg.norm(seen - np.median(seen, axis=0), axis=1)
    for _ in range(5):
        kept = misfit <= np.quantile(misfit, GROUND_SHARE)
        plane = _least_squares(terms[kept], seen[kept])
        misfit = np.linalg.norm(seen - np.einsum("nt,tk->nk", terms, plane), axis=1)
    unevenness = float(np.quantile(misfit, GROUND_SHARE))
    squares = np.zeros(shape, dtype=np.float32)
    for channel, (level, slope_y, slope_x) in zip(smooth, plane.T, strict=True):
        squares += np.square(channel - (level + slope_y * y + slope_x * x))
    return np.sqrt(squares), max(unevenness, MIN_UNEVENNESS)


def _border(shape: tuple[int, ...]) -> Mask:
    """Return a mask that is True on the outermost fiftieth of the shorter side, at least 2 pixels."""
    width_px = max(2, min(shape) // 50)
    ring = np.ones(shape, dtype=np.bool_)
    ring[width_px:-width_px, width_px:-width_px] = False
    return ring


def _least_squares(terms: Floats, values: Floats) -> Floats:
    """Return the coefficients [T, K] that bring `terms` [N, T] nearest to `values` [N, K].

    From the normal equations, summed by einsum, which unlike BLAS adds in one order whatever the threads.
    """
    products = np.einsum("ni,nj->ij", terms, terms, dtype=np.float64)
    sums = np.einsum("ni,nk->ik", terms, values, dtype=np.float64)
    coefficients: Floats = np.linalg.lstsq(products, sums, rcond=None)[0].astype(np.float32)
    return coefficients


def slope(smooth: Sequence[Floats]) -> Floats:
    """Return how steeply the colour changes at each pixel [H, W], per pixel."""
    squares = np.zeros_like(smooth[0])
    for channel in smooth:
        padded = np.pad(channel, 1, mode="edge")
        squares += np.square(padded[2:, 1:-1] - padded[:-2, 1:-1]) + np.square(padded[1:-1, 2:] - padded[1:-1, :-2])
    return np.sqrt(squares) / 2


def detail_px(pixels: NDArray[np.generic]) -> float:
    """Return the size below which features of an image are not of interest, at least 1."""
    return max(1.0, DETAIL * max(pixels.shape[:2]))
