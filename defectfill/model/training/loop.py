"""A resumable training loop: steps in, loss curve out, checkpoints in between."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectfill.io.errors import ModelError
from defectfill.io.progress import progress
from defectfill.model.training.checkpoint import load_checkpoint, save_checkpoint
from defectfill.model.training.distributed import SINGLE_PROCESS, DistributedState

LossRows = list[dict[str, float]]
"""Rows of a loss curve: the step and its losses by name."""
ParameterGroups = Sequence[tuple[Sequence[nn.Parameter], float]]
"""Weights with their learning rate."""
StepLosses = Callable[[int], Iterable[Mapping[str, Tensor]]]
"""Gives a step's named scalar losses, of which "total" is minimised, for one micro-batch after the other."""

READ_EVERY = 10
"""Steps between two readings of the losses, since reading them waits for the device."""


@dataclass(frozen=True)
class LoopSettings:
    """Length, steps and resulting weights of a training."""

    steps: int
    checkpoint_every: int
    """Steps between checkpoints; the last step has one too."""
    schedule: Callable[[int], float]
    """Factor of the learning rates at a step."""
    weight_decay: float
    max_grad_norm: float
    average: float = 0
    """Decay of a running average (EMA) of the weights, as which they end; 0: as after the last step."""
    keep_lowest: str | None = None
    """A figure of the evaluations: the weights end as they were where it was lowest. None: as after the last step."""


@dataclass(frozen=True)
class LoopHooks:
    """Functions that the loop calls on its way."""

    evaluate: Callable[[int], Mapping[str, float]] = lambda _: {}
    """Is called with the number of steps done after every step, in the main process; may add figures to its row."""
    report: Callable[[LossRows], None] = lambda _: None
    """Gets new rows of the loss curve."""
    describe: Callable[[int], str] = lambda _: ""
    """Adds to the error what there is to know of a step whose loss is not finite."""
    on_out_of_memory: Callable[[], bool] = lambda: False
    """Makes a step need less memory and returns True; False where it cannot."""


