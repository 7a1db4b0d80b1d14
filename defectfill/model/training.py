"""Training of one adapter: the two branches of DefectFill in one UNet call (section 3.2 of the paper).

Shapes: B batch, C latent channels, h w latent pixels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defectfill.config import TrainConfig
from defectfill.errors import ModelError
from defectfill.files import write_bytes
from defectfill.hashing import derive_seed
from defectfill.model.adapter import fused_adapter, trainable_adapter
from defectfill.model.attention import TokenAttention, record_token_attention
from defectfill.model.augmentation import draw_batch
from defectfill.model.base import Base, adapted_precision, encode_prompts, find_token, to_device, unet_input
from defectfill.model.contract import check_contract
from defectfill.model.look import Preview, look_at_intervals
from defectfill.model.losses import attention_loss, defect_loss, object_loss, object_weight, share_of_batch
from defectfill.model.memory import choose_profile, count_kept_bytes, free_memory
from defectfill.model.pool import LatentBatch, encode_batch, latent_batches
from defectfill.model.stage import Rows, train_stage, warmed_up
from defectfill.model.team import ALONE, Team
from defectfill.training_data import Prompts, Reference, TrainingData

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 8
PREVIEWS = "previews"
"""Folder of the preview pictures, named by the steps done."""
PROFILE_FILE = "memory"


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
    data: TrainingData,
    settings: TrainConfig,
    resolution: int,
    seed: int,
    label: str,
    work: Path,
    *,
    draw_preview: Callable[[], Preview] | None = None,
    report: Callable[[Rows], None] = lambda _: None,
    team: Team = ALONE,
) -> Iterator[Rows]:
    """A context in which the base holds the trained adapter; its value is the loss curve, one row per step.

    data: its references' windows are at least max_resize x resolution wide, their tokens stand at one place of the
    object prompt. work: a folder for checkpoints, from which a training that was stopped goes on to the same adapter.
    draw_preview: paints with the adapter as it is; the pictures are written to previews/ in `work`. report gets new
    rows of the curve. In a team every process calls this with the same arguments but its own `team`.

    All randomness descends from `seed`, that of a step from (seed, step); torch's global generators are left as they
    were. Raises ModelError before the first step where check_contract finds something wrong, and with the step and the
    references of its batch when a loss is not finite.
    """
    [token_index] = {find_token(base.tokenizer, each.prompts[1], each.token) for each in data.references}
    windows, prompts = [each.window for each in data.references], [each.prompts for each in data.references]
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive_seed(seed, "adapter"))  # LoRA's initial weights
        with trainable_adapter(base, settings) as (unet_weights, text_weights):
            batch_of = latent_batches(base, windows, settings, resolution, seed)
            with fused_adapter(base), record_token_attention(base.unet, token_index) as recorder:
                weights = {"UNet": unet_weights, "text encoder": text_weights}
                check = partial(_check_first_row, base, batch_of(0), settings, prompts, recorder, weights)
                own = team.share(settings.batch_size)
                profile = _check_and_choose_memory(base, settings, own.stop - own.start, check, work)
                rows = RowsAtOnce(1 if profile == "low" else settings.batch_size)
                losses_of = step_losses(base, batch_of, settings, prompts, seed, rows, team)
                loss = validation_loss(base, data.validation, settings, resolution, seed, recorder)
                with gradient_checkpointing(base, profile == "low"):
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
                        look=look_at_intervals(base, settings, loss, draw_preview, work / PREVIEWS, label),
                        keep_lowest="validation" if settings.select == "best" else None,
                        report=report,
                        team=team,
                    )
            base.unet.eval()
            base.text_encoder.eval()
            yield [{**row, **_rates(row["step"], settings)} for row in curve]


def _check_and_choose_memory(base: Base, settings: TrainConfig, rows: int, check: Callable[[], int], work: Path) -> str:
    """The memory profile, fast or low, for steps of `rows` rows, after check() of one, which gives the bytes it keeps.

    What `auto` chose is noted in `work`: a training that goes on there goes on in the same way.
    """
    noted = work / PROFILE_FILE
    asked = noted.read_text() if settings.memory == "auto" and noted.is_file() else settings.memory
    for chosen in ("fast", "low") if asked == "auto" else (asked,):
        try:
            with gradient_checkpointing(base, chosen == "low"):
                kept_bytes = check()
            break
        except torch.OutOfMemoryError as error:
            problem = error
    else:
        raise ModelError(f"the device's memory does not suffice for one row of a batch: {problem}") from problem
    if asked == "auto" and chosen == "fast":
        chosen = choose_profile(kept_bytes, rows, free_memory(base.device))
    if settings.memory == "auto" and not noted.is_file():
        logger.info("train.memory: auto is %s here", chosen)
        write_bytes(noted, chosen.encode())
    return chosen


def _check_first_row(
    base: Base,
    batch: LatentBatch,
    settings: TrainConfig,
    prompts: Sequence[Prompts],
    recorder: TokenAttention,
    weights: Mapping[str, Sequence[nn.Parameter]],
) -> int:
    """The bytes that the first row of a batch keeps for its backward pass, after check_contract; no weight changes."""
    row = LatentBatch(**{name: part[:1] for name, part in vars(batch).items()})
    inputs = branch_inputs(base, row, noise_scheduler(base), torch.Generator().manual_seed(0))
    with count_kept_bytes([*base.unet.parameters(), *base.text_encoder.parameters()]) as kept_bytes:
        losses = training_losses(base, inputs, settings, [prompts[row.references[0]]], recorder)
    terms = [term for term, weight in settings.weights if weight > 0]
    check_contract(row, inputs, losses, terms, weights)
    return kept_bytes[0]


def step_losses(
    base: Base,
    batch_of: Callable[[int], LatentBatch],
    settings: TrainConfig,
    prompts: Sequence[Prompts],
    seed: int,
    rows: RowsAtOnce,
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
    defect = defect * share_of_batch(mask, whole, reduction)
    object_ = object_ * share_of_batch(counted, counted_whole, reduction)
    attention = attention_loss(token_map, mask) * share_of_batch(mask, whole, "mean")
    total = weights.defect * defect + weights.object * object_ + weights.attention * attention
    return Losses(total=total, defect=defect, object=object_, attention=attention)


def _encode_once(base: Base, prompts: Sequence[str]) -> Tensor:
    """Embeddings of each distinct prompt [2, L, D], if there is one per branch, else of each row [2B, L, D]."""
    distinct = list(dict.fromkeys(prompts))
    text = encode_prompts(base, distinct)
    return text if len(distinct) == 2 else text[[distinct.index(prompt) for prompt in prompts]]


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
