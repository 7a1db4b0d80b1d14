"""The benchmarks: references that compute the same, sizes that are claimed, and judges that see what is wrong."""

from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import with_velocity

from benchmarks.bases import full_autoencoder, full_text_encoder, full_unet
from benchmarks.mutations import ELSEWHERE, Sandbox, Trial, trials
from benchmarks.mutations.judge import problems
from benchmarks.painting import compare
from benchmarks.stitch import Stitched, measure, tiles
from benchmarks.training import (
    first_losses,
    our_loop,
    random_window,
    reference_loop,
)
from defectfill.config.generate import GenerateConfig
from defectfill.config.train import TrainConfig
from defectfill.io.files import PARTIAL
from defectfill.model.base.base import Base
from defectfill.painting.painter import Painting
from defectfill.painting.stitch import Pasted, blend_region, paste_changed, stitch


@pytest.mark.parametrize("velocity", [False, True])
def test_without_a_latent_cache_training_has_the_losses_of_a_plain_loop(base: Base, velocity: bool) -> None:
    base = with_velocity(base) if velocity else base
    settings = TrainConfig(latent_cache=0, dropout=0.0, batch_size=2, warmup_steps=1, learning_rate_unet=1e-2)
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


def test_the_stitching_benchmark_sees_what_a_whole_paste_smooths_and_leaves_unlabelled() -> None:
    source = np.random.default_rng(0).integers(90, 160, (64, 64, 3), np.uint8)
    planned = np.hypot(*(np.indices((64, 64)) - 32)) < 20
    clean = cv2.GaussianBlur(source.astype(np.float32) / 255, (0, 0), 2)
    candidate = clean.copy()
    candidate[26:38, 26:38] = 0
    painting, box = Painting(candidate[None], np.ones(1, np.float32), clean), (0, 0, 64, 64)
    ways = {
        "whole": Pasted(*blend_region(planned, box)),
        "changed": paste_changed(source, candidate, clean, box, planned, min_change=0.04),
    }
    samples = {
        name: Stitched(source, planned, box, painting, pasted, stitch(source, candidate, box, pasted), 1.0)
        for name, pasted in ways.items()
    }
    whole, changed = (measure([sample], [samples["changed"]]) for sample in samples.values())
    assert whole["gradient"] < 0.5
    assert whole["outside"] > 1
    assert changed["gradient"] == 1
    assert changed["outside"] == 0
    assert changed["changed"] > 0.97
    assert len(tiles(samples["changed"])) == 5


def test_more_than_three_hundred_inputs_are_broken_each_in_its_own_way() -> None:
    listed = list(takewhile(lambda trial: trial.listed, trials(seed=0)))
    names = [trial.name for trial in listed]
    assert len(set(names)) == len(names) > 300
    kinds = {"config", "image", "mask", "groups", "dataset", "run", "shard", "adapter", "base"}
    kinds |= {"masks as written", "cameras", "names", "passed over", "foresight"}
    kinds |= {"server", "filesystem", "reader", "power", "path"}
    assert {trial.kind for trial in listed} >= kinds
    assert all(trial.culprits or trial.kind == "config" for trial in listed if trial.expected != "accepted")


def test_a_trial_is_wrong_whose_message_names_another_thing_or_that_writes_outside(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "trial")
    (tmp_path / ELSEWHERE).mkdir()
    sandbox.root.mkdir()
    trial = Trial("config", "a key", "check", lambda sandbox: None, "refused", ("generate.count",))
    right = list(problems(trial, sandbox, tmp_path, {}, 2, "generate.count: expected 1", 0.1))
    assert right == []
    (tmp_path / ELSEWHERE / "x.png").touch()
    half = sandbox.root / "out" / f".half{PARTIAL}1"
    half.parent.mkdir()
    half.touch()
    wrong = list(problems(trial, sandbox, tmp_path, {}, 2, "something is wrong", 0.1))
    for told in ("written outside: ['x.png']", "half-written", "nothing named of ['generate.count']", "but it wrote"):
        assert any(told in problem for problem in wrong)
    before = {f"out/{half.name}": b""}
    assert list(problems(trial, sandbox, tmp_path, before, 1, "Traceback", 0.1)) == ["exit code 1"]
    accepted = list(problems(trial, sandbox, tmp_path, before, 0, "", 0.1))
    assert accepted == ["accepted, but it is to be refused"]