def train_loop(
    label: str,
    work: Path,
    groups: ParameterGroups,
    step_losses: StepLosses,
    settings: LoopSettings,
    hooks: LoopHooks = LoopHooks(),
    distributed: DistributedState = SINGLE_PROCESS,
) -> LossRows:
    """Train the groups' weights with AdamW and return the loss curve, a row per step.

    The losses of a step are the sums over its micro-batches; one is done with before the next is asked for. All
    randomness must descend from the step. Checkpoints are written to the folder `work`; where one is, training goes on
    from it to the same weights and the same curve. With several processes, step_losses gives this process's
    micro-batches; the main one evaluates, reports and writes.

    Raises ModelError with the step when a loss is not finite, or where memory runs out and the hook cannot help.
    """
    weights = [weight for group, _ in groups for weight in group]
    optimizer = make_optimizer(groups, settings.weight_decay)
    first, curve, best, average = _resume(work, weights, optimizer)
    unread: list[tuple[int, Mapping[str, Tensor | float]]] = []
    numbers, shown = range(first, settings.steps), distributed.is_main_process
    for step in progress(numbers, label, done=first, total=settings.steps, shown=shown):
        losses = _compute_gradients(label, step, optimizer, step_losses, hooks)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        distributed.all_reduce_sum([*losses.values(), *gradients])
        take_step(optimizer, settings.schedule(step), settings.max_grad_norm)
        average = update_average(average, weights, settings.average, step)
        figures = hooks.evaluate(step + 1) if distributed.is_main_process else {}
        best = _keep_best(best, figures, settings.keep_lowest, weights)
        unread.append((step, {**losses, **figures}))
        checkpoint_due = (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps
        if checkpoint_due or len(unread) == READ_EVERY:
            rows = _read(unread, label, hooks.describe)
            hooks.report(rows)
            curve += rows
            unread.clear()
        if checkpoint_due and distributed.is_main_process:
            state = {"weights": [weight.detach() for weight in weights], "optimizer": optimizer.state_dict()}
            save_checkpoint(
                work, step + 1, {**state, "step": step + 1, "curve": curve, "best": best, "average": average}
            )
    if average:
        _set_weights(weights, average)
    if best is not None:
        _set_weights(weights, best["weights"])
    return curve


def _compute_gradients(
    label: str, step: int, optimizer: torch.optim.Optimizer, step_losses: StepLosses, hooks: LoopHooks
) -> dict[str, Tensor]:
    """Return the losses of a step after `backpropagate`, which is done again as often as memory is found for it."""
    while True:
        try:
            return backpropagate(optimizer, step_losses(step))
        except torch.OutOfMemoryError as error:
            if not hooks.on_out_of_memory():
                raise ModelError(f"{label}: step {step}: the device's memory does not suffice: {error}") from error


def _keep_best(
    best: dict[str, Any] | None, figures: Mapping[str, float], name: str | None, weights: Sequence[nn.Parameter]
) -> dict[str, Any] | None:
    """Return the lowest figure called `name` till now with the weights that had it; None where there is none."""
    if name is None or name not in figures or (best is not None and not figures[name] < best["figure"]):
        return best
    return {"figure": figures[name], "weights": [weight.detach().clone() for weight in weights]}


def update_average(average: list[Tensor], weights: Sequence[nn.Parameter], decay: float, step: int) -> list[Tensor]:
    """Return the running average of the weights after a step; it forgets faster in the beginning. Empty for decay 0."""
    if decay == 0:
        return []
    if not average:
        return [weight.detach().clone() for weight in weights]
    share = 1 - min(decay, (1 + step) / (10 + step))
    for mean, weight in zip(average, weights, strict=True):
        mean.lerp_(weight.detach(), share)
    return average


def make_optimizer(groups: ParameterGroups, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW over the groups, in torch's fused implementation."""
    parts = [{"params": list(weights), "lr": rate, "peak": rate} for weights, rate in groups]
    return torch.optim.AdamW(parts, weight_decay=weight_decay, fused=True)


def backpropagate(optimizer: torch.optim.Optimizer, parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the sums of named losses over micro-batches, whose "total" has then given the weights their gradients."""
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for losses in parts:
        losses["total"].backward()
        sums = {name: value.detach() + sums.get(name, 0) for name, value in losses.items()}
    return sums


def take_step(optimizer: torch.optim.Optimizer, factor: float, max_grad_norm: float) -> None:
    """Step down the weights' gradients, clipped to max_grad_norm over all weights, at `factor` times the rates."""
    nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    optimizer.step()


def warmed_up(step: int, warmup_steps: int) -> float:
    """Return the factor of a linear warm-up: from 1 / warmup_steps at step 0 to 1, then constant."""
    return min(1.0, (step + 1) / max(warmup_steps, 1))


def half_cosine(step: int, steps: int) -> float:
    """Return the factor of a cosine schedule: from 1 at step 0 to nearly 0 at the last."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def _resume(
    work: Path, weights: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, LossRows, dict[str, Any] | None, list[Tensor]]:
    """Return (first step to do, curve so far, best evaluation so far, average of the weights so far).

    The newest checkpoint's state is in place.
    """
    state = load_checkpoint(work)
    if state is None:
        return 0, [], None, []
    _set_weights(weights, state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    average = [mean.to(weight.device) for mean, weight in zip(state.get("average", ()), weights, strict=False)]
    return state["step"], state["curve"], state["best"], average


def _set_weights(weights: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


def _read(
    unread: Sequence[tuple[int, Mapping[str, Tensor | float]]], label: str, describe: Callable[[int], str]
) -> LossRows:
    """Return rows of the loss curve; raise ModelError for the first step whose losses are not all finite."""
    rows = []
    for step, losses in unread:
        row: dict[str, Any] = {name: float(value) for name, value in losses.items()}
        if not all(math.isfinite(value) for value in row.values()):
            raise ModelError(f"{label}: step {step}: a loss is not finite: {row}{describe(step)}")
        rows.append({"step": step, **row})
    return rows
