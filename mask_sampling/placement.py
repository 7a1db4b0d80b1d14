"""Where a defect can be: the object in an image, and a place on it for a given shape.

Distances between colours are in units of CIELAB, where black and white are 100 apart.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mask_sampling import DoesNotFit, Mask, bounding_box

WORK_SIDE_PX = 1024
"""Larger images are shrunk by a whole factor, until the longer side is at most this."""
GROUND_SHARE = 0.6
"""At least this share of the image's border is taken to show the ground; the rest may be object."""
MIN_UNEVENNESS = 0.25
"""No ground is taken to be more even than this, in units of CIELAB (8 bits resolve about 0.4)."""
GROUND_REACH = 4.0
"""What differs from the ground by less than this many times its unevenness is surely ground."""
MIN_CONTRAST = 8.0
"""An object differs by at least this many times the ground's unevenness, else the picture is a texture."""
EDGE_REACH = 0.02
"""What takes more than this share of the longer side to rise from ground to object is shading, not an edge."""
MIN_EDGE_REACH_PX = 10
"""Nor, in small images, fewer than this many pixels."""
DETAIL = 1 / 512
"""What is finer than this share of the longer side is noise, a hair, or a leak in an edge."""
MIN_LIT = 0.25
"""At most the rest of what stands out from the ground is taken for shadow."""
MAX_HOLE = 0.05
"""A hole larger than this share of the object is a hole in the object, through which the ground is seen."""
MIN_PIECE = 0.1
"""A piece smaller than this share of the largest is a speck."""
MIN_OBJECT = 0.001
"""An object covers at least this share of the image."""
BLIND_TRIES = 16
"""Positions tried at random before all of them are computed."""

Image: TypeAlias = NDArray[np.uint8 | np.uint16]
Floats: TypeAlias = NDArray[np.floating]


