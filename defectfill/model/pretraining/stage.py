"""One stage of pretraining: the loop in which autoencoder and denoiser are trained alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from defectfill.model.pretraining.config import PretrainConfig
from defectfill.model.training.loop import LoopSettings, LossRows, StepLosses, half_cosine, train_loop, warmed_up

ENCODED_AT_ONCE = 32
"""Pictures in one call of the autoencoder."""
WARMUP_STEPS = 100


def train_part(
    config: PretrainConfig,
    label: str,
    work: Path,
    models: Sequence[nn.Module],
    step_losses: StepLosses,
    steps: int,
    learning_rate: float,
    average: float = 0,
) -> LossRows:
    """Train all weights of the models, with a short linear warm-up, then half a cosine to 0; return the loss curve.

    They end as their running average of that decay, if any.
    """
    if not steps:
        return []
    settings = LoopSettings(
        steps=steps,
        checkpoint_every=config.checkpoint_every,
        schedule=lambda step: warmed_up(step, WARMUP_STEPS) * half_cosine(step, steps),
        weight_decay=1e-4,
        max_grad_norm=1.0,
        average=average,
    )
    weights = [weight for model in models for weight in model.parameters()]
    mixed = in_precision(step_losses, config.precision, weights[0].device.type)
    return train_loop(label, work / label, [(weights, learning_rate)], mixed, settings)


def in_precision(step_losses: StepLosses, precision: Literal["fp32", "bf16"], device: str) -> StepLosses:
    """Return `step_losses` as it computes in this precision on a device of this type."""

    def computed(step: int) -> list[Mapping[str, Tensor]]:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            return list(step_losses(step))

    return computed
