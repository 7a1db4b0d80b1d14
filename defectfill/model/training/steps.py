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
from defectfill.model.training.distributed import SINGLE_PROCESS, DistributedState
from defectfill.model.training.latent_cache import LatentBatch, encode_batch
from defectfill.model.training.losses import attention_loss, defect_loss, micro_batch_weight, object_loss, object_weight

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 8


@dataclass(frozen=True)
class BranchInputs:
    """The one UNet call of a step: B rows of the defect branch, then B rows of the object branch (Eq. 4, 6)."""

    unet_input: Tensor
    """[2B, 2C + 1, h, w]."""
    timesteps: Tensor
    """[2B]."""
    noise: Tensor
    """[B, C, h, w]: both branches share t, the noise and x_t."""
    target: Tensor
    """[B, C, h, w]: what the UNet is to predict, the noise, or the velocity where the base predicts that."""
    defect_mask: Tensor
    """[B, 1, h, w]: M on the latent grid."""

    def rows(self, share: slice) -> "BranchInputs":
        """Return the inputs of some rows of the batch."""
        unet_input, timesteps = (
            torch.cat([half[share] for half in each.chunk(2)]) for each in (self.unet_input, self.timesteps)
        )
        return BranchInputs(unet_input, timesteps, self.noise[share], self.target[share], self.defect_mask[share])

    def split(self, count: int) -> "Iterator[BranchInputs]":
        """Yield the same inputs in micro-batches of at most `count` rows."""
        return (self.rows(slice(start, start + count)) for start in range(0, len(self.noise), count))


@dataclass
class MicroBatch:
    """The size of the parts in which a batch goes through the UNet, whose gradients add up to the batch's."""

    rows: int

    def halve(self) -> bool:
        """Halve the rows and return True, with a warning in the log; False where there is but one."""
        if self.rows == 1:
            return False
        halved = (self.rows + 1) // 2
        logger.warning("out of memory with %d rows at once; %d from here on", self.rows, halved)
        self.rows = halved
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
    micro_batch: MicroBatch,
    distributed: DistributedState = SINGLE_PROCESS,
) -> Callable[[int, TokenAttention], Iterator[Mapping[str, Tensor]]]:
    """Return the function that gives the losses of a step, all of whose randomness depends on the seed and the step.

    prompts: of every reference. The function takes the step and the open recording of the attention of [V*]. It yields
    the fields of Losses for one micro-batch of this process's rows after the other; over all processes they add up to
    the batch's. It seeds torch's global generators, which dropout draws from.
    """
    scheduler = noise_scheduler(base)

    def losses_of(step: int, recorder: TokenAttention) -> Iterator[Mapping[str, Tensor]]:
        torch.manual_seed(derive_seed(seed, "dropout", step) + distributed.process_index)
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step))
        batch = batch_of(step)
        inputs = branch_inputs(base, batch, scheduler, generator)
        own_rows = distributed.own_rows(len(batch.references))
        waiting = iter([prompts[reference] for reference in batch.references[own_rows]])
        for part in inputs.rows(own_rows).split(micro_batch.rows):
            own = list(islice(waiting, len(part.noise)))
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
    """Return the function that gives L (Eq. 9) of references with the adapter as it is; None for no references.

    It is the mean over VALIDATION_BATCHES batches, always the same.
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
    """Return L = 0.5 L_def + 0.2 L_obj + 0.05 L_attn (Eq. 9, weights from settings) of one batch, in one UNet call.

    prompts: of each of the B rows. recorder: the open recording of the attention of [V*] in the base's UNet.
    batch_mask [B, 1, h, w]: the defect masks of the batch that the inputs are a micro-batch of; the losses are then its
    summands in the batch's.
    """
    recorder.begin()
    with adapted_precision(base):
        text = _encode_once(base, prompts)
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


def _encode_once(base: Base, prompts: Sequence[Prompts]) -> Tensor:
    """Return the embedding of each branch [2, L, D], where all B rows have the same two prompts, else of each row
    [2B, L, D]; every distinct prompt is encoded once.
    """
    rows = prompts[:1] if len(set(prompts)) == 1 else prompts
    texts = [text for branch in zip(*rows, strict=True) for text in branch]
    distinct = list(dict.fromkeys(texts))
    return encode_prompts(base, distinct)[[distinct.index(text) for text in texts]]


def noise_scheduler(base: Base) -> Any:
    """Return the base's noise schedule, as training uses it."""
    from diffusers.schedulers import DDPMScheduler

    return DDPMScheduler.from_config(base.scheduler_config)


@torch.no_grad()
def branch_inputs(base: Base, batch: LatentBatch, scheduler: Any, generator: torch.Generator) -> BranchInputs:
    """Return the UNet's input for both branches (Eq. 3, 4, 6); t and the noise come from `generator`, on the CPU."""
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
    """Return what a UNet with the scheduler's prediction_type is to predict of clean latents in noise, [B, C, h, w]."""
    if scheduler.config.prediction_type == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(clean, noise, timesteps)
        return velocity
    return noise
