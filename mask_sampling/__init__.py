"""Masks for defects that do not exist yet: which shape, and where on the object.

Arrays in, arrays out. A mask is a bool array [H, W], True where the defect is; an image is uint8 or uint16
[H, W, C] with 1, 3 or 4 channels. All randomness comes from the generator that is passed in.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]


class PlacementError(ValueError):
    """No mask can be had that lies inside the foreground."""


class UncertainObject(ValueError):
    """A picture shows neither clearly an object on a ground nor clearly a texture."""


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns that hold all True pixels of `mask`. Raises ValueError when there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("the mask is empty")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def second_moments(mask: Mask) -> NDArray[np.float64]:
    """Return the covariance [2, 2] of the x and y of a mask's pixels, each of them a unit square."""
    y, x = np.nonzero(mask)
    return np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
