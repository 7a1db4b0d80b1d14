"""An object's own coordinates: where on the object something lies, however the object lies in the image.

`u` runs along the object's main axis and `v` across it, both from -1 at one end to 1 at the other; `depth` is the
distance from the outline, from 0 there to 1 at the innermost pixel. A texture has the frame for an object, its `u`
running downwards. A round object has no direction: only depth means anything on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, second_moments

MIN_ELONGATION = 1.25
"""An object that is longer than wide by less than this, by second moments, has no main axis."""
FRAME_COVER = 0.99
"""An object that covers at least this share of the image is a texture."""
RASTER = 48
"""Outlines are compared on a square of this many cells, in the object's own coordinates."""
SYMMETRY = 0.9
"""Intersection over union from which on an outline and its mirror image, or the two ends, cannot be told apart."""

Floats: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["object", "round", "frame"]
Flip: TypeAlias = tuple[int, int]
"""Signs of u and v."""
FLIPS: tuple[Flip, ...] = ((1, 1), (-1, -1), (1, -1), (-1, 1))


@dataclass(frozen=True)
class Pose:
    """The position and direction of an object in an image."""

    kind: Kind
    centre: tuple[float, float]
    """x, y in pixels."""
    axis: float
    """Direction of growing u: radians from the image's x axis towards its y axis."""
    half_length: float
    half_width: float
    """Pixels from the centre to either end, along the axis and across."""
    mirrored: bool = False
    """v grows to the left of the axis instead of the right."""

    def to_object(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return u and v of the pixels at x, y."""
        cos, sin = math.cos(self.axis), math.sin(self.axis)
        x, y = x - self.centre[0], y - self.centre[1]
        across = (cos * y - sin * x) / self.half_width
        return (cos * x + sin * y) / self.half_length, -across if self.mirrored else across

    def to_image(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return x and y in pixels of the positions u, v."""
        cos, sin = math.cos(self.axis), math.sin(self.axis)
        along, across = u * self.half_length, (-v if self.mirrored else v) * self.half_width
        return cos * along - sin * across + self.centre[0], sin * along + cos * across + self.centre[1]

    def moved(self, offset: tuple[int, int]) -> "Pose":
        """Return the pose of the same object further right and further down by an offset in pixels."""
        return replace(self, centre=(self.centre[0] + offset[0], self.centre[1] + offset[1]))

    def flipped(self, flip: Flip) -> "Pose":
        """Return the same object, with u and v times the flip's signs."""
        axis = self.axis + (math.pi if flip[0] < 0 else 0)
        mirrored = self.mirrored != (flip[0] * flip[1] < 0)
        return Pose(self.kind, self.centre, axis, self.half_length, self.half_width, mirrored)


@dataclass(frozen=True)
class Registration:
    """The way to bring a category's objects into one pose."""

    kind: Kind
    outline: Floats
    """[RASTER, RASTER], v by u: how often the references cover the cell; empty unless the kind is object."""
    flips: tuple[Flip, ...]
    """Those that an outline does not tell from another, doing nothing first; a position has as many equals."""

    def pose(self, foreground: Mask) -> Pose:
        """Return the pose of an object, its ends and sides told apart by how well its outline covers the references'.

        Raises ValueError when the foreground is empty, but for the kind "frame".
        """
        pose = _pose(foreground, self.kind)
        return pose if self.kind != "object" else _matched(pose, foreground, self.outline)

    def pose_like(self, other: Pose, foreground: Mask) -> Pose:
        """Return the pose of an object that has been turned as little as can be since another's, and not over.

        Of the poses that the outline does not tell apart `pose` returns any.
        """
        pose = self.pose(foreground)
        equal = [pose.flipped(one).flipped(two) for one in self.flips for two in self.flips]
        return min(equal, key=lambda each: (each.mirrored != other.mirrored, -math.cos(each.axis - other.axis)))


SAME_POSE = Registration("frame", np.zeros((0, 0)), ((1, 1),))
"""Of parts that lie the same in all pictures: the frame tells them, moved by an offset, and is not to be mirrored."""


def register(foregrounds: Sequence[Mask]) -> Registration:
    """Return the registration of the references' objects: their kind, and an outline where they have a main axis.

    Raises ValueError when there are none, or one of the kind "object" is empty.
    """
    kind = _kind(foregrounds)
    if kind != "object":
        return Registration(kind, np.zeros((0, 0)), ((1, 1), (1, -1)) if kind == "frame" else ((1, 1),))
    poses = [_pose(foreground, kind) for foreground in foregrounds]
    outline = _raster(foregrounds[0], poses[0])
    for _ in range(2):
        poses = [_matched(pose, found, outline) for pose, found in zip(poses, foregrounds, strict=True)]
        rasters = [_raster(found, pose) for pose, found in zip(poses, foregrounds, strict=True)]
        outline = np.mean(rasters, axis=0).astype(np.float64)
    flips = tuple(flip for flip in FLIPS if _overlap(_flip(outline, flip), outline) >= SYMMETRY)
    return Registration(kind, outline, flips)


def _kind(foregrounds: Sequence[Mask]) -> Kind:
    """Return the kind of most of a category's objects."""
    if not foregrounds:
        raise ValueError("there are no references")
    if np.median([foreground.mean() for foreground in foregrounds]) >= FRAME_COVER:
        return "frame"
    elongations = [math.sqrt(values[1] / values[0]) for values in map(_spread, foregrounds)]
    return "object" if np.median(elongations) >= MIN_ELONGATION else "round"


def _spread(foreground: Mask) -> Floats:
    """Return the two variances of a foreground's pixels along its axes, the smaller first."""
    if not foreground.any():
        raise ValueError("the foreground is empty")
    values = np.linalg.eigvalsh(second_moments(foreground))
    return values.astype(np.float64)


def _pose(foreground: Mask, kind: Kind) -> Pose:
    """Return the pose of an object by its moments; which end is which is left to chance."""
    height, width = foreground.shape
    if kind == "frame":
        return Pose("frame", ((width - 1) / 2, (height - 1) / 2), math.pi / 2, height / 2, width / 2)
    y, x = np.nonzero(foreground)
    if not x.size:
        raise ValueError("the foreground is empty")
    if kind == "round":
        radius = math.sqrt(x.size / math.pi)
        return Pose("round", (float(x.mean()), float(y.mean())), 0.0, radius, radius)
    direction = np.linalg.eigh(second_moments(foreground))[1][:, 1]
    axis = math.atan2(float(direction[1]), float(direction[0]))
    along = math.cos(axis) * x + math.sin(axis) * y
    across = math.cos(axis) * y - math.sin(axis) * x
    (low_u, high_u), (low_v, high_v) = ((line.min() - 0.5, line.max() + 0.5) for line in (along, across))
    middle_u, middle_v = (low_u + high_u) / 2, (low_v + high_v) / 2
    centre = (
        math.cos(axis) * middle_u - math.sin(axis) * middle_v,
        math.sin(axis) * middle_u + math.cos(axis) * middle_v,
    )
    return Pose("object", centre, axis, (high_u - low_u) / 2, (high_v - low_v) / 2)


def _matched(pose: Pose, foreground: Mask, outline: Floats) -> Pose:
    """Return `pose` with that flip under which the object covers the outline best; at a tie the first of FLIPS."""
    raster = _raster(foreground, pose)
    return pose.flipped(max(FLIPS, key=lambda flip: _overlap(_flip(raster, flip), outline)))


def _raster(foreground: Mask, pose: Pose) -> Floats:
    """Return a raster [RASTER, RASTER], v by u: 1 where the object covers the cell's middle."""
    steps = (np.arange(RASTER) + 0.5) / RASTER * 2 - 1
    x, y = pose.to_image(steps[None, :], steps[:, None])
    height, width = foreground.shape
    columns, rows = np.rint(x).astype(int).clip(0, width - 1), np.rint(y).astype(int).clip(0, height - 1)
    return foreground[rows, columns].astype(np.float64)


def _flip(raster: Floats, flip: Flip) -> Floats:
    flipped: Floats = raster[:: flip[1], :: flip[0]]
    return flipped


def _overlap(one: Floats, other: Floats) -> float:
    """Return the intersection over union of shares."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def depth(foreground: Mask) -> Floats:
    """Return the distance of every pixel from the foreground's outline, over the largest: 0 outside, 1 innermost.

    The frame's border is no outline of an object that goes on beyond it, but it is a texture's.
    """
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(foreground, 1, mode="constant" if foreground.all() else "edge")
    distance = distance_transform_edt(padded)[1:-1, 1:-1]
    depths: Floats = distance / max(1.0, float(distance.max()))
    return depths


def carried(mask: Mask, from_pose: Pose, to_pose: Pose, shape: tuple[int, ...]) -> Mask:
    """Return a mask drawn over one object as it lies on another, in an image of `shape` [H, W]; False beyond."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    columns, rows = (np.rint(line).astype(int) for line in from_pose.to_image(*to_pose.to_object(x, y)))
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    found: Mask = inside & mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]
    return found
