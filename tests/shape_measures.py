"""What the tests of the shape samplers share: references to draw from, and measures of what was drawn."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial import ConvexHull

from mask_sampling import Mask, bounding_box, second_moments
from mask_sampling.shapes import Shape

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)
seeds = st.integers(0, 2**32 - 1)


def shape_of(mask: Mask, axis: float = 0.0) -> Shape:
    return Shape(mask[bounding_box(mask)], float(mask.sum()), axis)


def direction(mask: Mask) -> float:
    """Of the longer axis, in radians from x towards y."""
    longest = np.linalg.eigh(second_moments(mask))[1][:, 1]
    return math.atan2(longest[1], longest[0])


def elongation(mask: Mask) -> float:
    values = np.linalg.eigvalsh(second_moments(mask))
    return float(math.sqrt(values[1] / values[0]))


def solidity(mask: Mask) -> float:
    """The area over that of the convex hull."""
    corners = np.concatenate([np.argwhere(mask) + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return float(mask.sum() / ConvexHull(corners).volume)
