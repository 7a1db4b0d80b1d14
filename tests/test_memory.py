"""Memory: what a step keeps is counted, what is free is measured, and the choice outlives a kill."""

from pathlib import Path

import pytest
import torch
from test_training import SETTINGS, allow_memory, train

from defectfill.io.errors import ModelError
from defectfill.model.base.base import Base
from defectfill.model.base.memory import (
    batch_fits,
    batch_that_fits,
    count_kept_bytes,
    free_memory,
    left_in_container,
)


def test_what_autograd_keeps_is_counted_once_and_without_the_weights() -> None:
    layer = torch.nn.Linear(8, 4)
    inputs = torch.randn(16, 8)
    with count_kept_bytes(layer.parameters()) as kept:
        (layer(inputs).exp() * layer(inputs[:8]).sum()).sum()
    # The inputs, the result of exp as its own and as a factor's, and the sum.
    assert kept == [16 * 8 * 4 + 16 * 4 * 4 + 4]


@pytest.mark.parametrize(("free", "fits"), [(6000, True), (5999, False)])
def test_a_batch_fits_with_half_of_what_it_keeps_to_spare(free: int, fits: bool) -> None:
    assert batch_fits(kept_bytes_per_row=1000, rows=4, free_bytes=free) == fits


def test_free_memory_is_within_the_limit_of_the_control_group(tmp_path: Path) -> None:
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50
    assert list(left_in_container(tmp_path)) == []
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert list(left_in_container(tmp_path)) == []
    (tmp_path / "memory.max").write_text("1000\n")
    assert list(left_in_container(tmp_path)) == [700]


def test_auto_is_true_where_little_is_free_and_learns_the_same(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS.model_copy(update={"dropout": 0.0})
    without = train(base, settings)
    monkeypatch.setattr("defectfill.model.training.train_lora.free_memory", lambda _: 1000)
    seen = watch_checkpointing(base, monkeypatch)
    checkpointed = train(base, settings)
    assert seen[-1]
    assert [row["total"] for row in checkpointed] == pytest.approx([row["total"] for row in without], rel=1e-5)


def test_what_auto_chose_is_kept_when_a_training_goes_on(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectfill.model.training.train_lora.free_memory", lambda _: 1000)
    train(base, work=tmp_path)
    monkeypatch.setattr("defectfill.model.training.train_lora.free_memory", lambda _: 2**40)
    seen = watch_checkpointing(base, monkeypatch)
    train(base, SETTINGS.model_copy(update={"steps": 5}), work=tmp_path)
    assert seen
    assert all(seen)


@pytest.mark.parametrize("switched_on", [True, False])
def test_gradient_checkpointing_is_as_the_config_says(
    base: Base, monkeypatch: pytest.MonkeyPatch, switched_on: bool
) -> None:
    seen = watch_checkpointing(base, monkeypatch)
    train(base, SETTINGS.model_copy(update={"gradient_checkpointing": switched_on}))
    assert set(seen) == {switched_on}
    assert not base.unet.is_gradient_checkpointing


def test_a_device_too_small_for_one_row_is_told(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_memory(base, monkeypatch, lambda _: False)
    with pytest.raises(ModelError, match="does not suffice for one row"):
        train(base, SETTINGS.model_copy(update={"gradient_checkpointing": False}))


def test_auto_is_true_where_one_row_fits_only_so(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_memory(base, monkeypatch, lambda _: bool(base.unet.is_gradient_checkpointing))
    assert len(train(base)) == SETTINGS.steps


def watch_checkpointing(base: Base, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for every call of the UNet whether gradient checkpointing is on."""
    seen: list[bool] = []

    def note(_: torch.Tensor) -> bool:
        seen.append(bool(base.unet.is_gradient_checkpointing))
        return True

    allow_memory(base, monkeypatch, note)
    return seen


@pytest.mark.parametrize(
    ("sample", "free", "batch"), [(10, 100, 8), (10, 79, 4), (10, 12, 1), (10, 1, 1), (1, 10**6, 16), (0, 1, 1)]
)
def test_a_batch_is_the_power_of_two_that_leaves_a_fifth_of_the_memory_free(sample: int, free: int, batch: int) -> None:
    assert batch_that_fits(sample, free) == batch
