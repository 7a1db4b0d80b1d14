"""The positions of the references' defects on their objects, and how likely a defect is anywhere on another object."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask
from mask_sampling.placement import Scene
from mask_sampling.pose import Flip

MIN_SPREAD = 0.05
"""No reference's neighbourhood is taken to be smaller than this standard deviation, in u, v and depth."""
ONE_SPREAD = 0.3
"""And where there is one reference, its position is taken to vary by this."""
SUPPORT = 0.1
"""Learnt positions reach beyond the references along the main axis by at most this share of their range, or by the
spread that is assumed where that is more."""

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectPosition:
    """The position of a reference's defect on its object."""

    u: float
    v: float
    depth: float
    """Of its centroid."""
    reach: tuple[float, float]
    """u of its two ends."""


def position_of(mask: Mask, scene_of_mask: Scene) -> ObjectPosition:
    """Return the position of a mask in the coordinates of its object. Raises ValueError when it is empty."""
    y, x = np.nonzero(mask)
    if not x.size:
        raise ValueError("the mask is empty")
    u, v = scene_of_mask.pose.to_object(x, y)
    cell = (int(y.mean()) // scene_of_mask.factor, int(x.mean()) // scene_of_mask.factor)
    return ObjectPosition(
        float(u.mean()), float(v.mean()), float(scene_of_mask.depth[cell]), (float(u.min()), float(u.max()))
    )


@dataclass(frozen=True)
class LearntPositions:
    """The positions of the references' defects: a density over the object, and its limits."""

    positions: tuple[ObjectPosition, ...]
    flips: tuple[Flip, ...]
    """Each position stands for as many, which the object's outline does not tell apart."""

    def density(self, scene: Scene) -> Floats:
        """Return how likely a centroid lies in each cell of the scene's grid [h, w], up to a factor.

        A Gaussian kernel around every reference, with Scott's rule for its width, over u, v and depth; over depth
        alone on round objects, over u and v alone where the object is the frame.
        """
        if scene.pose.kind == "round":
            return self._by_depth(scene)
        own = [("u", scene.u), ("v", scene.v)] + ([("depth", scene.depth)] if scene.pose.kind == "object" else [])
        widths = [self._width(name, len(own)) for name, _ in own]
        density = np.zeros(scene.share.shape)
        for position in self.positions:
            for flip in self.flips:
                middles = (position.u * flip[0], position.v * flip[1], position.depth)
                away = [
                    ((cells - middle) / width) ** 2
                    for (_, cells), middle, width in zip(own, middles, widths, strict=False)
                ]
                density += np.exp(-sum(away) / 2)
        return density

    def _by_depth(self, scene: Scene) -> Floats:
        """Return the density on a round object: a depth is as likely as in the references, however large its ring."""
        width = self._width("depth", 1)
        bins = np.linspace(0, 1, 33)
        ring = np.histogram(scene.depth[scene.depth > 0], bins)[0].clip(1)
        density = sum(np.exp(-(((scene.depth - position.depth) / width) ** 2) / 2) for position in self.positions)
        return density / ring[np.digitize(scene.depth, bins[1:-1])]

    def _width(self, name: str, dimensions: int) -> float:
        values = [getattr(position, name) for position in self.positions]
        spread = float(np.std(values)) if len(values) > 1 else ONE_SPREAD
        return max(MIN_SPREAD, spread * len(values) ** (-1 / (dimensions + 4)))

    def limits(self) -> list[tuple[float, float]]:
        """Return the ranges of u, one for each end that the object's outline does not tell from the other."""
        low = min(position.reach[0] for position in self.positions)
        high = max(position.reach[1] for position in self.positions)
        margin = max(SUPPORT * (high - low), MIN_SPREAD if len(self.positions) > 1 else ONE_SPREAD)
        ranges = {(low, high) if flip[0] > 0 else (-high, -low) for flip in self.flips}
        return [(low - margin, high + margin) for low, high in sorted(ranges)]
