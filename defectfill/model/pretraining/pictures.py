"""The pictures a base is pretrained on: real folders and toy categories, and random crops and masks of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from defectfill.ingest.find import find_images
from defectfill.io.errors import DataError
from defectfill.io.hashing import derive_seed
from defectfill.io.progress import progress
from defectfill.io.white_level import deep_maximum, read_stretched, white_level_of
from defectfill.model.pretraining.config import PretrainConfig
from defectfill.painting.window import resize, unit_rgb
from defectfill.toy import make_sample, world

MATERIALS_CAPTION = "part"
"""Caption of the pictures of random materials: what a user's own noun comes nearest to."""

WIDEST_BOX = 0.6
"""Of the side of a view: the widest box round a mark that is not wider itself."""


@dataclass(frozen=True)
class Pictures:
    """All pictures to learn from, in memory."""

    pixels: NDArray[np.uint8]
    """[N, S, S, 3]"""
    captions: tuple[str, ...]
    """One per picture: the category's name, with spaces for underscores."""


def gather_pictures(config: PretrainConfig) -> Pictures:
    """Return all pictures of a config at pictures.side_px; of a long real image, the square in the middle.

    White in a folder's images of 16 bits is found as by data.white_level auto.
    Raises DataError for folders without images.
    """
    side = config.pictures.side_px
    real = {name: _images_in(folder) for name, folder in config.pictures.folders.items()}
    white = {name: white_level_of(max(map(deep_maximum, images))) for name, images in real.items()}
    jobs: list[tuple[str, Path | int]] = [(name, path) for name, images in real.items() for path in images]
    for name, count in config.pictures.toys.items():
        jobs += [(name, index) for index in range(count)]
    jobs += [(MATERIALS_CAPTION, index) for index in range(config.pictures.materials)]
    pixels = np.empty((len(jobs), side, side, 3), dtype=np.uint8)
    captions = []
    for row, (name, source) in enumerate(progress(jobs, "pictures")):
        if isinstance(source, int):
            pixels[row] = _make_picture(name, derive_seed(config.seed, "pictures", name, source), side)
        else:
            pixels[row] = _middle_square(source, white[name], side)
        captions.append(name.replace("_", " "))
    return Pictures(pixels, tuple(captions))


def _make_picture(name: str, seed: int, side: int) -> NDArray[np.uint8]:
    """Return the picture [S, S, 3] of a toy category, or of random materials, that descends from a seed."""
    if name == MATERIALS_CAPTION:
        return world.draw_scene(np.random.default_rng(seed), side)
    return make_sample((seed,), name, size_px=side).image


def _images_in(folder: Path) -> tuple[Path, ...]:
    images = find_images(folder)
    if not images:
        raise DataError(f"{folder}: expected a folder with normal images, found none")
    return images


def _middle_square(path: Path, white_level: int, side: int) -> NDArray[np.uint8]:
    image = read_stretched(path, white_level)
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = resize(unit_rgb(image[top : top + short, left : left + short]), side)
    return np.rint(square * 255).astype(np.uint8)


def draw_crops(
    pictures: Pictures,
    rows: NDArray[np.int64],
    side: int,
    closest: int,
    colour: float,
    rng: np.random.Generator,
    *,
    stays_grey: bool = False,
) -> Tensor:
    """Return crops [len(rows), 3, side, side] in [-1, 1], randomly placed, flipped, turned by 90 degrees and coloured.

    A crop shows between `closest` pixels and the whole picture. For contrast, brightness and tint each channel is
    multiplied by 1 +- `colour` and moved by +- `colour`; a third of that is its own, the rest common to the three.
    stays_grey: but for grey pictures, which have nothing of their own in a channel.
    """
    crops = np.empty((len(rows), side, side, 3), dtype=np.float32)
    full = pictures.pixels.shape[1]
    for position, row in enumerate(rows):
        span = int(rng.integers(closest, full + 1))
        top, left = rng.integers(0, full - span + 1, size=2)
        crop = Image.fromarray(pictures.pixels[row, top : top + span, left : left + span])
        turned = np.rot90(np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC)), int(rng.integers(4)))
        crops[position] = turned[:, :: int(rng.choice([-1, 1]))]
    gain, offset = (_common_and_own(len(rows), colour, rng) for _ in range(2))
    if stays_grey:
        grey = (crops == crops[..., :1]).all(axis=(1, 2, 3))
        for change in (gain, offset):
            change[grey] = change[grey].mean(axis=-1, keepdims=True)
    changed = np.clip((crops / 127.5 - 1) * (1 + gain) + offset, -1, 1)
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous()


