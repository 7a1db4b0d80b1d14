"""The object in an image, on which a defect can be: for each pixel, the probability that it belongs to it.

Distances between colours are in units of CIELAB, where black and white are 100 apart.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import Mask, UncertainObject
from mask_sampling.ground import Floats, Image, detail_px, ground_distance, perceptual, slope, smooth

WORK_SIDE_PX = 1024
"""Larger images are shrunk by a whole factor, until the longer side is at most this."""
GROUND_REACH = 4.0
"""What differs from the ground by less than this many times its unevenness is surely ground."""
DOUBT = (5.3, 8.0)
"""What differs from the ground by fewer times its unevenness is texture, by more an object; between, nobody knows."""
DOUBT_IF_SMALL = (8.0, 12.0)
"""The same for what may as well be knots, holes or stains: no piece covers as much as SMALL of the image."""
SMALL = 0.12
"""Share of the image below which a piece that stands out may be a blemish, or part of a pattern."""
EDGE_REACH = 0.02
"""What takes more than this share of the longer side to rise from ground to object is shading, not an edge."""
MIN_EDGE_REACH_PX = 10
"""Nor, in small images, fewer than this many pixels."""
MIN_LIT = 0.25
"""At most the rest of what stands out from the ground is taken for shadow."""
MAX_HOLE = 0.05
"""A hole larger than this share of the object is a hole in the object, through which the ground is seen."""
MIN_PIECE = 0.1
"""A piece smaller than this share of the largest is a speck."""
MIN_OBJECT = 0.02
"""An object covers at least this share of the image."""
MAX_OBJECT = 0.98
"""And at most this, or nothing is left that could be the ground."""
MAX_SPECK = 0.001
"""What covers less than this share of the image is a speck on an even texture."""
MIN_CERTAINTY = 0.55
"""Near the outline of an object, pixels are told from the ground at least this surely, on average."""
MIN_BLUR_PX = 1.0
"""No outline is known better than to this standard deviation."""
COLOUR_BINS = 64
"""Histograms of the distance from the ground have so many bins, up to four times the threshold."""
COLOUR_FLOOR = 0.002
"""Added to each bin's share of the pixels, so that colours hardly ever seen say little."""

Probability: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class ObjectSegmentation:
    """The object in a picture, or the texture that fills it."""

    probability: Probability
    """[H, W]: that a pixel belongs to the object; 1 everywhere for a texture."""
    contrast: float
    """By how many times the ground's unevenness the object differs from it: low for a texture."""
    certainty: float
    """0 to 1, how surely the pixels near the outline are told apart: the mean of |2 p - 1|; 1 for a texture."""

    @property
    def mask(self) -> Mask:
        """[H, W]: what is more likely object than ground."""
        likely: Mask = self.probability >= 0.5
        return likely


def find_object(image: Image) -> ObjectSegmentation:
    """Return the object in `image`, or all of it when the image is a texture that fills the frame.

    The ground is what most of the border shows, evenly but for a gradient. The object is what stands out from
    it in colour (or alpha), up to the sharpest edge around it; shadows rise slowly and count as ground. Images
    are uint8 or uint16, [H, W, C], with C = 1, 3 or 4; raises ValueError otherwise. Raises UncertainObject when the
    picture is neither clearly a texture nor clearly an object on a ground.
    """
    from skimage.filters import threshold_otsu

    factor = min(math.ceil(max(image.shape[:2]) / WORK_SIDE_PX), *image.shape[:2])
    smoothed = smooth(perceptual(image, factor))
    distance, unevenness = ground_distance(smoothed)
    threshold = float(threshold_otsu(distance))
    contrast = threshold / unevenness
    texture = ObjectSegmentation(np.ones(image.shape[:2], dtype=np.float32), contrast, 1.0)
    if contrast < DOUBT[0]:
        return texture
    steepness = slope(smoothed)
    found = _clean(_cut_out(distance, steepness, unevenness, threshold))
    area, largest = float(found.mean()), float(_areas(found)[1].max() / found.size)
    low, high = DOUBT if largest >= SMALL else DOUBT_IF_SMALL
    if contrast < low or area < MAX_SPECK:
        return texture
    if contrast < high:
        raise UncertainObject(
            f"what stands out differs from the ground by {contrast:.1f} times the ground's unevenness: an object of "
            f"{largest:.1%} of the image differs by at least {high:g} times, a texture by less than {low:g}"
        )
    if not MIN_OBJECT <= area <= MAX_OBJECT:
        raise UncertainObject(
            f"what stands out covers {area:.1%} of the image: an object covers {MIN_OBJECT:.0%} to {MAX_OBJECT:.0%}, "
            f"a speck on a texture less than {MAX_SPECK:.1%}"
        )
    depth, blur = _outline(found, steepness, threshold)
    probability = _probability(found, distance, threshold, depth, blur)
    certainty = float(np.abs(2 * probability[np.abs(depth) < _edge_reach_px(found)] - 1).mean())
    if certainty < MIN_CERTAINTY:
        raise UncertainObject(
            f"the outline is blurred: near it, object and ground are told apart with a certainty of {certainty:.2f}, "
            f"expected at least {MIN_CERTAINTY:g}"
        )
    return ObjectSegmentation(_enlarge(probability, factor, image.shape[:2]), contrast, certainty)


