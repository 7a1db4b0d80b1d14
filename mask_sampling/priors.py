"""Measures of masks, and how near samples come to the references in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, bounding_box, second_moments

WIDEN = 1.15
"""Areas reach beyond the smallest and the largest reference by this factor."""
LONG = 1.5
"""A mask has a direction when it is longer than wide by at least this, by second moments."""
SLACK = 1.75
"""A sample's elongation may leave the references' range by this factor."""
LINE = 6.0
"""What is more elongated than this is a line, and one line as good as another."""
WIDTH_SLACK = 3.0
"""And its width by this."""

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Attributes:
    """The measures by which masks are compared."""

    area_fraction: float
    """Of the object, not of the frame."""
    elongation: float
    """Longer over shorter axis of the ellipse with the same second moments."""
    width: float
    """Median along its medial axis, over the square root of the object's area: the same in pictures of any size."""
    width_px: float
    """The same in pixels of its own picture."""
    direction_degrees: float
    """From the object's main axis to the mask's, in [0, 180), or nan where the mask has none."""
    pieces: int
    """Connected components, diagonal neighbours being joined."""


def measure(mask: Mask, object_px: float, axis: float = 0.0) -> Attributes:
    """Return the attributes of a mask on an object of `object_px` pixels whose main axis lies in direction `axis`.

    Raises ValueError when the mask is empty.
    """
    from scipy.ndimage import distance_transform_edt, label
    from skimage.morphology import skeletonize

    patch = np.pad(mask[bounding_box(mask)], 1)
    values, vectors = np.linalg.eigh(second_moments(patch))
    elongation = math.sqrt(values[1] / values[0])
    direction = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]) - axis) % 180
    width_px = float(np.median(2 * distance_transform_edt(patch)[skeletonize(patch)] - 1))
    return Attributes(
        area_fraction=float(patch.sum()) / object_px,
        elongation=elongation,
        width=width_px / math.sqrt(object_px),
        width_px=width_px,
        direction_degrees=direction if elongation >= LONG else math.nan,
        pieces=int(label(patch, np.ones((3, 3)))[1]),
    )


def area_fraction_at(quantile: float, references: Sequence[float]) -> float:
    """Return the area fraction at a quantile of the references', interpolated between them and WIDEN beyond.

    Interpolation in the logarithm, each reference in the middle of its share of the quantiles.
    """
    logs = np.sort(np.log(references))
    at = np.concatenate([[0.0], (np.arange(logs.size) + 0.5) / logs.size, [1.0]])
    values = np.concatenate([logs[:1] - math.log(WIDEN), logs, logs[-1:] + math.log(WIDEN)])
    return math.exp(float(np.interp(quantile, at, values)))


def departure(sample: Attributes, references: Sequence[Attributes], area_tolerance: float) -> str | None:
    """Return the attribute of a sample that is unlike any reference's, or None. Areas may leave by `area_tolerance`.

    A mask of the width of a pixel is never too wide.
    """
    pixel = sample.width / sample.width_px
    ranges = (("area_fraction", area_tolerance, 0.0), ("elongation", SLACK, 0.0), ("width", WIDTH_SLACK, pixel))
    for name, slack, least in ranges:
        most = LINE if name == "elongation" else math.inf
        value, *values = (min(getattr(each, name), most) for each in (sample, *references))
        if not min(values) / slack <= value <= max(least, max(values) * slack):
            return name
    if sample.pieces > max(reference.pieces for reference in references) + 1:
        return "pieces"
    return None


@dataclass(frozen=True)
class Comparison:
    """One attribute of the samples beside the references'."""

    attribute: str
    references: tuple[float, float, float]
    """Smallest, median, largest."""
    samples: tuple[float, float, float]
    ks: float
    """Kolmogorov-Smirnov distance, 0 to 1."""
    wasserstein: float
    """In the attribute's unit."""


def compare(references: Sequence[Attributes], samples: Sequence[Attributes]) -> list[Comparison]:
    """Return the two-sample distances of every attribute that both sides have."""
    from scipy.stats import ks_2samp, wasserstein_distance

    comparisons = []
    for name in ("area_fraction", "elongation", "width_px", "direction_degrees", "pieces"):
        sides = [np.array([getattr(each, name) for each in side], dtype=np.float64) for side in (references, samples)]
        sides = [side[~np.isnan(side)] for side in sides]
        if not all(side.size for side in sides):
            continue
        if name == "direction_degrees":
            sides = _unrolled(*sides)
        low, high = (tuple(float(value) for value in np.quantile(side, [0, 0.5, 1])) for side in sides)
        ks, distance = float(ks_2samp(*sides).statistic), float(wasserstein_distance(*sides))
        comparisons.append(Comparison(name, (low[0], low[1], low[2]), (high[0], high[1], high[2]), ks, distance))
    return comparisons


def axial_spread(directions_degrees: Sequence[float]) -> float:
    """Return the standard deviation, in degrees, of directions that repeat every 180 degrees; 90 at most."""
    length = abs(np.exp(2j * np.radians(directions_degrees)).mean())
    return min(90.0, math.degrees(math.sqrt(-2 * math.log(length)) / 2)) if length > 0 else 90.0


def _unrolled(references: Floats, samples: Floats) -> list[Floats]:
    """Return directions, which repeat every 180 degrees, within 90 degrees of the references' mean direction."""
    doubled = np.exp(2j * np.radians(references)).mean()
    middle = math.degrees(np.angle(doubled)) / 2
    return [(side - middle + 90) % 180 - 90 + middle for side in (references, samples)]