def spread_crops(config: PretrainConfig, pictures: Pictures, count: int, purpose: str) -> Tensor:
    """Return `count` crops [count, 3, R, R] spread over all pictures, R the config's resolution."""
    rows = spread_rows(pictures, count)
    rng = np.random.default_rng(derive_seed(config.seed, purpose))
    return draw_crops(pictures, rows, config.resolution, config.denoiser.closest_px, colour=0.0, rng=rng)


def spread_rows(pictures: Pictures, count: int) -> NDArray[np.int64]:
    """Return the indices [count] of pictures at even distances."""
    return np.linspace(0, len(pictures.pixels) - 1, count).astype(np.int64)


def _common_and_own(count: int, reach: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return [count, 1, 1, 3] within +- reach: two thirds common to the channels, one third each one's own."""
    common, own = (rng.uniform(-reach, reach, size=(count, 1, 1, channels)) for channels in (1, 3))
    return (common * 2 / 3 + own / 3).astype(np.float32)


def draw_hole(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask [side, side] to fill: a few boxes, a thick random walk, or now and then everything."""
    mask = np.zeros((side, side), dtype=bool)
    kind = rng.choice(["boxes", "stroke", "all"], p=[0.5, 0.45, 0.05])
    if kind == "all":
        return ~mask
    if kind == "boxes":
        for _ in range(rng.integers(1, 6)):
            height, width = (rng.uniform(0.08, 0.5, size=2) * side).astype(int)
            top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
            mask[top : top + height, left : left + width] = True
        return mask
    position, heading = rng.uniform(0, side, size=2), rng.uniform(0, 2 * np.pi)
    radius = max(rng.uniform(0.02, 0.08) * side, 1.0)
    y, x = np.mgrid[:side, :side]
    for _ in range(rng.integers(10, 40)):
        mask |= (y - position[0]) ** 2 + (x - position[1]) ** 2 <= radius**2
        heading += rng.normal(0, 0.4)
        position = np.clip(position + radius * np.array([np.sin(heading), np.cos(heading)]), 0, side)
    return mask


def draw_mark(crop: Tensor, rng: np.random.Generator) -> tuple[Tensor, NDArray[np.bool_], str]:
    """Return the crop [3, S, S] in [-1, 1] with a random mark, the mask [S, S] to fill around it, the mark's name."""
    mark = world.draw_mark(((crop + 1) / 2).permute(1, 2, 0).numpy(), rng)
    return torch.from_numpy(2 * mark.picture - 1).permute(2, 0, 1), mark.mask, mark.word


def draw_box_around(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random box [S, S] that a mask [S, S] lies in; a side is at most WIDEST_BOX of S, or as the mask's.

    All sides between are as likely: from the box alone one can hardly tell a small mark from a large one.
    """
    box = np.zeros_like(mask)
    rows, columns = (_span_around(positions, len(mask), rng) for positions in np.nonzero(mask))
    box[rows, columns] = True
    return box


def _span_around(positions: NDArray[np.intp], side: int, rng: np.random.Generator) -> slice:
    """Return a random span of `side` positions that holds these, [N]."""
    first, stop = int(positions.min()), int(positions.max()) + 1
    least = stop - first
    length = least + round(max(0, int(WIDEST_BOX * side) - least) * rng.random())
    start = int(rng.integers(max(0, stop - length), min(first, side - length) + 1))
    return slice(start, start + length)
