"""The resumable training loop: stopped anywhere, it ends with the same weights and the same curve."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from defectfill.io.errors import ModelError
from defectfill.model.training.loop import (
    READ_EVERY,
    LoopHooks,
    LoopSettings,
    LossRows,
    half_cosine,
    train_loop,
    update_average,
    warmed_up,
)

STEPS = 7


def fit_line(
    work: Path,
    stop_at: int | None = None,
    nan_at: int | None = None,
    steps: int = STEPS,
    keep_lowest: str | None = None,
    average: float = 0,
    **hooks: Any,
) -> tuple[list[float], LossRows]:
    """Return weights and loss curve of a linear layer, each step drawing its own data; perhaps stopped or spoilt."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)

    def step_losses(step: int) -> list[dict[str, Tensor]]:
        if step == stop_at:
            raise KeyboardInterrupt
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        factor = torch.nan if step == nan_at else 1.0
        return [{"total": (layer(inputs) * factor - inputs.sum(dim=1, keepdim=True)).square().mean()}]

    settings = LoopSettings(
        steps=steps,
        checkpoint_every=3,
        schedule=lambda step: warmed_up(step, 2) * half_cosine(step, steps),
        weight_decay=1e-4,
        max_grad_norm=1.0,
        average=average,
        keep_lowest=keep_lowest,
    )
    groups = [([layer.weight], 0.1), ([layer.bias], 0.01)]
    chosen = LoopHooks(describe=lambda step: f"; batch {step}", **hooks)
    curve = train_loop("line", work, groups, step_losses, settings, chosen)
    return torch.cat([layer.weight[0], layer.bias]).tolist(), curve


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6])
def test_a_training_stopped_anywhere_ends_with_the_same_weights_and_curve(tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "stopped", stop_at)
    assert fit_line(tmp_path / "stopped") == fit_line(tmp_path / "whole")


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_averaged_weights_are_those_of_an_unstopped_training(tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "stopped", stop_at, average=0.9)
    averaged, curve = fit_line(tmp_path / "stopped", average=0.9)
    assert (averaged, curve) == fit_line(tmp_path / "whole", average=0.9)
    assert fit_line(tmp_path / "whole", stop_at=0, average=0.9) == (averaged, curve)
    last, same_curve = fit_line(tmp_path / "last")
    assert same_curve == curve  # the average is only looked at in the end
    assert averaged != last


def test_the_average_is_the_running_mean_of_the_weights_with_its_decay() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average: list[Tensor] = []
    for step, value in enumerate([1.0, 2.0, 4.0]):
        weight.data.fill_(value)
        average = update_average(average, [weight], 0.15, step)
    assert average[0].item() == pytest.approx(0.15 * (0.15 * 1 + 0.85 * 2) + 0.85 * 4)
    assert update_average([], [weight], 0, 0) == []


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    assert fit_line(tmp_path) == fit_line(tmp_path, stop_at=0)


def test_the_loss_falls_and_every_step_has_its_row(tmp_path: Path) -> None:
    _, curve = fit_line(tmp_path, steps=100)
    assert [row["step"] for row in curve] == list(range(100))
    assert curve[-1]["total"] < 0.2 * curve[0]["total"]


@pytest.mark.parametrize("nan_at", [0, READ_EVERY + 1])
def test_a_loss_that_is_not_finite_stops_with_its_step_and_saves_nothing_of_it(tmp_path: Path, nan_at: int) -> None:
    with pytest.raises(ModelError, match=rf"line: step {nan_at}: a loss is not finite: .*; batch {nan_at}"):
        fit_line(tmp_path, nan_at=nan_at, steps=READ_EVERY + 7)
    assert fit_line(tmp_path, steps=READ_EVERY + 7) == fit_line(tmp_path / "whole", steps=READ_EVERY + 7)


def test_the_rate_rises_in_even_steps_and_falls_as_half_a_cosine() -> None:
    assert [warmed_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmed_up(0, 0) == 1
    assert [half_cosine(step, 4) for step in (0, 2)] == pytest.approx([1, 0.5])


FIGURES = {2: 0.5, 4: 0.2, 6: 0.3}


def evaluate(done: int) -> dict[str, float]:
    return {"figure": FIGURES[done]} if done in FIGURES else {}


def test_figures_of_an_evaluation_stand_in_its_row_and_rows_are_reported_once(tmp_path: Path) -> None:
    reported: LossRows = []
    _, curve = fit_line(tmp_path, evaluate=evaluate, report=reported.extend)
    assert {row["step"] + 1: row["figure"] for row in curve if "figure" in row} == FIGURES
    assert reported == curve


@pytest.mark.parametrize("stop_at", [None, 3, 5, 6])
def test_the_weights_of_the_lowest_evaluation_are_kept_also_when_stopped(tmp_path: Path, stop_at: int | None) -> None:
    last, _ = fit_line(tmp_path / "last", evaluate=evaluate)
    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            fit_line(tmp_path / "kept", stop_at, evaluate=evaluate, keep_lowest="figure")
    kept, curve = fit_line(tmp_path / "kept", evaluate=evaluate, keep_lowest="figure")
    assert kept != last
    assert len(curve) == STEPS
    with pytest.raises(KeyboardInterrupt):  # every evaluation after the fourth step is worse
        fit_line(tmp_path / "fourth", stop_at=4, evaluate=lambda done: {"figure": 1 / done}, keep_lowest="figure")
    fourth, _ = fit_line(tmp_path / "fourth", evaluate=lambda done: {"figure": 1.0 * done}, keep_lowest="figure")
    assert fourth != last


def test_an_evaluation_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="step 2: a loss is not finite"):
        fit_line(tmp_path, evaluate=lambda done: {"figure": float("nan")} if done == 3 else {})
