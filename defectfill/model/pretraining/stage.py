"""How autoencoder and denoiser are trained alike."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from defectfill.model.pretraining.config import PretrainConfig
from defectfill.model.training.loop import Rows, half_cosine, train_stage, warmed_up

ENCODED_AT_ONCE = 32

WARMUP_STEPS = 100


def train_part(
    config: PretrainConfig,
    label: str,
    work: Path,
    models: Sequence[nn.Module],
    step_losses: Callable[[int], Sequence[Mapping[str, Tensor]]],
    steps: int,
    learning_rate: float,
) -> Rows:
    """train_stage over all weights of the models: a short linear warm-up, then half a cosine to 0."""
    return train_stage(
        label,
        work / label,
        [([weight for model in models for weight in model.parameters()], learning_rate)],
        step_losses,
        steps=steps,
        every=config.checkpoint_every,
        schedule=lambda step: warmed_up(step, WARMUP_STEPS) * half_cosine(step, steps),
        weight_decay=1e-4,
        max_grad_norm=1.0,
    )
