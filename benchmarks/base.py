"""Reconstruction and filling of a small base: python -m benchmarks.base FOLDER [--fills 32] [--sheet fills.jpg]

Two tables, then one JSON line. Reconstruction: PSNR in dB of the autoencoder on pictures it was not trained on, the
toy categories with other seeds and, where DEFECTFILL_REAL_DATA names them, real categories scaled to 128 px. Filling:
distance of an unadapted fill of a random box to the true content, by the autoencoder's features inside the box.

aligned  position by position (the selection's distance): mean over pictures
pooled   of mean and deviation of the features over the box, in deviations between true pictures
fill     what the base paints; flat: the mean colour around the box; moved: the same picture's true content from
         elsewhere, which shows what the distance makes of a texture that is right but lies otherwise
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.ingest.find import find_images
from defectfill.io.images import read_image
from defectfill.model.base.base import Base, decode_latents, encode_images, load_base
from defectfill.model.evaluation.recognition import pooled_features
from defectfill.model.inpaint.painter import DiffusionPainter, to_tensor
from defectfill.model.inpaint.perceptual import Distance, vae_distance
from defectfill.painting.window import Window, resize, unit_rgb
from defectfill.toy import CATEGORIES, make_sample

RESOLUTION = 128
KINDS = ("fill", "flat", "moved")
MOVED_PX = (37, 23)
SHOWN = 6
"""Pictures of each category on the sheet."""
UNSEEN = 987_654_321
"""Seed of pictures that no pretraining config uses."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fills", type=int, default=32, help="pictures per category to fill")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of originals, flat fills and fills")
    arguments = parser.parse_args()
    base = load_base(BaseConfig(model=str(arguments.folder.resolve()), resolution=RESOLUTION, precision="fp32"))
    toys = {name: _toys(name, arguments.fills) for name in CATEGORIES}
    reconstruction = {name: psnr(base, images) for name, images in {**toys, **_real_categories()}.items()}
    print("reconstruction, PSNR in dB")
    for name, value in reconstruction.items():
        print(f"  {name:16} {value:6.2f}")
    fills, sheet = {}, []
    for name, images in toys.items():
        fills[name], rows = fill_distances(base, name, images)
        sheet += [np.concatenate(row[:SHOWN], axis=1) for row in rows]
    if arguments.sheet:
        picture = np.rint(np.concatenate(sheet) * 255).astype(np.uint8)
        Image.fromarray(picture).save(arguments.sheet, quality=92)
    fills["all"] = {key: float(np.mean([each[key] for each in fills.values()])) for key in fills["washer"]}
    columns = ["aligned", "flat", "moved", "ratio", "moved's", "pooled", "flat", "ratio"]
    print("filling, distance to the truth", *(f"{name:>7}" for name in columns))
    for name, each in fills.items():
        fill, flat, moved = (each[f"aligned {kind}"] for kind in KINDS)
        pooled, pooled_flat = each["pooled fill"], each["pooled flat"]
        figures = [fill, flat, moved, fill / flat, moved / flat, pooled, pooled_flat, pooled / pooled_flat]
        print(f"  {name:27} ", *(f"{figure:7.3f}" for figure in figures))
    print(json.dumps({"psnr_db": reconstruction, "fills": fills}))


def _toys(name: str, count: int) -> list[NDArray[np.float32]]:
    return [unit_rgb(make_sample((UNSEEN, index), name, size_px=RESOLUTION).image) for index in range(count)]


def _real_categories() -> dict[str, list[NDArray[np.float32]]]:
    """Return category -> the middle squares of its normal images at 128 px."""
    root = os.environ.get("DEFECTFILL_REAL_DATA")
    folders = sorted(Path(root).glob("*/train/good")) if root else []
    return {folder.parents[1].name: [_middle(path) for path in find_images(folder)] for folder in folders}


def _middle(path: Path) -> NDArray[np.float32]:
    image = read_image(path)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(unit_rgb(image[top : top + side, left : left + side]), RESOLUTION)


@torch.inference_mode()
def psnr(base: Base, images: list[NDArray[np.float32]]) -> float:
    """Return the mean PSNR in dB of images [R, R, 3] in [0, 1] through the autoencoder."""
    pictures = torch.stack([to_tensor(image) for image in images])
    decoded = torch.cat([decode_latents(base, encode_images(base, part)).cpu() for part in pictures.split(16)])
    error = ((decoded - pictures) / 2).square().mean(dim=(1, 2, 3))
    return float((-10 * error.log10()).mean())


@torch.inference_mode()
def fill_distances(
    base: Base, name: str, images: list[NDArray[np.float32]]
) -> tuple[dict[str, float], list[list[NDArray[np.float32]]]]:
    """Return mean distances to the truth, aligned and pooled, of the base's fills, of flat fills and of moved content.

    With them three rows of pictures: the images, flat fills and fills.
    """
    distance = vae_distance(base)
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=8)
    windows = [_with_box(image, index) for index, image in enumerate(images)]
    painter = DiffusionPainter(base, settings, distance)
    unseen = [Window(window.box, _flat_fill(window), window.mask) for window in windows]  # the truth stays hidden
    paintings = painter.paint(unseen, range(len(windows)), [f"A {name}"] * len(windows))
    insides = {
        "fill": [painting.candidates[0] for painting in paintings],
        "flat": [_flat_fill(window) for window in windows],
        "moved": [np.roll(window.image, MOVED_PX, axis=(0, 1)) for window in windows],
    }
    true_features = pooled_features(base, windows)
    result, rows = {}, [[window.image for window in windows]]
    for kind in KINDS:
        pictures = [
            np.where(window.mask[..., None], inside, window.image)
            for window, inside in zip(windows, insides[kind], strict=True)
        ]
        result[f"aligned {kind}"] = float(
            np.mean([_aligned(distance, *pair) for pair in zip(windows, pictures, strict=True)])
        )
        filled = [Window(window.box, picture, window.mask) for window, picture in zip(windows, pictures, strict=True)]
        difference = (pooled_features(base, filled) - true_features) / true_features.std(dim=0)
        result[f"pooled {kind}"] = float(difference.abs().mean())
        rows.append(pictures)
    return result, [rows[0], rows[2], rows[1]]


def _aligned(distance: Distance, window: Window, picture: NDArray[np.float32]) -> float:
    mask = torch.from_numpy(window.mask)[None, None].float()
    return float(distance(to_tensor(window.image)[None], to_tensor(picture)[None], mask))


def _with_box(image: NDArray[np.float32], index: int) -> Window:
    """Return the image with a random box of a fifth to two fifths of its side to fill."""
    rng = np.random.default_rng([UNSEEN, index])
    height, width = (int(rng.uniform(0.2, 0.4) * RESOLUTION) for _ in range(2))
    top, left = int(rng.integers(0, RESOLUTION - height)), int(rng.integers(0, RESOLUTION - width))
    mask = np.zeros((RESOLUTION, RESOLUTION), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return Window((0, 0, RESOLUTION, RESOLUTION), image, mask)


def _flat_fill(window: Window) -> NDArray[np.float32]:
    """Return the window's image with the mean colour of a rim of 8 pixels around the box inside it."""
    from scipy import ndimage

    rim = ndimage.binary_dilation(window.mask, iterations=8) & ~window.mask
    return np.where(window.mask[..., None], window.image[rim].mean(axis=0), window.image)


if __name__ == "__main__":
    main()
