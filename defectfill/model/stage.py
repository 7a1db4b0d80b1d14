"""A resumable training loop: steps in, loss curve out, a checkpoint in between."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from defectfill.errors import ModelError
from defectfill.progress import progress

Rows = list[dict[str, float]]


def train_stage(
    label: str,
    checkpoint: Path,
    modules: Mapping[str, nn.Module],
    step_loss: Callable[[int], Mapping[str, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    every: int,
    warmup_steps: int = 100,
) -> Rows:
    """The loss curve of `steps` steps of AdamW over the modules' weights; linear warm-up, then half a cosine to 0.

    step_loss(step) gives named scalars, of which "total" is minimised; all its randomness must descend from the
    step. Every `every` steps, and at the end, `checkpoint` is replaced whole; where it is, training goes on from it.
    Raises ModelError with the step when a loss is not finite.
    """
    weights = [weight for module in modules.values() for weight in module.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=1e-4)
    first, curve = _load(checkpoint, modules, optimizer)
    for step in progress(range(first, steps), label, done=first, total=steps):
        rate = learning_rate * min(1.0, (step + 1) / warmup_steps) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = step_loss(step)
        row = {name: float(value.detach()) for name, value in losses.items()}
        if not np.isfinite(row["total"]):
            raise ModelError(f"{label}: step {step}: the loss is not finite: {row}")
        curve.append({"step": step, **row})
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % every == 0 or step + 1 == steps:
            _save(checkpoint, modules, optimizer, step + 1, curve)
    return curve


def _load(checkpoint: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> tuple[int, Rows]:
    """(first step to do, curve so far) after putting a checkpoint's state, if there is one, into place."""
    if not checkpoint.is_file():
        return 0, []
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["curve"]


def _save(
    checkpoint: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, step: int, curve: Rows
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_name(f".{checkpoint.name}.partial-{os.getpid()}")
    state = {
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizer": optimizer.state_dict(),
        "step": step,
        "curve": curve,
    }
    torch.save(state, partial)
    os.replace(partial, checkpoint)
