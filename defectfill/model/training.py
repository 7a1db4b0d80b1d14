"""Training of one adapter: the two branches of DefectFill in one UNet call (section 3.2 of the paper).

Shapes: B batch, R resolution, C latent channels, h w latent pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defectfill.config import TrainConfig
from defectfill.errors import ModelError
from defectfill.hashing import derive_seed
from defectfill.model.adapter import trainable_adapter
from defectfill.model.attention import record_token_attention
from defectfill.model.augmentation import Batch, draw_batch
from defectfill.model.base import (
    Base,
    encode_images,
    encode_prompts,
    find_token,
    mask_out,
    mask_to_latent,
    unet_input,
)
from defectfill.model.losses import attention_loss, defect_loss, object_loss
from defectfill.progress import progress
from defectfill.window import Window


@dataclass(frozen=True)
class BranchInputs:
    """The one UNet call of a step: B rows of the defect branch, then B rows of the object branch (Eq. 4, 6)."""

    unet_input: Tensor
    """[2B, 2C + 1, h, w]"""
    timesteps: Tensor
    """[2B]"""
    noise: Tensor
    """[B, C, h, w]: both branches share t, the noise and x_t."""
    defect_mask: Tensor
    """[B, 1, h, w]: M on the latent grid"""


@dataclass(frozen=True)
class Losses:
    """The terms of Eq. 9 for one step; scalars that carry gradients."""

    total: Tensor
    defect: Tensor
    object: Tensor
    attention: Tensor


@contextmanager
def trained_adapter(
    base: Base,
    windows: Sequence[Window],
    settings: TrainConfig,
    prompts: tuple[str, str],
    resolution: int,
    seed: int,
    label: str,
) -> Iterator[list[dict[str, float]]]:
    """A context in which the base holds the trained adapter; its value is the loss curve, one row per step.

    windows: the references' crops, at least max_resize x resolution wide. prompts: of the defect branch and of
    the object branch. All randomness descends from `seed`; torch's global generators are left as they were.
    Raises ModelError with the step and the references of its batch when a loss is not finite.
    """
    token_index = find_token(base.tokenizer, prompts[1], settings.token)
    devices = [base.device] if base.device.type == "cuda" else []
    rng = np.random.default_rng(derive_seed(seed, "augmentation"))
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise"))
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive_seed(seed, "adapter"))  # LoRA's initial weights and dropout
        with trainable_adapter(base, settings) as (unet_weights, text_weights):
            optimizer, schedule = _make_optimizer(unet_weights, text_weights, settings)
            curve = []
            for step in progress(range(settings.steps), label):
                batch = draw_batch(windows, settings, resolution, rng)
                losses = training_losses(base, batch, settings, prompts, token_index, generator)
                curve.append(_loss_row(step, losses, batch, schedule.get_last_lr()))
                optimizer.zero_grad(set_to_none=True)
                losses.total.backward()
                nn.utils.clip_grad_norm_([*unet_weights, *text_weights], settings.max_grad_norm)
                optimizer.step()
                schedule.step()
            base.unet.eval()
            base.text_encoder.eval()
            yield curve


def training_losses(
    base: Base,
    batch: Batch,
    settings: TrainConfig,
    prompts: tuple[str, str],
    token_index: int,
    generator: torch.Generator,
) -> Losses:
    """L = 0.5 L_def + 0.2 L_obj + 0.05 L_attn (Eq. 9, weights from settings) of one batch, in one UNet call."""
    inputs = branch_inputs(base, batch, generator)
    rows = len(inputs.noise)
    mixed_precision = torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=base.dtype != torch.float32)
    with mixed_precision, record_token_attention(base.unet, token_index) as recorder:
        text = encode_prompts(base, prompts).repeat_interleave(rows, dim=0)
        predicted = base.unet(inputs.unet_input, inputs.timesteps, encoder_hidden_states=text).sample
        token_map = recorder.collect(inputs.noise.shape[-1])
    predicted_defect, predicted_object = predicted.chunk(2)
    mask, weights = inputs.defect_mask, settings.weights
    defect = defect_loss(inputs.noise, predicted_defect, mask, reduction=settings.reduction)
    object_ = object_loss(
        inputs.noise,
        predicted_object,
        mask,
        background=settings.object_background,
        weight_inside_square=settings.weight_inside_square,
        reduction=settings.reduction,
    )
    attention = attention_loss(token_map, mask)
    total = weights.defect * defect + weights.object * object_ + weights.attention * attention
    return Losses(total=total, defect=defect, object=object_, attention=attention)


@torch.no_grad()
def branch_inputs(base: Base, batch: Batch, generator: torch.Generator) -> BranchInputs:
    """The UNet's input for both branches (Eq. 3, 4, 6); t and the noise come from `generator`, on the CPU."""
    from diffusers.schedulers import DDPMScheduler

    images, defect_masks, box_masks = (
        part.to(base.device) for part in (batch.images, batch.defect_masks, batch.box_masks)
    )
    pictures = torch.cat([images, mask_out(images, defect_masks), mask_out(images, box_masks)])
    clean, defect_background, object_background = encode_images(base, pictures).float().chunk(3)
    scheduler: Any = DDPMScheduler.from_config(base.scheduler_config)
    rows = len(images)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (rows,), generator=generator).to(base.device)
    noise = torch.randn(clean.shape, generator=generator).to(base.device)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    defect_mask, box_mask = (mask_to_latent(mask, base.latent_scale) for mask in (defect_masks, box_masks))
    branches = [
        unet_input(noisy, defect_mask, defect_background),
        unet_input(noisy, box_mask, object_background),
    ]
    return BranchInputs(
        unet_input=torch.cat(branches).to(base.dtype),
        timesteps=torch.cat([timesteps, timesteps]),
        noise=noise,
        defect_mask=defect_mask,
    )


def _make_optimizer(
    unet_weights: list[nn.Parameter], text_weights: list[nn.Parameter], settings: TrainConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW with one rate for the UNet and one for the text encoder; linear warm-up, then constant."""
    groups = [
        {"params": unet_weights, "lr": settings.learning_rate_unet},
        {"params": text_weights, "lr": settings.learning_rate_text_encoder},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    warmup = max(settings.warmup_steps, 1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))


def _loss_row(step: int, losses: Losses, batch: Batch, rates: Sequence[Any]) -> dict[str, float]:
    """One row of the loss curve; raises ModelError when a loss is not finite."""
    row = {name: float(getattr(losses, name).detach()) for name in ("total", "defect", "object", "attention")}
    if not all(np.isfinite(value) for value in row.values()):
        raise ModelError(
            f"training: step {step}: a loss is not finite: {row}; references in the batch: {batch.references}"
        )
    return {"step": step, **row, "learning_rate_unet": rates[0], "learning_rate_text_encoder": rates[1]}
