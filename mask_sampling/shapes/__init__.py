"""Samplers of defect shapes: functions of one form, `sampler(references, request, settings, rng)`, one module each.

A sampler returns a patch: a mask cropped to its bounding box, never empty, of about the requested area, turned as it
is to lie in the image. New samplers need a line in `mask_sampling.sampling.SAMPLERS` and nothing else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask

Floats: TypeAlias = NDArray[np.float64]

MIN_WIDTH_PX = 1.4
"""Parts of a shape thinner than this are drawn this wide, so that they stay connected."""


@dataclass(frozen=True)
class Shape:
    """The mask of a real defect."""

    patch: Mask
    """Cropped to its bounding box; it goes on beyond the frame where the frame cut the defect."""
    area_px: float
    """Of the part inside the frame."""
    axis: float
    """Direction of its object's main axis in its image: radians from the image's x axis towards its y axis."""


@dataclass(frozen=True)
class ShapeRequest:
    """A request for one shape."""

    like: int
    """The reference that it follows in size and direction: an index."""
    area_px: float
    """Pixels inside the frame: the patch of a shape that goes on beyond it is larger in the same proportion."""
    axis: float
    """Direction of the object's main axis in the image to be painted on; what is learnt turns with it."""
    mirrored: bool = False
    """Mirrored across the object's main axis."""


@dataclass(frozen=True)
class ShapeSettings:
    """Limits of how far a shape may depart from the reference that it follows."""

    rotation_degrees: float = 180.0
    """Rotated by up to this much, either way."""
    elastic: float = 0.05
    """Largest displacement over the longer side of the mask's bounding box; 0 turns bending off."""


Sampler: TypeAlias = Callable[[Sequence[Shape], ShapeRequest, ShapeSettings, np.random.Generator], Mask]


def patch_area_px(like: Shape, request: ShapeRequest) -> float:
    """Return the area of the whole patch that is asked for, what goes on beyond the frame included."""
    return request.area_px * float(like.patch.sum()) / like.area_px


def rotation(turn: float) -> Floats:
    """Return the matrix [2, 2] that turns x, y by `turn` (radians, from x towards y)."""
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


def turning(like: Shape, request: ShapeRequest, settings: ShapeSettings, rng: np.random.Generator) -> Floats:
    """Return the matrix ([2, 2], of x, y) from the image of `like` to the requested one: turned, perhaps mirrored.

    Its size is 1. The object's axis goes to the requested one, and from there up to `rotation_degrees` to either side.
    """
    turn = math.radians(float(rng.uniform(-1, 1)) * settings.rotation_degrees)
    side = -1.0 if request.mirrored else 1.0
    return rotation(request.axis + turn) @ np.diag([1.0, side]) @ rotation(-like.axis)
