"""Near-duplicates: the same photograph again, encoded anew, scaled, cropped, brighter or darker, turned or mirrored.

Candidates come from a perceptual hash; the correlation of their fine structure, aligned, tells them from photographs
of two parts that look alike. docs/masks.md has the figures that the limits come from.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectfill.io.images import ImageArray

SIDE = 144
"""Photographs are compared at this many pixels squared, or at their own shorter side where that is less."""
SAME = 0.95
"""Photographs that correlate by this much are one."""
HASHED_SIDE, FREQUENCIES = 32, 8
FINEST, COARSEST = 0.8, 2.5
"""Standard deviations in pixels of the Gaussians between which structure counts."""
FAINT = 5.0
"""Grey levels of 256 below which structure counts less: noise, and what encoders make of flat areas."""
ALIGNED_BELOW = 3.0
"""Pictures are aligned by what is finer than a Gaussian of this deviation."""
LARGEST_SHIFT = 1 / 8
"""Of the side."""
EDGE = 3
"""Pixels at the border that do not count, since filters invent what lies beyond."""
LEAST_COMMON = 0.5
"""Share of the picture that the two have in common."""
STARTS = 2
"""Orientations, the likeliest ones, in which an alignment is tried."""
LEAST_RESPONSE = 0.35
"""Of phase correlation, 1 for a picture with itself: below it the two are not looked at more closely."""

Thumbnail = NDArray[np.float32]
"""[S, S], grey, 0 to 255."""


def thumbnail(image: ImageArray, side: int = SIDE) -> Thumbnail:
    """Return an image [H, W, C] as a square of at most `side` pixels, squeezed, grey."""
    import cv2

    grey = image[..., :3].mean(axis=2, dtype=np.float32) * np.float32(255 / np.iinfo(image.dtype).max)
    side = min(side, *grey.shape)
    return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA))


def perceptual_hash(image: ImageArray) -> str:
    """Return 16 hex digits: the signs of an image's lowest frequencies, by the discrete cosine transform.

    After Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, with signs in place of a
    median, so that hashes of the turned and mirrored image follow from it.
    """
    import cv2

    grey = cv2.resize(thumbnail(image), (HASHED_SIDE, HASHED_SIDE), interpolation=cv2.INTER_AREA)
    positive = cv2.dct(grey - grey.mean())[:FREQUENCIES, :FREQUENCIES] > 0
    return np.packbits(positive).tobytes().hex()


def hash_distances(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
    """Return the share of signs in which hashes differ, [N, M], in the best of the second's eight orientations."""
    signs = [_signs(each) for each in (first, second)]
    alternating = np.where(np.arange(FREQUENCIES) % 2, -1, 1).astype(np.float32)
    left, best = signs[0].reshape(len(first), -1), np.full((len(first), len(second)), -np.inf, np.float32)
    for turned in (signs[1], signs[1].swapaxes(1, 2)):
        for rows in (alternating[:, None], 1):  # a mirrored image has its odd frequencies negated
            for columns in (alternating, 1):
                right = (turned * rows * columns).reshape(len(second), -1)
                best = np.maximum(best, left[:, 1:] @ right[:, 1:].T)  # without the mean
    return np.asarray((1 - best / (FREQUENCIES**2 - 1)) / 2)


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """Return 1 and -1, [N, FREQUENCIES, FREQUENCIES]."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)
    signs = np.unpackbits(packed).astype(np.float32) * 2 - 1
    return signs.reshape(-1, FREQUENCIES, FREQUENCIES)


def likeness(first: Thumbnail, second: Thumbnail) -> float:
    """Return the correlation of two photographs' fine structure once the second lies on the first, at most 1.

    All eight orientations are looked at; shift, scale and shear are found. 0 where they cannot be aligned.
    """
    import cv2

    side = min(len(first), len(second))
    still, moving = (cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in (first, second))
    starts = [(*_shift(still, turned), turned) for turned in orientations(moving)]
    likely = sorted(starts, key=lambda start: -start[0])[:STARTS]
    values = [_aligned(still, turned, shift) for response, shift, turned in likely if response >= LEAST_RESPONSE]
    return max(values, default=0.0)


def _shift(still: Thumbnail, moving: Thumbnail) -> tuple[float, tuple[float, float]]:
    """Return how surely a shift brings `moving` in place, 1 for the same picture, and the shift in pixels."""
    import cv2

    window = cv2.createHanningWindow((len(still), len(still)), cv2.CV_32F)
    # Windowed here, since OpenCV's own windowing changes what it is given.
    (x, y), response = cv2.phaseCorrelate(_structure(still) * window, _structure(moving) * window)
    return (response / 2, (0.0, 0.0)) if max(abs(x), abs(y)) > len(still) * LARGEST_SHIFT else (response, (x, y))


def orientations(square: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield a picture [H, W] as it is and in its seven turned and mirrored orientations."""
    for picture in (square, square.T):
        for rows in (1, -1):
            for columns in (1, -1):
                yield np.ascontiguousarray(picture[::rows, ::columns])


def _aligned(still: Thumbnail, moving: Thumbnail, shift: tuple[float, float]) -> float:
    """Return the correlation of the structure once an affine map that begins at a shift brought `moving` in place."""
    import cv2

    warp = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    template, coarse = (picture - cv2.GaussianBlur(picture, (0, 0), ALIGNED_BELOW) for picture in (still, moving))
    try:
        _, warp = cv2.findTransformECC(template, coarse, warp, cv2.MOTION_AFFINE, ends, None, 5)
    except cv2.error:  # it does not converge, as photographs of two parts rarely do
        return 0.0
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, still.shape
    moved = cv2.warpAffine(moving, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    common = np.asarray(cv2.warpAffine(np.ones_like(moving), warp, size, flags=flags)) > 0.99
    common[:EDGE] = common[-EDGE:] = common[:, :EDGE] = common[:, -EDGE:] = False
    if common.mean() < LEAST_COMMON:
        return 0.0
    return _correlation(*(_structure(picture)[common] for picture in (still, np.asarray(moved))))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the correlation of values, 0 where either are all the same."""
    left, right = (values - values.mean() for values in (first.astype(np.float64), second.astype(np.float64)))
    strength = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / strength if strength else 0.0


def _structure(picture: Thumbnail) -> Thumbnail:
    """Return what a picture has between FINEST and COARSEST, of about the same strength everywhere.

    So flaws and texture count as much as an outline, which parts of one kind share.
    """
    import cv2

    band = cv2.GaussianBlur(picture, (0, 0), FINEST) - cv2.GaussianBlur(picture, (0, 0), COARSEST)
    strength = cv2.GaussianBlur(band * band, (0, 0), 2 * COARSEST)
    return np.asarray(band / np.sqrt(strength + FAINT**2))
