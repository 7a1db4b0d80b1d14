"""One training step: the two branches of DefectFill in one UNet call (section 3.2 of the paper)."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defectfill.config.train import TrainConfig
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, adapted_precision, encode_prompts, to_device, unet_input
from defectfill.model.training.attention import TokenAttention
from defectfill.model.training.augmentation import draw_batch
from defectfill.model.training.data import Prompts, Reference
from defectfill.model.training.distributed import ALONE, Team
from defectfill.model.training.latent_cache import LatentBatch, encode_batch
from defectfill.model.training.losses import attention_loss, defect_loss, micro_batch_weight, object_loss, object_weight

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 8


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

    def rows(self, share: slice) -> "BranchInputs":
        """The inputs of some rows of the batch."""
        unet_input, timesteps = (
            torch.cat([half[share] for half in each.chunk(2)]) for each in (self.unet_input, self.timesteps)
        )
        return BranchInputs(unet_input, timesteps, self.noise[share], self.target[share], self.defect_mask[share])

    def split(self, count: int) -> "Iterator[BranchInputs]":
        """The same inputs in parts of at most `count` rows of the batch."""
        return (self.rows(slice(start, start + count)) for start in range(0, len(self.noise), count))


@dataclass
class MicroBatch:
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


def step_losses(
    base: Base,
    batch_of: Callable[[int], LatentBatch],
    settings: TrainConfig,
    prompts: Sequence[Prompts],
    seed: int,
    rows: MicroBatch,
    team: Team = ALONE,
) -> Callable[[int, TokenAttention], Iterator[Mapping[str, Tensor]]]:
    """The losses of a step, whose batch, noise, timesteps and dropout depend on the seed and the step alone.

    prompts: of every reference. The function takes the step and the open recording of the attention of [V*]. It gives
    the fields of Losses for parts of `rows` rows of this process's share of the batch, one after the other; the team's
    add up to the batch's. It seeds torch's global generators, which dropout draws from.
    """
    scheduler = noise_scheduler(base)

    def losses_of(step: int, recorder: TokenAttention) -> Iterator[Mapping[str, Tensor]]:
        torch.manual_seed(derive_seed(seed, "dropout", step) + team.index)
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step))
        batch = batch_of(step)
        inputs = branch_inputs(base, batch, scheduler, generator)
        share = team.share(len(batch.references))
        words = iter([prompts[reference] for reference in batch.references[share]])
        for part in inputs.rows(share).split(rows.count):
            own = list(islice(words, len(part.noise)))
            yield vars(training_losses(base, part, settings, own, recorder, batch_mask=inputs.defect_mask))

    return losses_of


def validation_loss(
    base: Base,
    references: Sequence[Reference],
    settings: TrainConfig,
    resolution: int,
    seed: int,
    recorder: TokenAttention,
) -> Callable[[], float] | None:
    """L (Eq. 9) of references with the adapter as it is: the mean over VALIDATION_BATCHES batches, always the same.

    None where there are no references.
    """
    if not references:
        return None
    scheduler = noise_scheduler(base)
    drawn: list[tuple[BranchInputs, list[Prompts]]] = []
    for index in range(VALIDATION_BATCHES):
        rng = np.random.default_rng(derive_seed(seed, "validation", index))
        generator = torch.Generator().manual_seed(derive_seed(seed, "validation noise", index))
        crops = draw_batch([each.window for each in references], settings, resolution, rng)
        batch = encode_batch(base, crops, settings, rng)
        prompts = [references[row].prompts for row in batch.references]
        drawn.append((branch_inputs(base, batch, scheduler, generator), prompts))

    @torch.no_grad()
    def loss() -> float:
        totals = [training_losses(base, inputs, settings, prompts, recorder).total for inputs, prompts in drawn]
        return float(torch.stack(totals).mean())

    return loss


def training_losses(
    base: Base,
    inputs: BranchInputs,
    settings: TrainConfig,
    prompts: Sequence[Prompts],
    recorder: TokenAttention,
    batch_mask: Tensor | None = None,
) -> Losses:
    """L = 0.5 L_def + 0.2 L_obj + 0.05 L_attn (Eq. 9, weights from settings) of one batch, in one UNet call.

    prompts: of each of the B rows. recorder: the open recording of the attention of [V*] in the base's UNet.
    batch_mask [B, 1, h, w]: the defect masks of the batch that the inputs are some rows of; the losses are then these
    rows' shares in the batch's.
    """
    recorder.begin()
    with adapted_precision(base):
        text = _encode_once(base, [pair[0] for pair in prompts] + [pair[1] for pair in prompts])
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
    defect = defect * micro_batch_weight(mask, whole, reduction)
    object_ = object_ * micro_batch_weight(counted, counted_whole, reduction)
    attention = attention_loss(token_map, mask) * micro_batch_weight(mask, whole, "mean")
    total = weights.defect * defect + weights.object * object_ + weights.attention * attention
    return Losses(total=total, defect=defect, object=object_, attention=attention)


def _encode_once(base: Base, prompts: Sequence[str]) -> Tensor:
    """Embeddings of each distinct prompt [2, L, D], if there is one per branch, else of each row [2B, L, D]."""
    distinct = list(dict.fromkeys(prompts))
    text = encode_prompts(base, distinct)
    return text if len(distinct) == 2 else text[[distinct.index(prompt) for prompt in prompts]]


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


def training_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What a UNet with the scheduler's prediction_type is to predict [B, C, h, w] of clean latents in noise."""
    if scheduler.config.prediction_type == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(clean, noise, timesteps)
        return velocity
    return noise
