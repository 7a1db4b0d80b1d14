"""The memory profile: what a step keeps is counted, what is free is measured, and the choice outlives a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import SETTINGS, training

from defectfill.io.errors import ModelError
from defectfill.model.base.base import Base
from defectfill.model.base.memory import (
    _left_in_container,
    batch_that_fits,
    choose_profile,
    count_kept_bytes,
    free_memory,
)
from defectfill.model.training.steps import Losses, training_losses


def test_what_autograd_keeps_is_counted_once_and_without_the_weights() -> None:
    layer = torch.nn.Linear(8, 4)
    inputs = torch.randn(16, 8)
    with count_kept_bytes(layer.parameters()) as kept:
        (layer(inputs).exp() * layer(inputs[:8]).sum()).sum()
    # The inputs, the result of exp as its own and as a factor's, and the sum.
    assert kept == [16 * 8 * 4 + 16 * 4 * 4 + 4]


@pytest.mark.parametrize(("free", "profile"), [(6000, "fast"), (5999, "low")])
def test_fast_is_chosen_where_all_rows_fit(free: int, profile: str) -> None:
    assert choose_profile(kept_bytes_per_row=1000, rows=4, free_bytes=free) == profile


def test_free_memory_is_within_the_limit_of_the_control_group(tmp_path: Path) -> None:
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50
    assert list(_left_in_container(tmp_path)) == []
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert list(_left_in_container(tmp_path)) == []
    (tmp_path / "memory.max").write_text("1000\n")
    assert list(_left_in_container(tmp_path)) == [700]


def test_auto_takes_low_where_little_is_free_and_learns_the_same(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS.model_copy(update={"dropout": 0.0})
    with training(base, settings) as fast:
        pass
    monkeypatch.setattr("defectfill.model.training.lora.free_memory", lambda _: 1000)
    seen = watch_checkpointing(base, monkeypatch)
    with training(base, settings) as low:
        pass
    assert seen[-1]
    assert [row["total"] for row in low] == pytest.approx([row["total"] for row in fast], rel=1e-5)


def test_what_auto_chose_is_kept_when_a_training_goes_on(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectfill.model.training.lora.free_memory", lambda _: 1000)
    with training(base, work=tmp_path):
        pass
    monkeypatch.setattr("defectfill.model.training.lora.free_memory", lambda _: 2**40)
    seen = watch_checkpointing(base, monkeypatch)
    with training(base, work=tmp_path):
        pass
    assert seen == [True, True]


def test_a_device_too_small_for_one_row_is_told(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("defectfill.model.training.steps.training_losses", too_much)
    with (
        pytest.raises(ModelError, match="does not suffice for one row"),
        training(base, SETTINGS.model_copy(update={"memory": "fast"})),
    ):
        pass


def test_auto_goes_on_in_low_where_one_row_fits_only_there(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_small_device(base: Base, *rest: Any, **more: Any) -> Losses:
        if not base.unet.is_gradient_checkpointing:
            raise torch.OutOfMemoryError
        return training_losses(base, *rest, **more)

    monkeypatch.setattr("defectfill.model.training.steps.training_losses", on_a_small_device)
    with training(base) as curve:
        assert len(curve) == SETTINGS.steps


def watch_checkpointing(base: Base, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether gradient checkpointing was on, for the check and for the steps."""
    import defectfill.model.training.lora as training_module

    seen: list[bool] = []
    whole = training_module.gradient_checkpointing

    def noting(base: Base, switched_on: bool):  # type: ignore[no-untyped-def]
        seen.append(switched_on)
        return whole(base, switched_on)

    monkeypatch.setattr(training_module, "gradient_checkpointing", noting)
    return seen


@pytest.mark.parametrize(
    ("sample", "free", "batch"), [(10, 100, 8), (10, 79, 4), (10, 12, 1), (10, 1, 1), (1, 10**6, 16), (0, 1, 1)]
)
def test_a_batch_is_the_power_of_two_that_leaves_a_fifth_of_the_memory_free(sample: int, free: int, batch: int) -> None:
    assert batch_that_fits(sample, free) == batch
