"""How well a small base sees and fills: python -m benchmarks.base FOLDER [--fills 32]

Two tables, then one JSON line. Reconstruction: PSNR in dB of the autoencoder on pictures it was not trained on, the
toy categories with other seeds and, where DEFECTFILL_REAL_DATA names them, real categories scaled to 128 px. Filling:
mean distance (autoencoder features, inside a random box) of an unadapted fill to the true content, over that of a flat
fill with the mean colour around the box.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectfill.config import BaseConfig, GenerateConfig
from defectfill.data import find_images
from defectfill.images import read_image, write_png
from defectfill.model.base import Base, decode_latents, encode_images, load_base
from defectfill.model.diffusion import DiffusionPainter, to_tensor
from defectfill.model.perceptual import vae_distance
from defectfill.toy import CATEGORIES, make_sample
from defectfill.window import Window, resize, unit_rgb

RESOLUTION = 128
UNSEEN = 987_654_321
"""Seed of pictures that no pretraining config uses."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fills", type=int, default=32, help="pictures per category to fill")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of originals, boxes and fills")
    arguments = parser.parse_args()
    base = load_base(BaseConfig(model=str(arguments.folder.resolve()), resolution=RESOLUTION, precision="fp32"))
    toys = {name: _toys(name, arguments.fills) for name in CATEGORIES}
    reconstruction = {name: psnr(base, images) for name, images in {**toys, **_real_categories()}.items()}
    print("reconstruction, PSNR in dB")
    for name, value in reconstruction.items():
        print(f"  {name:16} {value:6.2f}")
    fills = {name: fill_ratio(base, name, images, arguments.sheet) for name, images in toys.items()}
    print("fill over flat fill, distance inside the box")
    for name, value in fills.items():
        print(f"  {name:16} {value:6.3f}")
    print(json.dumps({"psnr_db": reconstruction, "fill_ratio": fills}))


def _toys(name: str, count: int) -> list[NDArray[np.float32]]:
    return [unit_rgb(make_sample((UNSEEN, index), name, size_px=RESOLUTION).image) for index in range(count)]


def _real_categories() -> dict[str, list[NDArray[np.float32]]]:
    """Category -> the middle squares of its normal images at 128 px."""
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
    """Mean PSNR in dB of images [R, R, 3] in [0, 1] through the autoencoder."""
    pictures = torch.stack([to_tensor(image) for image in images])
    decoded = torch.cat([decode_latents(base, encode_images(base, part)).cpu() for part in pictures.split(16)])
    error = ((decoded - pictures) / 2).square().mean(dim=(1, 2, 3))
    return float((-10 * error.log10()).mean())


@torch.inference_mode()
def fill_ratio(base: Base, name: str, images: list[NDArray[np.float32]], sheet: Path | None) -> float:
    """Mean distance of the base's fills to the truth, over the mean distance of flat fills."""
    distance = vae_distance(base)
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=8)
    windows = [_with_box(image, index) for index, image in enumerate(images)]
    painter = DiffusionPainter(base, settings, distance)
    seeds, prompts = list(range(len(windows))), [f"A {name}"] * len(windows)
    paintings = list(painter.paint(windows, seeds, prompts))
    flat = [_flat_fill(window) for window in windows]
    flat_scores = [
        float(distance(to_tensor(w.image)[None], to_tensor(f)[None], torch.from_numpy(w.mask)[None, None].float()))
        for w, f in zip(windows, flat, strict=True)
    ]
    if sheet:
        filled = [
            np.where(w.mask[..., None], p.candidates[0], w.image) for w, p in zip(windows, paintings, strict=True)
        ]
        rows = [np.concatenate(row[:8], axis=1) for row in ([w.image for w in windows], flat, filled)]
        write_png(sheet.with_name(f"{sheet.stem}-{name}.png"), np.rint(np.concatenate(rows) * 255).astype(np.uint8))
    return float(np.mean([painting.scores[0] for painting in paintings]) / np.mean(flat_scores))


def _with_box(image: NDArray[np.float32], index: int) -> Window:
    """The image with a random box of a fifth to two fifths of its side to fill."""
    rng = np.random.default_rng([UNSEEN, index])
    height, width = (int(rng.uniform(0.2, 0.4) * RESOLUTION) for _ in range(2))
    top, left = int(rng.integers(0, RESOLUTION - height)), int(rng.integers(0, RESOLUTION - width))
    mask = np.zeros((RESOLUTION, RESOLUTION), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return Window((0, 0, RESOLUTION, RESOLUTION), image, mask)


def _flat_fill(window: Window) -> NDArray[np.float32]:
    """The window with the mean colour of a rim of 8 pixels around the box inside it."""
    from scipy import ndimage

    rim = ndimage.binary_dilation(window.mask, iterations=8) & ~window.mask
    return np.where(window.mask[..., None], window.image[rim].mean(axis=0), window.image)


if __name__ == "__main__":
    main()
