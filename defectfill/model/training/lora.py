"""Training of one adapter: the two branches of DefectFill in one UNet call (section 3.2 of the paper).

Shapes: B batch, C latent channels, h w latent pixels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn

from defectfill.config.train import TrainConfig
from defectfill.io.errors import ModelError
from defectfill.io.files import write_bytes
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, find_token
from defectfill.model.base.memory import choose_profile, count_kept_bytes, free_memory
from defectfill.model.lora.adapter import fast_lora_forward, trainable_adapter
from defectfill.model.training.attention import TokenAttention, record_token_attention
from defectfill.model.training.data import Prompts, TrainingData
from defectfill.model.training.distributed import ALONE, Team
from defectfill.model.training.latent_cache import LatentBatch, latent_batches
from defectfill.model.training.loop import Rows, train_stage, warmed_up
from defectfill.model.training.preview import Preview, evaluate_at_intervals
from defectfill.model.training.sanity import check_contract
from defectfill.model.training.steps import (
    MicroBatch,
    branch_inputs,
    noise_scheduler,
    step_losses,
    training_losses,
    validation_loss,
)

logger = logging.getLogger(__name__)

PREVIEWS = "previews"
"""Folder of the preview pictures, named by the steps done."""
PROFILE_FILE = "memory"


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
            with fast_lora_forward(base), record_token_attention(base.unet, token_index) as recorder:
                weights = {"UNet": unet_weights, "text encoder": text_weights}
                check = partial(_check_first_row, base, batch_of(0), settings, prompts, recorder, weights)
                own = team.share(settings.batch_size)
                profile = _check_and_choose_memory(base, settings, own.stop - own.start, check, work)
                rows = MicroBatch(1 if profile == "low" else settings.batch_size)
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
                        look=evaluate_at_intervals(base, settings, loss, draw_preview, work / PREVIEWS, label),
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
