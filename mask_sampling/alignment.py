"""Pictures of a part that lies much the same in all of them: how far it has moved, by phase correlation."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling.ground import Floats, Image, perceptual

WORK_SIDE_PX = 512
"""Larger images are shrunk by a whole factor, until the longer side is at most this."""
COARSE = 1 / 32
"""What is coarser than this share of the longer side is light and shade, which does not tell where a part lies."""
MAX_SHIFT = 0.1
"""A part that has moved by more than this share of the shorter side does not lie the same."""
MIN_LIKENESS = 0.5
"""Pictures of one part in one pose correlate by at least this, coarse light aside and brought on top of each other."""

Offset: TypeAlias = tuple[int, int]
"""x, y in pixels."""


@dataclass(frozen=True)
class Aligned:
    """A picture beside the template."""

    offset: Offset
    """By how much the part lies further right and further down than in the template."""
    likeness: float
    """Correlation of the two where they overlap, in [-1, 1]; 0 for a picture of another size or of one colour."""

    @property
    def is_alike(self) -> bool:
        """Whether the part lies in the picture as in the template."""
        return self.likeness >= MIN_LIKENESS


class Template:
    """A picture that others are compared with. Images are uint8 or uint16, [H, W, C], with C = 1, 3 or 4."""

    def __init__(self, image: Image) -> None:
        self.shape = image.shape[:2]
        self._factor = math.ceil(max(self.shape) / WORK_SIDE_PX)
        self._structure = _structure(image, self._factor)

    def align(self, image: Image) -> Aligned:
        """Return how far the part has moved in an image, and how alike it is."""
        from skimage.registration import phase_cross_correlation

        if image.shape[:2] != self.shape:
            return Aligned((0, 0), 0.0)
        structure = _structure(image, self._factor)
        if not (self._structure.any() and structure.any()):  # a picture of one colour
            return Aligned((0, 0), 0.0)
        window = np.outer(*(np.hanning(length + 2)[1:-1] for length in structure.shape))
        back = phase_cross_correlation(self._structure * window, structure * window)[0]
        rows, columns = (-round(float(shift)) for shift in back)
        if max(abs(rows), abs(columns)) > MAX_SHIFT * min(structure.shape):
            return Aligned((0, 0), 0.0)
        likeness = _correlation(*_overlap(self._structure, structure, rows, columns))
        return Aligned((columns * self._factor, rows * self._factor), likeness)


def _structure(image: Image, factor: int) -> Floats:
    """Return the lightness [h, w] of an image smaller by `factor`, without coarse light and shade."""
    from scipy.ndimage import gaussian_filter

    lightness = gaussian_filter(perceptual(image, factor)[..., 0], 1)
    fine: Floats = lightness - gaussian_filter(lightness, max(2.0, COARSE * max(lightness.shape)))
    return fine


def _overlap(one: Floats, other: Floats, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Return the parts of two pictures [h, w] that show the same, where the other has moved by rows and columns."""
    height, width = one.shape
    own = one[max(-rows, 0) : height - max(rows, 0), max(-columns, 0) : width - max(columns, 0)]
    moved = other[max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]
    return own, moved


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the correlation of two pictures, 0 where one is without structure; summed in one order by any threads."""
    first, second = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    norm = math.sqrt(float(np.square(first).sum()) * float(np.square(second).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0