def _outline(found: Mask, slope: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Return each pixel's depth inside the outline ([H, W], negative outside) and the nearest edge's blur, in px.

    The blur is the standard deviation of the Gaussian that makes a step of twice the threshold as steep, but at
    most twice the reach of an edge.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    rim = found & ~binary_erosion(found, border_value=1)
    away, (rows, columns) = distance_transform_edt(~rim, return_indices=True)
    depth = np.where(found, away + 0.5, 0.5 - away).astype(np.float32)
    steepness = slope[rows, columns] * np.float32(math.sqrt(2 * math.pi) / (2 * threshold))
    return depth, 1 / steepness.clip(0.5 / _edge_reach_px(found), 1 / MIN_BLUR_PX)


def _probability(found: Mask, distance: Floats, threshold: float, depth: Floats, blur: Floats) -> Probability:
    """Return the probability of each pixel to be the object's, by its position and its colour's distance from ground.

    By position alone it is a step blurred like the edge: 1.7 is where a logistic curve is nearest to the normal
    distribution's. No colour can take a pixel across the outline.
    """
    odds = 1.7 * depth / blur + _colour_odds(found, distance, threshold, np.abs(depth) > blur)
    probability = (0.5 + 0.5 * np.tanh(odds / 2)).astype(np.float32)
    half = np.float32(0.5)
    return np.where(found, np.maximum(probability, half), np.minimum(probability, np.nextafter(half, np.float32(0))))


def _colour_odds(found: Mask, distance: Floats, threshold: float, sure: Mask) -> Floats:
    """Return the logarithm of how many times likelier each pixel's distance is in the object than on the ground [H, W].

    By the histograms of the pixels that are `sure`; 0 where both are empty.
    """
    from scipy.ndimage import gaussian_filter1d

    bins = np.minimum(distance * (COLOUR_BINS / (4 * threshold)), COLOUR_BINS).astype(np.intp)
    shares = []
    for kind in (found, ~found):
        counts = np.bincount(bins[kind & sure], minlength=COLOUR_BINS + 1)
        shares.append(gaussian_filter1d(counts / max(1, counts.sum()), 1) + COLOUR_FLOOR)
    odds: Floats = np.log(shares[0] / shares[1]).astype(np.float32)
    return odds[bins]


def _enlarge(probability: Probability, factor: int, shape: tuple[int, ...]) -> Probability:
    """Return `probability` enlarged by `factor` to `shape`, its last row and column repeated where some are missing."""
    large = probability.repeat(factor, axis=0).repeat(factor, axis=1)
    missing = [(0, whole - part) for whole, part in zip(shape, large.shape, strict=True)]
    return np.pad(large, missing, mode="edge")


def _cut_out(distance: Floats, slope: Floats, unevenness: float, threshold: float) -> Mask:
    """Return the object, by a watershed on the slope between what is surely object and what is surely ground.

    Object are pixels beyond `threshold`, save shadows: those that shading leads to from the border, with no edge
    between. Should that take most of them, the object itself has no sharp edge, and nothing counts as shadow.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, binary_opening
    from skimage.segmentation import watershed

    hair_px = round(detail_px(distance))
    near = distance < min(GROUND_REACH * unevenness, threshold / 2)
    far = distance > threshold
    shading = near | (slope < threshold / _edge_reach_px(distance))
    lit = far & ~_joined_to_border(binary_opening(shading, iterations=hair_px))
    body = _main_pieces(lit if lit.sum() > MIN_LIT * far.sum() else far)
    ground = _pieces(near & ~body, MAX_HOLE * int(body.sum()))
    core = binary_erosion(body, iterations=hair_px, border_value=1)
    unknown = binary_dilation(~core & ~ground)
    markers = ground.astype(np.int32) + 2 * core.astype(np.int32)
    found: Mask = core | (watershed(slope, markers, mask=unknown) == 2)
    return found


def _joined_to_border(mask: Mask) -> Mask:
    """Return the connected pieces of `mask` that touch the frame."""
    from scipy.ndimage import label

    labels = label(mask)[0]
    touching = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[side] = True
    touching[0] = False
    joined: Mask = touching[labels]
    return joined


def _areas(mask: Mask) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the connected pieces of `mask`, numbered from 1 [H, W], and the pixels of each number; 0 has none."""
    from scipy.ndimage import label

    labels = label(mask)[0]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return labels, areas


def _pieces(mask: Mask, min_area: float) -> Mask:
    """Return the connected pieces of `mask` that have at least `min_area` pixels."""
    labels, areas = _areas(mask)
    pieces: Mask = (areas >= max(1, min_area))[labels]
    return pieces


def _edge_reach_px(pixels: NDArray[np.generic]) -> float:
    """Return how many pixels an edge takes at most to rise from ground to object; what takes more is shading."""
    return max(MIN_EDGE_REACH_PX, EDGE_REACH * max(pixels.shape[:2]))


def _main_pieces(mask: Mask) -> Mask:
    """Return the large connected pieces of `mask`, without hairs and specks."""
    from scipy.ndimage import binary_opening

    opened = binary_opening(mask, iterations=round(detail_px(mask)))
    labels, areas = _areas(opened)
    pieces: Mask = (areas >= max(1, MIN_PIECE * areas.max()))[labels]
    return pieces


def _clean(found: Mask) -> Mask:
    """Return `found` without hairs, specks and small holes."""
    pieces = _main_pieces(found)
    return ~_pieces(~pieces, MAX_HOLE * int(pieces.sum()))
