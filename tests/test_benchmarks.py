"""The training benchmark: a reference that computes the same, and the sizes that it claims."""

import pytest
import torch
from conftest import with_velocity

from benchmarks.painting import compare
from benchmarks.training import (
    first_losses,
    full_autoencoder,
    full_text_encoder,
    full_unet,
    our_loop,
    random_window,
    reference_loop,
)
from defectfill.config import GenerateConfig, TrainConfig
from defectfill.model.base import Base


@pytest.mark.parametrize("velocity", [False, True])
def test_without_a_pool_training_has_the_losses_of_a_plain_loop(base: Base, velocity: bool) -> None:
    base = with_velocity(base) if velocity else base
    settings = TrainConfig(pool=0, dropout=0.0, batch_size=2, warmup_steps=1, learning_rate_unet=1e-2)
    windows = [random_window(72, seed) for seed in range(2)]
    ours, plain = (first_losses(base, windows, settings, 64, loop) for loop in (our_loop, reference_loop))
    assert ours == pytest.approx(plain, rel=1e-5)


def test_the_full_base_has_the_size_of_stable_diffusion_2_inpainting() -> None:
    with torch.device("meta"):
        parts = full_unet(), full_autoencoder(), full_text_encoder()
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert sizes == [865_925_124, 83_653_863, 340_387_840]


def test_the_painting_benchmark_times_all_three_ways(base: Base) -> None:
    settings = GenerateConfig(candidates=3, steps=2, guidance_scale=2, samples_per_batch=1)
    figures = compare(base, settings, resolution=64, rounds=1)
    assert figures["stock_ratio"] == 1
    assert all(figures[f"{way}_s_per_image"] > 0 and figures[f"{way}_peak_gib"] > 0 for way in ("full", "early"))
