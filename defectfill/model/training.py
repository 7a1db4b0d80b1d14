"""Training of one adapter: the two branches of DefectFill in one UNet call (section 3.2 of the paper).

Shapes: B batch, C latent channels, h w latent pixels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectfill.config import TrainConfig
from defectfill.hashing import derive_seed
from defectfill.model.adapter import fused_adapter, trainable_adapter
from defectfill.model.attention import TokenAttention, record_token_attention
from defectfill.model.base import Base, encode_prompts, find_token, to_device, unet_input
from defectfill.model.contract import check_contract
from defectfill.model.losses import attention_loss, defect_loss, object_loss, object_weight, share_of_batch
from defectfill.model.pool import LatentBatch, latent_batches
from defectfill.model.stage import Rows, train_stage, warmed_up
from defectfill.window import Window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BranchInputs:
    """The one UNet call of a step: B rows of the defect branch, then B rows of the object branch (Eq. 4, 6)."""

    unet_input: Tensor
    """[2B, 2C + 1, h, w]"""
    timesteps: Tensor
    """[2B]"""
    noise: Tensor
    """[B, C, h, w]: both branches share t, the noise and x_t."""
    target: Tensor
    """[B, C, h, w]: what the UNet is to predict, the noise, or the velocity where the base predicts that"""
    defect_mask: Tensor
    """[B, 1, h, w]: M on the latent grid"""

    def split(self, rows: int) -> "Iterator[BranchInputs]":
        """The same inputs in parts of at most `rows` rows of the batch."""
        parts = [each.split(rows) for each in (self.noise, self.target, self.defect_mask)]
        both = [
            [torch.cat(pair) for pair in zip(*(half.split(rows) for half in each.chunk(2)), strict=True)]
            for each in (self.unet_input, self.timesteps)
        ]
        return (BranchInputs(*part) for part in zip(*both, *parts, strict=True))


@dataclass
class RowsAtOnce:
    """How many rows of a batch go through the UNet together; the batch itself stays as large."""

    count: int

    def halve(self) -> bool:
        """Whether there was anything to halve; said in the log."""
        if self.count == 1:
            return False
        logger.warning("out of memory with %d rows at once; %d from here on", self.count, (self.count + 1) // 2)
        self.count = (self.count + 1) // 2
        return True


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
    work: Path,
) -> Iterator[Rows]:
    """A context in which the base holds the trained adapter; its value is the loss curve, one row per step.

    windows: the references' crops, at least max_resize x resolution wide. prompts: of the defect branch and of
    the object branch. work: a folder for checkpoints, from which a training that was stopped goes on to the same
    adapter. All randomness descends from `seed`, that of a step from (seed, step); torch's global generators are
    left as they were. Raises ModelError before the first step where check_contract finds something wrong, and with
    the step and the references of its batch when a loss is not finite.
    """
    token_index = find_token(base.tokenizer, prompts[1], settings.token)
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive_seed(seed, "adapter"))  # LoRA's initial weights
        with (
            trainable_adapter(base, settings) as (unet_weights, text_weights),
            gradient_checkpointing(base, settings.memory == "low"),
        ):
            batch_of = latent_batches(base, windows, settings, resolution, seed)
            rows = RowsAtOnce(1 if settings.memory == "low" else settings.batch_size)
            losses_of = step_losses(base, batch_of, settings, prompts, seed, rows)
            with fused_adapter(base), record_token_attention(base.unet, token_index) as recorder:
                weights = {"UNet": unet_weights, "text encoder": text_weights}
                _check_first_row(base, batch_of(0), settings, prompts, recorder, weights)
                curve = train_stage(
                    label,
                    work,
                    [
                        (unet_weights, settings.learning_rate_unet),
                        (text_weights, settings.learning_rate_text_encoder),
                    ],
                    lambda step: losses_of(step, recorder),
                    steps=settings.steps,
                    every=settings.checkpoint_every,
                    schedule=lambda step: warmed_up(step, settings.warmup_steps),
                    weight_decay=settings.weight_decay,
                    max_grad_norm=settings.max_grad_norm,
                    smaller_parts=rows.halve,
                    about=lambda step: f"; references in the batch: {batch_of(step).references}",
                )
            base.unet.eval()
            base.text_encoder.eval()
            yield [{**row, **_rates(row["step"], settings)} for row in curve]


def _check_first_row(
    base: Base,
    batch: LatentBatch,
    settings: TrainConfig,
    prompts: tuple[str, str],
    recorder: TokenAttention,
    weights: Mapping[str, Sequence[nn.Parameter]],
) -> None:
    """check_contract on the first row of a batch; the weights stay as they are."""
    row = LatentBatch(**{name: part[:1] for name, part in vars(batch).items()})
    inputs = branch_inputs(base, row, noise_scheduler(base), torch.Generator().manual_seed(0))
    losses = training_losses(base, inputs, settings, prompts, recorder)
    terms = [term for term, weight in settings.weights if weight > 0]
    check_contract(row, inputs, losses, terms, weights)


def step_losses(
    base: Base,
    batch_of: Callable[[int], LatentBatch],
    settings: TrainConfig,
    prompts: tuple[str, str],
    seed: int,
    rows: RowsAtOnce,
) -> Callable[[int, TokenAttention], Iterator[Mapping[str, Tensor]]]:
    """The losses of a step, whose batch, noise, timesteps and dropout depend on the seed and the step alone.

    The function takes the step and the open recording of the attention of [V*]. It gives the fields of Losses for parts
    of `rows` rows of the batch, one after the other; they add up to the batch's. It seeds torch's global generators,
    which dropout draws from.
    """
    scheduler = noise_scheduler(base)

    def losses_of(step: int, recorder: TokenAttention) -> Iterator[Mapping[str, Tensor]]:
        torch.manual_seed(derive_seed(seed, "dropout", step))
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step))
        inputs = branch_inputs(base, batch_of(step), scheduler, generator)
        for part in inputs.split(rows.count):
            yield vars(training_losses(base, part, settings, prompts, recorder, batch_mask=inputs.defect_mask))

    return losses_of


@contextmanager
def gradient_checkpointing(base: Base, switched_on: bool) -> Iterator[None]:
    """A context in which the UNet's backward pass computes its activations again, to save their memory."""
    if switched_on:
        base.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        base.unet.disable_gradient_checkpointing()


