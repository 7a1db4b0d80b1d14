"""Defects that the frame cuts off: the sides they touch, and what they may be beyond."""

import math

import numpy as np

from mask_sampling import Mask, bounding_box
from mask_sampling.placement import Scene, Sides
from mask_sampling.shapes import Shape

BEYOND = 0.3
"""What the frame cut off is made up for by this share of the patch, mirrored at the frame."""


def reference_shape(mask: Mask, own: Scene, *, beyond: bool) -> Shape:
    """Return the shape of a reference, as on an object that is not mirrored."""
    patch, axis = mask[bounding_box(mask)], own.pose.axis
    if beyond:
        sides = sides_touched(mask)
        reach = [max(1, math.ceil(BEYOND * length)) for length in patch.shape for _ in range(2)]
        top, bottom, left, right = (length if side else 0 for length, side in zip(reach, sides, strict=True))
        patch = np.pad(patch, [(top, bottom), (left, right)], mode="symmetric")
        patch = patch[bounding_box(patch)]
    if own.pose.mirrored:
        patch, axis = patch[::-1], -axis
    return Shape(patch, float(mask.sum()), axis)


def sides_touched(mask: Mask) -> Sides:
    """Return the sides of the frame that a mask touches."""
    return bool(mask[0].any()), bool(mask[-1].any()), bool(mask[:, 0].any()), bool(mask[:, -1].any())
