"""The training of one adapter: seeds, choice of memory, evaluation, and the loop over the steps of steps.py."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from defectfill.config.train import TrainConfig
from defectfill.io.errors import ModelError
from defectfill.io.files import write_bytes
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, find_token
from defectfill.model.base.memory import batch_fits, free_memory
from defectfill.model.lora.adapter import Adapter, copy_adapter, fast_lora_forward, trainable_adapter
from defectfill.model.training.attention import TokenAttention, record_token_attention
from defectfill.model.training.data import TrainingData
from defectfill.model.training.distributed import SINGLE_PROCESS, DistributedState
from defectfill.model.training.latent_cache import latent_batches
from defectfill.model.training.loop import LoopHooks, LoopSettings, LossRows, train_loop, warmed_up
from defectfill.model.training.preview import Preview, evaluate_at_intervals
from defectfill.model.training.sanity import check_first_row
from defectfill.model.training.steps import MicroBatch, step_losses, validation_loss

logger = logging.getLogger(__name__)

PREVIEWS_FOLDER = "previews"
"""Holds the preview pictures, named by the steps done."""
GRADIENT_CHECKPOINTING_FILE = "gradient_checkpointing"
"""Holds true or false: what train.gradient_checkpointing: auto chose."""


@dataclass(frozen=True)
class LoraJob:
    """A training of one adapter, apart from its config."""

    data: TrainingData
    """Its references' windows are at least max_resize x resolution wide, their tokens at one index of the object
    prompt."""
    resolution: int
    seed: int
    """All randomness descends from it, that of a step from (seed, step)."""
    label: str
    """Names the training to the user."""
    work: Path
    """A folder for checkpoints, from which a training that was stopped goes on to the same adapter, and for previews/,
    the preview pictures."""


@dataclass(frozen=True)
class TrainedLora:
    """An adapter and how its losses went."""

    adapter: Adapter
    losses: LossRows
    """One row per step: losses, learning rates, and the figures of the evaluations."""


def train_lora(
    base: Base,
    job: LoraJob,
    settings: TrainConfig,
    *,
    draw_preview: Callable[[], Preview] | None = None,
    report: Callable[[LossRows], None] = lambda _: None,
    distributed: DistributedState = SINGLE_PROCESS,
) -> TrainedLora:
    """Train an adapter of the base from fresh weights; the base itself is left without one.

    draw_preview: paints with the adapter that is in the base during the training. report gets new rows of the loss
    curve. With several processes each calls this with the same arguments but its own `distributed`.

    torch's global generators are left as they were. Raises ModelError before the first step where check_batch finds
    something wrong, and with the step and the references of its batch when a loss is not finite.
    """
    [token_index] = {find_token(base.tokenizer, each.prompts[1], each.token) for each in job.data.references}
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive_seed(job.seed, "adapter"))  # LoRA's initial weights
        with trainable_adapter(base, settings) as weights:
            with fast_lora_forward(base), record_token_attention(base.unet, token_index) as recorder:
                losses = _train(base, job, settings, weights, recorder, draw_preview, report, distributed)
            return TrainedLora(copy_adapter(base), [{**row, **_rates(row["step"], settings)} for row in losses])


def _train(
    base: Base,
    job: LoraJob,
    settings: TrainConfig,
    weights: tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]],
    recorder: TokenAttention,
    draw_preview: Callable[[], Preview] | None,
    report: Callable[[LossRows], None],
    distributed: DistributedState,
) -> LossRows:
    """Train the LoRA weights of the UNet and of the text encoder, which are in the base, and return the loss curve."""
    data, resolution, seed = job.data, job.resolution, job.seed
    windows, prompts = [each.window for each in data.references], [each.prompts for each in data.references]
    batch_of = latent_batches(base, windows, settings, resolution, seed)
    named_weights = dict(zip(("UNet", "text encoder"), weights, strict=True))
    check = partial(check_first_row, base, batch_of(0), settings, prompts, recorder, named_weights)
    rows = distributed.own_rows(settings.batch_size)
    checkpointing = choose_gradient_checkpointing(base, settings, rows.stop - rows.start, check, job.work)
    micro_batch = MicroBatch(1 if checkpointing else rows.stop - rows.start)  # row by row where memory is short
    losses_of = step_losses(base, batch_of, settings, prompts, seed, micro_batch, distributed)
    loss = validation_loss(base, data.validation, settings, resolution, seed, recorder)
    hooks = LoopHooks(
        evaluate=evaluate_at_intervals(base, settings, loss, draw_preview, job.work / PREVIEWS_FOLDER, job.label),
        report=report,
        describe=lambda step: f"; references in the batch: {batch_of(step).references}",
        on_out_of_memory=micro_batch.halve,
    )
    groups = list(zip(weights, _peak_rates(settings), strict=True))
    with gradient_checkpointing(base, checkpointing):
        return train_loop(
            job.label,
            job.work,
            groups,
            lambda step: losses_of(step, recorder),
            _loop_settings(settings),
            hooks,
            distributed,
        )


def _loop_settings(settings: TrainConfig) -> LoopSettings:
    return LoopSettings(
        steps=settings.steps,
        checkpoint_every=settings.checkpoint_every,
        schedule=lambda step: warmed_up(step, settings.warmup_steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        keep_lowest="validation" if settings.select == "best" else None,
    )


def choose_gradient_checkpointing(
    base: Base, settings: TrainConfig, rows: int, check: Callable[[], int], work: Path
) -> bool:
    """Return whether steps of `rows` rows use gradient checkpointing, after check() of one row.

    check() returns the bytes that its row keeps. What `auto` chose is noted in `work`: a training that goes on there
    goes on in the same way. Raises ModelError where the memory does not suffice for one row.
    """
    asked, noted = settings.gradient_checkpointing, work / GRADIENT_CHECKPOINTING_FILE
    if asked == "auto" and noted.is_file():
        asked = noted.read_text() == "true"
    for chosen in (False, True) if asked == "auto" else (asked,):
        try:
            with gradient_checkpointing(base, chosen):
                kept_bytes = check()
            break
        except torch.OutOfMemoryError as error:
            problem = str(error)  # the error itself would keep the activations
    else:
        raise ModelError(f"the device's memory does not suffice for one row of a batch: {problem}")
    if asked == "auto" and not chosen:
        chosen = not batch_fits(kept_bytes, rows, free_memory(base.device))
    if settings.gradient_checkpointing == "auto" and not noted.is_file():
        answer = str(chosen).lower()
        logger.info("train.gradient_checkpointing: auto is %s here", answer)
        write_bytes(noted, answer.encode())
    return chosen


@contextmanager
def gradient_checkpointing(base: Base, switched_on: bool) -> Iterator[None]:
    """Let the UNet's backward pass compute its activations again, if switched on, which saves their memory."""
    if switched_on:
        base.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        base.unet.disable_gradient_checkpointing()


def _peak_rates(settings: TrainConfig) -> tuple[float, float]:
    """Return the learning rates of the UNet and of the text encoder after the warm-up."""
    return settings.learning_rate_unet, settings.learning_rate_text_encoder


def _rates(step: float, settings: TrainConfig) -> dict[str, float]:
    """Return the learning rates of a step, as columns of the loss curve."""
    factor = warmed_up(int(step), settings.warmup_steps)
    unet, text_encoder = _peak_rates(settings)
    return {"learning_rate_unet": unet * factor, "learning_rate_text_encoder": text_encoder * factor}
