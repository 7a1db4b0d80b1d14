"""Evaluation of a training: a copy of a reference is told from a new defect of the same kind, wherever it lies."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_training import PROMPTS, RESOLUTION, make_window

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.train import TrainConfig
from defectfill.io.images import read_image
from defectfill.model.base.base import Base, load_base
from defectfill.model.lora.adapter import fast_lora_forward, trainable_adapter
from defectfill.model.training.data import Reference, Scene, TrainingData
from defectfill.model.training.preview import (
    NEAR_COPY,
    TILE_PX,
    Preview,
    evaluate_at_intervals,
    paint_preview,
    preview_similarity,
)
from defectfill.painting.window import Window


def moved(window: Window, down: int, right: int) -> Window:
    """Return the window with image and mask moved in circles."""
    image, mask = (np.roll(each, (down, right), axis=(0, 1)) for each in (window.image, window.mask))
    return replace(window, image=image, mask=mask)


def smooth_window(seed: int) -> Window:
    """Return a defect with structure of its own, of several pixels' size."""
    window = make_window(seed)
    coarse = np.random.default_rng(seed).random((18, 18, 3), dtype=np.float32)
    return replace(window, image=coarse.repeat(4, axis=0).repeat(4, axis=1))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (12, -7)])
def test_a_copy_is_similar_to_its_reference_wherever_it_lies_and_however_bright(down: int, right: int) -> None:
    reference = smooth_window(0)
    copy = moved(reference, down, right)
    assert preview_similarity(replace(copy, image=copy.image * 0.8 + 0.1), reference) > 0.98


def test_a_copy_a_little_off_its_mask_is_found() -> None:
    reference = smooth_window(0)
    assert preview_similarity(replace(reference, image=moved(reference, 2, -1).image), reference) > 0.98


def test_another_defect_is_no_copy() -> None:
    assert all(preview_similarity(smooth_window(seed), smooth_window(0)) < 0.8 for seed in range(1, 6))


def test_a_flat_defect_is_similar_to_nothing() -> None:
    flat = replace(make_window(0), image=np.full((72, 72, 3), 0.5, dtype=np.float32))
    assert preview_similarity(flat, flat) == -1


def test_a_preview_shows_scene_painting_and_nearest_reference(base: Base) -> None:
    scenes = [Scene(make_window(seed, RESOLUTION), PROMPTS[1]) for seed in (1, 2)]
    data = TrainingData([Reference(make_window(0), PROMPTS, "sks")], scenes=scenes)
    preview = paint_preview(base, data, GenerateConfig(steps=2), seed=0)
    assert preview.picture.shape == (3 * TILE_PX, 2 * TILE_PX, 3)
    assert preview.reference == 0
    assert -1 <= preview.preview_similarity <= 1
    scene, painted, _ = np.split(preview.picture[:, :TILE_PX].astype(int), 3)
    changed = np.abs(scene - painted).mean(axis=-1)
    assert changed[55:85, 80:120].mean() > 10  # in the mask, rows 20 to 36 and columns 30 to 50 of 64
    assert (changed[100:] == 0).all()
    again = paint_preview(base, data, GenerateConfig(steps=2), seed=0)
    assert np.array_equal(preview.picture, again.picture)


def test_in_bf16_a_preview_is_painted_with_the_float32_adapter_in_training(base_folder: Path) -> None:
    rough = load_base(BaseConfig(model=str(base_folder), resolution=RESOLUTION, device="cpu", precision="bf16"))
    data = TrainingData([Reference(make_window(0), PROMPTS, "sks")], scenes=[Scene(make_window(1, 64), PROMPTS[1])])
    with trainable_adapter(rough, TrainConfig()), fast_lora_forward(rough):
        preview = paint_preview(rough, data, GenerateConfig(steps=2), seed=0)
    assert preview.picture.std() > 0


def test_evaluations_come_at_intervals_and_after_the_last_step_and_tell_of_a_near_copy(
    base: Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    similarities = iter([0.5, NEAR_COPY, 0.5])
    picture = np.full((2, 2, 3), 7, dtype=np.uint8)
    evaluate = evaluate_at_intervals(
        base,
        TrainConfig(steps=7, eval_every=3),
        lambda: 0.25,
        lambda: Preview(picture, next(similarities), 4),
        tmp_path,
        "train hole",
    )
    with caplog.at_level(logging.WARNING):
        figures = {done: evaluate(done) for done in range(1, 8)}
    assert {done for done, seen in figures.items() if seen} == {3, 6, 7}
    assert figures[6] == {"validation": 0.25, "preview_similarity": NEAR_COPY}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000003.png", "000006.png", "000007.png"]
    assert np.array_equal(read_image(tmp_path / "000003.png"), picture)
    [warning] = [record.getMessage() for record in caplog.records]
    assert "train hole: after 6 steps a preview is nearly a copy of reference 4" in warning
    assert base.unet.training
