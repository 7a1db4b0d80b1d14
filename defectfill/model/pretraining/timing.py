"""How long a pretraining takes on this machine, from a few measured steps."""

import time

import torch
from torch import nn

from defectfill.model.base.base import Base
from defectfill.model.pretraining.autoencoder import autoencoder_step
from defectfill.model.pretraining.config import PretrainConfig
from defectfill.model.pretraining.denoiser import denoiser_step, encode_views, trainable_denoiser
from defectfill.model.pretraining.pictures import Pictures
from defectfill.model.pretraining.stage import ENCODED_AT_ONCE, in_precision
from defectfill.model.training.loop import StepLosses

STEPS = 3
"""Steps that are timed; the quickest counts, since the first is slower and a machine does other things besides."""


def pretraining_seconds(config: PretrainConfig, base: Base, pictures: Pictures) -> dict[str, float]:
    """Return the seconds that autoencoder, encoding of views and denoiser are going to take. No weight changes."""
    autoencoder, denoiser = config.autoencoder, config.denoiser
    few = -(-ENCODED_AT_ONCE // denoiser.views)
    sample = Pictures(pictures.pixels[:few], pictures.captions[:few])
    began = time.monotonic()
    views = encode_views(config, base, sample)
    encoding = (time.monotonic() - began) / len(sample.pixels)
    steps = denoiser_step(config, base, views, range(len(views.words)), "timing")
    with trainable_denoiser(config, base) as models:
        denoising = _step_seconds(config, models, steps)
    base.vae.train().requires_grad_(True)
    coding = _step_seconds(config, [base.vae], autoencoder_step(config, base.vae, pictures))
    base.vae.eval().requires_grad_(False)
    return {
        "autoencoder": autoencoder.steps * coding,
        "encode views": len(pictures.pixels) * encoding if denoiser.steps else 0,
        "denoiser": (denoiser.steps + denoiser.polish_steps) * denoising,
    }


def _step_seconds(config: PretrainConfig, models: list[nn.Module], step_losses: StepLosses) -> float:
    """Return the seconds of the quickest of a few steps, forward and backward."""
    device = next(models[0].parameters()).device
    losses, seconds = in_precision(step_losses, config.precision, device.type), []
    for step in range(STEPS):
        began = time.monotonic()
        torch.stack([each["total"] for each in losses(step)]).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - began)
    for model in models:
        model.zero_grad()
    return min(seconds)
