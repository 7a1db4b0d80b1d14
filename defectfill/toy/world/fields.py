"""Noise and coordinates that textures and shapes are made of; fields are [S, S] float32."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from defectfill.toy.maps import Floats, Generator, single


@lru_cache(maxsize=16)
def pixels(size: int) -> tuple[Floats, Floats]:
    """Return x and y of every pixel, [S, S], 0 in the middle of the picture."""
    steps = np.arange(size, dtype=np.float32) - (size - 1) / 2
    x, y = np.broadcast_arrays(steps[None, :], steps[:, None])
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


@lru_cache(maxsize=64)
def _frequencies(size: int) -> tuple[Floats, Floats]:
    across, down = fft.rfftfreq(size).astype(np.float32), fft.fftfreq(size).astype(np.float32)
    return across[None, :] * 2 * np.pi, down[:, None] * 2 * np.pi


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is drawn evenly."""
    return math.exp(rng.uniform(math.log(low), math.log(max(high, low))))


def standard(field: Floats) -> Floats:
    """Return a field moved and scaled to mean 0 and deviation 1."""
    return (field - field.mean()) / np.float32(max(float(field.std()), 1e-6))


def smooth_step(field: Floats, middle: float, width: float) -> Floats:
    """Return 0 well below `middle`, 1 well above it, smooth over `width` between."""
    share = np.clip((field - np.float32(middle)) / np.float32(width) + np.float32(0.5), 0, 1)
    return share * share * (3 - 2 * share)


def _spectrum(rng: Generator, size: int) -> npt.NDArray[np.complex64]:
    parts = rng.standard_normal((size, size // 2 + 1, 2), dtype=np.float32)
    return parts.view(np.complex64)[..., 0]


def _squared_frequency(size: int, stretch: float, angle: float) -> Floats:
    """Return squared frequencies in radians per pixel, that along the direction `angle` counted `stretch` times."""
    f_x, f_y = _frequencies(size)
    if stretch == 1:
        return f_x * f_x + f_y * f_y
    along = np.float32(stretch * math.cos(angle)) * f_x + np.float32(stretch * math.sin(angle)) * f_y
    across = np.float32(math.cos(angle)) * f_y - np.float32(math.sin(angle)) * f_x
    return along * along + across * across


def smooth_noise(rng: Generator, size: int, scale: float, stretch: float = 1, angle: float = 0) -> Floats:
    """Return noise of deviation 1 without detail below about `scale` pixels, `stretch` times longer along `angle`."""
    squared = _squared_frequency(size, stretch, angle) * np.float32(scale * scale / 4)
    return standard(fft.irfft2(_spectrum(rng, size) * np.exp(-squared), s=(size, size)))


def band_noise(rng: Generator, size: int, scale: float, stretch: float = 1, angle: float = 0) -> Floats:
    """Return noise of deviation 1 whose grains are all about `scale` pixels large."""
    squared = _squared_frequency(size, stretch, angle) * np.float32(scale * scale / 6)
    return standard(fft.irfft2(_spectrum(rng, size) * (squared * np.exp(-squared)), s=(size, size)))


def octave_noise(rng: Generator, size: int, slope: float, stretch: float = 1, angle: float = 0) -> Floats:
    """Return noise of deviation 1 with detail at every scale; its amplitude falls with frequency to this power."""
    squared = _squared_frequency(size, stretch, angle) + np.float32((3 / size) ** 2)
    return standard(fft.irfft2(_spectrum(rng, size) * squared ** np.float32(-slope / 2), s=(size, size)))


def turned_pixels(rng: Generator, size: int, bend: float = 0) -> tuple[Floats, Floats]:
    """Return coordinates [S, S] along and across a random direction, bent by noise of `bend` pixels."""
    angle = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.35:
        angle = round(angle / (math.pi / 2)) * math.pi / 2  # parts are often put straight before a camera
    x, y = pixels(size)
    if bend > 0:
        scale = log_uniform(rng, size / 12, size)
        x = x + np.float32(bend) * smooth_noise(rng, size, scale)
        y = y + np.float32(bend) * smooth_noise(rng, size, scale)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def slopes(height: Floats) -> tuple[Floats, Floats]:
    """Return the slope [S, S] of a height towards x and towards y."""
    slope_x, slope_y = np.empty_like(height), np.empty_like(height)
    np.subtract(height[:, 2:], height[:, :-2], out=slope_x[:, 1:-1])
    np.subtract(height[2:], height[:-2], out=slope_y[1:-1])
    slope_x[:, 0], slope_x[:, -1] = slope_x[:, 1], slope_x[:, -2]
    slope_y[0], slope_y[-1] = slope_y[1], slope_y[-2]
    slope_x *= np.float32(0.5)
    slope_y *= np.float32(0.5)
    return slope_x, slope_y


def blur(field: Floats, sigma: float) -> Floats:
    """Return a field blurred by a Gaussian along its first two axes."""
    return single(ndimage.gaussian_filter(field, sigma, axes=(0, 1), truncate=3.0))