def place(shape: Mask, foreground: Mask, rng: np.random.Generator) -> Mask:
    """`shape` moved to a random position inside `foreground`: a mask of the foreground's size.

    Every position at which all True pixels of `shape` lie on True pixels of `foreground` is equally likely.
    Raises DoesNotFit when there is none, ValueError when the shape is empty.
    """
    patch = shape[bounding_box(shape)]
    if not foreground.any():
        raise DoesNotFit("the foreground is empty")
    box = bounding_box(foreground)
    row, column = _position(patch, foreground[box], rng)
    row, column = row + box[0].start, column + box[1].start
    placed = np.zeros_like(foreground)
    placed[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
    return placed


def _position(patch: Mask, foreground: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """The patch's top left corner: row, column. Blind tries that miss leave the choice uniform."""
    height, width = (whole - part + 1 for whole, part in zip(foreground.shape, patch.shape, strict=True))
    if height < 1 or width < 1:
        raise DoesNotFit("the shape is larger than the foreground")
    for row, column in rng.integers((height, width), size=(BLIND_TRIES, 2)).tolist():
        if foreground[row : row + patch.shape[0], column : column + patch.shape[1]][patch].all():
            return row, column
    positions = np.flatnonzero(_fits(patch, foreground))
    if not positions.size:
        raise DoesNotFit("the shape lies nowhere entirely inside the foreground")
    row, column = divmod(int(rng.choice(positions)), width)
    return row, column


def _fits(patch: Mask, foreground: Mask) -> Mask:
    """True at each position, of all that keep the patch in the frame, where it lies entirely inside.

    The number of its pixels that fall outside, as a correlation by FFT in double precision: whole numbers,
    with errors many orders of magnitude below the 0.5 they are compared with. What wraps around is cut off.
    """
    from scipy import fft

    size = [fft.next_fast_len(length, real=True) for length in foreground.shape]
    outside = fft.rfft2((~foreground).astype(np.float64), size)
    overlap = fft.irfft2(outside * np.conj(fft.rfft2(patch.astype(np.float64), size)), size)
    height, width = (whole - part + 1 for whole, part in zip(foreground.shape, patch.shape, strict=True))
    fits: Mask = overlap[:height, :width] < 0.5
    return fits


def find_foreground(image: Image) -> Mask:
    """The object in `image`, or all True when the image is a texture that fills the frame.

    The ground is what most of the border shows, evenly but for a gradient. The object is what stands out from
    it in colour (or alpha), up to the sharpest edge around it; shadows rise slowly and count as ground. Images
    are uint8 or uint16, H W C, with C = 1, 3 or 4; raises ValueError otherwise.
    """
    everywhere = np.ones(image.shape[:2], dtype=np.bool_)
    factor = min(math.ceil(max(image.shape[:2]) / WORK_SIDE_PX), *image.shape[:2])
    colours = _perceptual(image, factor)
    distance, unevenness = _ground_distance(colours)
    contrast = _otsu(distance)
    if contrast < MIN_CONTRAST * unevenness:
        return everywhere
    found = _clean(_cut_out(distance, _slope(colours), unevenness, contrast))
    return _enlarge(found, factor, image.shape[:2]) if found.mean() >= MIN_OBJECT else everywhere


def _perceptual(image: Image, factor: int) -> Floats:
    """`image`, smaller by `factor`, in CIELAB relative to its brightest pixel: H W K.

    K is 1 (lightness alone) for grey, and 4 with alpha, which counts up to 100; transparent pixels are 0.
    """
    from skimage.color import rgb2lab

    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 or uint16 H W C, C = 1, 3 or 4, found {image.dtype} {image.shape}")
    pixels = _shrink(image.astype(np.float32), factor)
    rgb = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    lab: Floats = rgb2lab(rgb / max(1, rgb.max()))
    if image.shape[2] == 1:
        return lab[..., :1]
    if image.shape[2] == 3:
        return lab
    alpha = pixels[..., 3:] / np.iinfo(image.dtype).max
    return np.concatenate([lab * alpha, 100 * alpha], axis=2)


def _shrink(pixels: Floats, factor: int) -> Floats:
    """Means over blocks of `factor` by `factor` pixels; rows and columns left over are dropped."""
    height, width, channels = pixels.shape[0] // factor, pixels.shape[1] // factor, pixels.shape[2]
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, channels)
    means: Floats = blocks.mean(axis=(1, 3))
    return means


def _enlarge(mask: Mask, factor: int, shape: tuple[int, ...]) -> Mask:
    """`mask` blown up by `factor` to `shape`, its last row and column repeated where some are missing."""
    large = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    missing = [(0, whole - part) for whole, part in zip(shape, large.shape, strict=True)]
    return np.pad(large, missing, mode="edge")


def _ground_distance(colours: Floats) -> tuple[Floats, float]:
    """How far each pixel is from the ground's colour there (H W), and the ground's own unevenness.

    The ground is a plane over the image in each channel, fitted to the GROUND_SHARE of the border that it
    fits best.
    """
    from scipy.ndimage import gaussian_filter

    smooth: Floats = gaussian_filter(colours, 2 * [_detail_px(colours)] + [0])
    y, x = (np.float32(1 / max(colours.shape)) * axis for axis in np.ogrid[: colours.shape[0], : colours.shape[1]])
    ring = _border(colours.shape[:2])
    terms = np.stack(np.broadcast_arrays(np.float32(1), y, x), axis=2)[ring]
    misfit = _length(smooth[ring] - np.median(smooth[ring], axis=0))
    for _ in range(5):
        kept = misfit <= np.quantile(misfit, GROUND_SHARE)
        level, slope_y, slope_x = plane = _least_squares(terms[kept], smooth[ring][kept])
        misfit = _length(smooth[ring] - np.einsum("nt,tk->nk", terms, plane))
    unevenness = float(np.quantile(misfit, GROUND_SHARE))
    distance = _length(smooth - level - slope_y * y[..., None] - slope_x * x[..., None])
    return distance, max(unevenness, MIN_UNEVENNESS)


def _border(shape: tuple[int, ...]) -> Mask:
    """True on the outermost fiftieth of the shorter side, at least 2 pixels."""
    width_px = max(2, min(shape) // 50)
    ring = np.ones(shape, dtype=np.bool_)
    ring[width_px:-width_px, width_px:-width_px] = False
    return ring


def _least_squares(terms: Floats, values: Floats) -> Floats:
    """The coefficients (T K) that bring `terms` (N T) nearest to `values` (N K).

    From the normal equations, summed by einsum, which unlike BLAS adds in one order whatever the threads.
    """
    products = np.einsum("ni,nj->ij", terms, terms, dtype=np.float64)
    sums = np.einsum("ni,nk->ik", terms, values, dtype=np.float64)
    coefficients: Floats = np.linalg.lstsq(products, sums, rcond=None)[0].astype(np.float32)
    return coefficients


def _length(colours: Floats) -> Floats:
    """The length of the vectors along the last axis."""
    length: Floats = np.sqrt(np.square(colours).sum(axis=-1))
    return length


def _otsu(distance: Floats) -> float:
    """The distance that best parts near pixels from far ones."""
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(distance))


def _slope(colours: Floats) -> Floats:
    """How steeply the colour changes at each pixel (H W), per pixel."""
    from scipy.ndimage import gaussian_gradient_magnitude

    sigma_px = _detail_px(colours)
    slopes = [gaussian_gradient_magnitude(colours[..., k], sigma_px) for k in range(colours.shape[2])]
    return _length(np.stack(slopes, axis=2))


def _cut_out(distance: Floats, slope: Floats, unevenness: float, contrast: float) -> Mask:
    """The object, by a watershed on the slope between what is surely object and what is surely ground.

    Object are pixels beyond `contrast`, save shadows: those that shading leads to from the border, with no edge
    between. Should that take most of them, the object itself has no sharp edge, and nothing counts as shadow.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, binary_opening
    from skimage.segmentation import watershed

    hair_px = round(_detail_px(distance))
    near = distance < min(GROUND_REACH * unevenness, contrast / 2)
    far = distance > contrast
    shading = near | (slope < contrast / max(MIN_EDGE_REACH_PX, EDGE_REACH * max(distance.shape)))
    lit = far & ~_joined_to_border(binary_opening(shading, iterations=hair_px))
    body = _main_pieces(lit if lit.sum() > MIN_LIT * far.sum() else far)
    ground = _pieces(near & ~body, MAX_HOLE * int(body.sum()))
    core = binary_erosion(body, iterations=hair_px, border_value=1)
    unknown = binary_dilation(~core & ~ground)
    markers = ground.astype(np.int32) + 2 * core.astype(np.int32)
    found: Mask = core | (watershed(slope, markers, mask=unknown) == 2)
    return found


def _joined_to_border(mask: Mask) -> Mask:
    """The connected pieces of `mask` that touch the frame."""
    from scipy.ndimage import label

    labels = label(mask)[0]
    touching = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[side] = True
    touching[0] = False
    joined: Mask = touching[labels]
    return joined


def _pieces(mask: Mask, min_area: float) -> Mask:
    """The connected pieces of `mask` that have at least `min_area` pixels."""
    from scipy.ndimage import label

    labels = label(mask)[0]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    pieces: Mask = (areas >= max(1, min_area))[labels]
    return pieces


def _detail_px(pixels: NDArray[np.generic]) -> float:
    """The size below which features of an image are not of interest, at least 1."""
    return max(1.0, DETAIL * max(pixels.shape[:2]))


def _main_pieces(mask: Mask) -> Mask:
    """The large connected pieces of `mask`, without hairs and specks."""
    from scipy.ndimage import binary_opening, label

    opened = binary_opening(mask, iterations=round(_detail_px(mask)))
    areas = np.bincount(label(opened)[0].ravel())
    return _pieces(opened, MIN_PIECE * int(areas[1:].max(initial=0)))


def _clean(found: Mask) -> Mask:
    """`found` without hairs, specks and small holes."""
    pieces = _main_pieces(found)
    return ~_pieces(~pieces, MAX_HOLE * int(pieces.sum()))