def _rates(step: float, settings: TrainConfig) -> dict[str, float]:
    factor = warmed_up(int(step), settings.warmup_steps)
    return {
        "learning_rate_unet": settings.learning_rate_unet * factor,
        "learning_rate_text_encoder": settings.learning_rate_text_encoder * factor,
    }


def training_losses(
    base: Base,
    inputs: BranchInputs,
    settings: TrainConfig,
    prompts: tuple[str, str],
    recorder: TokenAttention,
    batch_mask: Tensor | None = None,
) -> Losses:
    """L = 0.5 L_def + 0.2 L_obj + 0.05 L_attn (Eq. 9, weights from settings) of one batch, in one UNet call.

    recorder: the open recording of the attention of [V*] in the base's UNet. batch_mask [B, 1, h, w]: the defect masks
    of the batch that the inputs are some rows of; the losses are then these rows' shares in the batch's.
    """
    recorder.begin()
    with torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=base.dtype != torch.float32):
        text = encode_prompts(base, prompts)
        predicted = base.unet(inputs.unet_input, inputs.timesteps, encoder_hidden_states=text).sample
        token_map = recorder.collect(inputs.noise.shape[-1])
    predicted_defect, predicted_object = predicted.chunk(2)
    mask, weights, reduction = inputs.defect_mask, settings.weights, settings.reduction
    whole = mask if batch_mask is None else batch_mask
    defect = defect_loss(inputs.target, predicted_defect, mask, reduction=reduction)
    object_ = object_loss(
        inputs.target,
        predicted_object,
        mask,
        background=settings.object_background,
        weight_inside_square=settings.weight_inside_square,
        reduction=reduction,
    )
    counted, counted_whole = (
        object_weight(each, settings.object_background, weight_inside_square=settings.weight_inside_square)
        for each in (mask, whole)
    )
    defect = defect * share_of_batch(mask, whole, reduction)
    object_ = object_ * share_of_batch(counted, counted_whole, reduction)
    attention = attention_loss(token_map, mask) * share_of_batch(mask, whole, "mean")
    total = weights.defect * defect + weights.object * object_ + weights.attention * attention
    return Losses(total=total, defect=defect, object=object_, attention=attention)


def training_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What a UNet with the scheduler's prediction_type is to predict [B, C, h, w] of clean latents in noise."""
    if scheduler.config.prediction_type == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(clean, noise, timesteps)
        return velocity
    return noise


def noise_scheduler(base: Base) -> Any:
    """The base's noise schedule, as training uses it."""
    from diffusers.schedulers import DDPMScheduler

    return DDPMScheduler.from_config(base.scheduler_config)


@torch.no_grad()
def branch_inputs(base: Base, batch: LatentBatch, scheduler: Any, generator: torch.Generator) -> BranchInputs:
    """The UNet's input for both branches (Eq. 3, 4, 6); t and the noise come from `generator`, on the CPU."""
    rows = len(batch.clean)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (rows,), generator=generator)
    noise = torch.randn(batch.clean.shape, generator=generator)
    timesteps, noise = to_device(base, timesteps), to_device(base, noise)
    noisy = scheduler.add_noise(batch.clean, noise, timesteps)
    branches = [
        unet_input(noisy, batch.defect_mask, batch.defect_background),
        unet_input(noisy, batch.box_mask, batch.object_background),
    ]
    return BranchInputs(
        unet_input=torch.cat(branches).to(base.dtype),
        timesteps=torch.cat([timesteps, timesteps]),
        noise=noise,
        target=training_target(scheduler, batch.clean, noise, timesteps),
        defect_mask=batch.defect_mask,
    )
