"""Masks without what is empty around them, and how much two of them overlap."""

from dataclasses import dataclass

from mask_sampling import Mask, bounding_box


@dataclass(frozen=True)
class Spot:
    """A mask without what is empty around it."""

    top: int
    left: int
    patch: Mask


def spot_of(mask: Mask) -> Spot:
    """Return the spot that a mask covers. Raises ValueError when it is empty."""
    rows, columns = bounding_box(mask)
    return Spot(rows.start, columns.start, mask[rows, columns].copy())


def overlap(one: Spot, other: Spot) -> float:
    """Return the intersection over union of two masks on the same image."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom, right = (
        min(one.top + one.patch.shape[0], other.top + other.patch.shape[0]),
        min(one.left + one.patch.shape[1], other.left + other.patch.shape[1]),
    )
    if bottom <= top or right <= left:
        return 0.0
    parts = [
        spot.patch[top - spot.top : bottom - spot.top, left - spot.left : right - spot.left] for spot in (one, other)
    ]
    both = int((parts[0] & parts[1]).sum())
    return both / (int(one.patch.sum()) + int(other.patch.sum()) - both)


def grown(mask: Mask, distance_px: int) -> Mask:
    """Return the mask and everything nearer to it than `distance_px`."""
    from scipy.ndimage import distance_transform_edt

    near: Mask = distance_transform_edt(~mask) < distance_px
    return near
