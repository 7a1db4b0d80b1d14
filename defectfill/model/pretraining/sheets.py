"""Sample sheets of a pretrained base: what it reconstructs and what it fills.

Shapes: R the base's resolution.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectfill.config.generate import GenerateConfig
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, decode_latents, encode_images, mask_out
from defectfill.model.inpaint.painter import DiffusionPainter, to_tensor
from defectfill.model.inpaint.perceptual import vae_distance
from defectfill.model.pretraining.config import PretrainConfig
from defectfill.model.pretraining.pictures import Pictures, draw_hole, spread_crops, spread_rows
from defectfill.painting.window import Window

SAMPLES = 8
"""Pictures on each sample sheet."""


def reconstruction_sheet(config: PretrainConfig, base: Base, pictures: Pictures) -> NDArray[np.uint8]:
    """Return a picture [2R, SAMPLES x R, 3]: crops above, below them what the autoencoder makes of them."""
    crops = spread_crops(config, pictures, SAMPLES, "sheet")
    with torch.no_grad():
        decoded = decode_latents(base, encode_images(base, crops)).cpu()
    return _sheet(crops, decoded)


def fill_sheet(config: PretrainConfig, base: Base, pictures: Pictures) -> NDArray[np.uint8]:
    """Return a picture [3R, SAMPLES x R, 3]: crops, the crops with a hole, the holes filled by the base."""
    rng = np.random.default_rng(derive_seed(config.seed, "fills"))
    crops = spread_crops(config, pictures, SAMPLES, "fills")
    holes = [draw_hole(config.resolution, rng) for _ in crops]
    frame = (0, 0, config.resolution, config.resolution)
    windows = [
        Window(frame, ((crop + 1) / 2).permute(1, 2, 0).numpy(), hole) for crop, hole in zip(crops, holes, strict=True)
    ]
    names = [pictures.captions[row] for row in spread_rows(pictures, SAMPLES)]
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=SAMPLES)
    painter = DiffusionPainter(base, settings, vae_distance(base))
    paintings = painter.paint(windows, range(SAMPLES), [f"A photo of {name}" for name in names])
    filled = torch.stack([to_tensor(painting.candidates[0]) for painting in paintings])
    mask = torch.from_numpy(np.stack(holes))[:, None].float()
    return _sheet(crops, mask_out(crops, mask), torch.where(mask > 0, filled, crops))


def _sheet(*rows: Tensor) -> NDArray[np.uint8]:
    """Return rows of pictures [N, 3, R, R] in [-1, 1] below each other, [rows x R, N x R, 3]."""
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2).permute(1, 2, 0)
    return ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
