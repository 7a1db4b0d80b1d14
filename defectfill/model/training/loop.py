"""A resumable training loop: steps in, loss curve out, checkpoints in between."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectfill.io.errors import ModelError
from defectfill.io.progress import progress
from defectfill.model.training.checkpoint import load_checkpoint, save_checkpoint
from defectfill.model.training.distributed import ALONE, Team

Rows = list[dict[str, float]]
Groups = Sequence[tuple[Sequence[nn.Parameter], float]]
"""Weights with their learning rate."""

READ_EVERY = 10
"""Steps between two looks at the losses, since reading them waits for the device."""


def train_stage(
    label: str,
    work: Path,
    groups: Groups,
    step_losses: Callable[[int], Iterable[Mapping[str, Tensor]]],
    *,
    steps: int,
    every: int,
    schedule: Callable[[int], float],
    weight_decay: float,
    max_grad_norm: float,
    about: Callable[[int], str] = lambda _: "",
    smaller_parts: Callable[[], bool] = lambda: False,
    look: Callable[[int], Mapping[str, float]] = lambda _: {},
    keep_lowest: str | None = None,
    report: Callable[[Rows], None] = lambda _: None,
    team: Team = ALONE,
) -> Rows:
    """The loss curve of `steps` steps of AdamW over the groups' weights, whose rates schedule(step) scales.

    step_losses(step) gives named scalars, of which "total" is minimised, for one part of the step's batch after the
    other: what counts is their sum, and a part is done with before the next one is asked for. All randomness must
    descend from the step. Every `every` steps, and at the end, a checkpoint is written to the folder `work`; where one
    is, training goes on from it to the same weights and the same curve. Raises ModelError with the step, and
    about(step), when a loss is not finite. Where memory runs out, the step is done again after smaller_parts();
    ModelError where that is False.

    look(steps done) is called after every step and may add figures to its row. The weights end as the last step leaves
    them, or as they were at the look whose figure `keep_lowest` was lowest. report gets new rows of the curve. In a
    team, step_losses gives this process's parts; the leader looks, reports and writes.
    """
    weights = [weight for group, _ in groups for weight in group]
    optimizer = make_optimizer(groups, weight_decay)
    first, curve, best = _resume(work, weights, optimizer)
    unread: list[tuple[int, Mapping[str, Tensor | float]]] = []
    for step in progress(range(first, steps), label, done=first, total=steps, shown=team.leads):
        losses = None
        while losses is None:
            try:
                losses = backpropagate(optimizer, step_losses(step))
            except torch.OutOfMemoryError as error:
                if not smaller_parts():
                    raise ModelError(f"{label}: step {step}: the device's memory does not suffice: {error}") from error
        team.add_up([*losses.values(), *(weight.grad for weight in weights if weight.grad is not None)])
        take_step(optimizer, schedule(step), max_grad_norm)
        seen = look(step + 1) if team.leads else {}
        if keep_lowest and keep_lowest in seen and (best is None or seen[keep_lowest] < best["figure"]):
            best = {"figure": seen[keep_lowest], "weights": [weight.detach().clone() for weight in weights]}
        unread.append((step, {**losses, **seen}))
        checkpoint_due = (step + 1) % every == 0 or step + 1 == steps
        if checkpoint_due or len(unread) == READ_EVERY:
            rows = _read(unread, label, about)
            report(rows)
            curve += rows
            unread.clear()
        if checkpoint_due and team.leads:
            state = {"weights": [weight.detach() for weight in weights], "optimizer": optimizer.state_dict()}
            save_checkpoint(work, step + 1, {**state, "step": step + 1, "curve": curve, "best": best})
    if best is not None:
        _set_weights(weights, best["weights"])
    return curve


def make_optimizer(groups: Groups, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW in one fused call per step."""
    parts = [{"params": list(weights), "lr": rate, "peak": rate} for weights, rate in groups]
    return torch.optim.AdamW(parts, weight_decay=weight_decay, fused=True)


def backpropagate(optimizer: torch.optim.Optimizer, parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The sums of named losses over the parts of a batch; the weights' gradients are those of the sum of "total"."""
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for losses in parts:
        losses["total"].backward()
        sums = {name: value.detach() + sums.get(name, 0) for name, value in losses.items()}
    return sums


def take_step(optimizer: torch.optim.Optimizer, factor: float, max_grad_norm: float) -> None:
    """One step down the weights' gradients, clipped to max_grad_norm over all weights, at `factor` times the rates."""
    nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    optimizer.step()


def warmed_up(step: int, warmup_steps: int) -> float:
    """Linear warm-up: from 1 / warmup_steps at step 0 to 1, then constant."""
    return min(1.0, (step + 1) / max(warmup_steps, 1))


def half_cosine(step: int, steps: int) -> float:
    """From 1 at step 0 to nearly 0 at the last."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def _resume(
    work: Path, weights: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, Rows, dict[str, Any] | None]:
    """(first step to do, curve so far, best look so far), the newest checkpoint's state, if there is one, in place."""
    state = load_checkpoint(work)
    if state is None:
        return 0, [], None
    _set_weights(weights, state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["curve"], state["best"]


def _set_weights(weights: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


def _read(unread: Sequence[tuple[int, Mapping[str, Tensor | float]]], label: str, about: Callable[[int], str]) -> Rows:
    """Rows of the curve; raises ModelError for the first step whose losses are not all finite."""
    rows = []
    for step, losses in unread:
        row: dict[str, Any] = {name: float(value) for name, value in losses.items()}
        if not all(math.isfinite(value) for value in row.values()):
            raise ModelError(f"{label}: step {step}: a loss is not finite: {row}{about(step)}")
        rows.append({"step": step, **row})
    return rows
