"""The autoencoder of a base of one's own: trained, and its latents scaled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, encode_images
from defectfill.model.pretraining.config import PretrainConfig
from defectfill.model.pretraining.pictures import Pictures, draw_crops, spread_crops
from defectfill.model.pretraining.stage import ENCODED_AT_ONCE, train_part
from defectfill.model.training.loop import LossRows, StepLosses

PATCH_PX = 8
"""Side of the patches in which grain is measured; they overlap by half."""
FAINTEST = 0.02
"""Strength of edges, of pictures in [-1, 1], below which grain counts little."""


def train_autoencoder(config: PretrainConfig, vae: Any, pictures: Pictures, work: Path) -> LossRows:
    """Train the autoencoder, or its decoder alone, and return its loss curve."""
    settings = config.autoencoder
    vae.train().requires_grad_(False)
    trained = [vae] if settings.parts == "all" else [vae.decoder, vae.post_quant_conv]
    for part in trained:
        part.requires_grad_(True)
    losses = autoencoder_step(config, vae, pictures)
    curve = train_part(config, "autoencoder", work, trained, losses, settings.steps, settings.learning_rate)
    vae.eval().requires_grad_(False)
    return curve


def autoencoder_step(config: PretrainConfig, vae: Any, pictures: Pictures) -> StepLosses:
    """Return what computes the losses of a step."""
    settings = config.autoencoder

    def step_losses(step: int) -> list[Mapping[str, Tensor]]:
        seed = derive_seed(config.seed, "autoencoder", step)
        rng = np.random.default_rng(seed)
        rows = rng.integers(len(pictures.pixels), size=settings.batch_size)
        crops = draw_crops(pictures, rows, settings.crop_px, settings.crop_px, colour=0.5, rng=rng).to(vae.device)
        posterior = vae.encode(crops).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed)).to(vae.device)
        latents = posterior.mean + posterior.std * noise
        decoded = vae.decode(latents).sample.float()
        losses = autoencoder_losses(crops, decoded, settings.sharpness)
        losses["kl"], losses["colour"] = posterior.kl().mean(), colour_error(crops, decoded)
        losses["grain"] = grain_error(crops, decoded)
        total = losses["total"] + settings.kl * losses["kl"] + settings.colour * losses["colour"]
        total = total + settings.grain * losses["grain"]
        if settings.equivariance:
            smaller = vae.decode(F.avg_pool2d(latents, 2)).sample.float()
            losses["halved"] = autoencoder_losses(F.avg_pool2d(crops, 2), smaller, settings.sharpness)["total"]
            total = total + settings.equivariance * losses["halved"]
        return [{**losses, "total": total}]

    return step_losses


def autoencoder_losses(pictures: Tensor, decoded: Tensor, sharpness: float) -> dict[str, Tensor]:
    """Return the mean absolute error of pictures [B, 3, R, R], that of their edges, and the total.

    Edges weigh `sharpness` in the total. They are differences of neighbouring pixels at full and at half resolution:
    blur costs there what it hardly costs in the pixels themselves.
    """
    pixels = F.l1_loss(decoded, pictures)
    edges = sum(
        (_edge_error(F.avg_pool2d(decoded, s), F.avg_pool2d(pictures, s)) for s in (1, 2)), pixels.new_zeros(())
    )
    return {"total": pixels + sharpness * edges, "pixels": pixels, "edges": edges}


def colour_error(pictures: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean squared error of colour differences of pictures [B, 3, R, R] at a quarter of their side.

    Squared, since the absolute one is lowest at the median colour, which is grey, and leaves it slowly.
    """
    red, green, blue = F.avg_pool2d(decoded - pictures, 4).unbind(dim=1)
    return (red - green).square().mean() / 4 + (blue - (red + green) / 2).square().mean() / 4


def grain_error(pictures: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean of |log(d + FAINTEST) - log(p + FAINTEST)|, d and p how strong edges are, patch by patch.

    Of pictures [B, 3, R, R], in overlapping patches. Grain that cannot be known pixel by pixel is left out where pixels
    alone count: none has a smaller error than the wrong one. Here its lack costs the more the stronger it was.
    """
    errors = [F.l1_loss(_log_strength(decoded, dim), _log_strength(pictures, dim)) for dim in (-1, -2)]
    return torch.stack(errors).mean()


def _log_strength(pictures: Tensor, dim: int) -> Tensor:
    """Return the logarithm, in patches, of mean absolute differences of neighbours along a dimension, in grey."""
    edges = pictures.mean(dim=1, keepdim=True).diff(dim=dim).abs()
    return (F.avg_pool2d(edges, PATCH_PX, PATCH_PX // 2) + FAINTEST).log()


def _edge_error(decoded: Tensor, pictures: Tensor) -> Tensor:
    error = decoded - pictures
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


@torch.no_grad()
def set_latent_scale(config: PretrainConfig, base: Base, pictures: Pictures) -> None:
    """Set the autoencoder's scaling factor so that latents have about unit variance, as the noise schedule expects.

    What counts is the variance in those directions of the C channels that carry the picture, tr(S S) / tr(S) of the
    covariance S: the autoencoder leaves many nearly unused, and their small variances would hide it.
    """
    crops = spread_crops(config, pictures, 256, "latent scale")
    base.vae.register_to_config(scaling_factor=1.0)
    latents = torch.cat([encode_images(base, chunk) for chunk in crops.split(ENCODED_AT_ONCE)])
    covariance = latents.transpose(0, 1).flatten(1).cov()
    variance = covariance.square().sum() / covariance.trace()
    base.vae.register_to_config(scaling_factor=float(variance**-0.5))
