"""A base whose latent pixels are four pixels wide, as pretraining makes it on demand: everything follows its VAE."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PRETRAIN_CONFIG
from test_training import train

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.window import WindowConfig
from defectfill.io.errors import ConfigError
from defectfill.model.base.base import Base, decode_latents, encode_images, load_base
from defectfill.model.base.identity import identify_base
from defectfill.model.inpaint.painter import DiffusionPainter
from defectfill.model.inpaint.perceptual import vae_distance
from defectfill.model.pretraining.config import load_pretrain_config
from defectfill.model.pretraining.pretrain import pretrain
from defectfill.painting.window import Window, latent_cells, window_box

FACTOR_4 = (
    PRETRAIN_CONFIG.replace("channels: [8, 8, 16, 16]", "factor: 4, groups: 1, channels: [8, 16, 24]")
    .replace("channels: [32, 32, 64]", "channels: [32, 32, 64], attention: lower, marks: 0.5")
    .replace("side_px: 64", "side_px: 64, materials: 4")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("factor") / "pretrain.yaml"
    path.write_text(FACTOR_4)
    return pretrain(load_pretrain_config(path))


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return load_base(BaseConfig(model=str(folder), resolution=32, device="cpu"))


def test_latents_are_a_quarter_as_wide_as_pictures(folder: Path, base: Base) -> None:
    assert identify_base(BaseConfig(model=str(folder), resolution=32, device="cpu")).model == "base"
    assert base.latent_scale == 4
    assert base.vae.config.norm_num_groups == 1
    latents = encode_images(base, torch.zeros(1, 3, 32, 32))
    assert latents.shape == (1, 4, 8, 8)
    assert decode_latents(base, latents).shape == (1, 3, 32, 32)
    assert base.unet.config.sample_size == 8
    attending = [name for name in base.unet.attn_processors if name.startswith(("down", "up")) and "attn2" in name]
    assert {name.split(".attentions")[0] for name in attending} == {
        *("down_blocks.1", "down_blocks.2"),
        *("up_blocks.0", "up_blocks.1"),
    }


def test_the_stock_pipeline_loads_it_and_paints(folder: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae_scale_factor == 4
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    mask = Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), 8))
    settings = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "np"}
    painted = pipeline("A washer", image=picture, mask_image=mask, **settings).images[0]
    assert painted.shape == (32, 32, 3)
    assert np.isfinite(painted).all()


def test_our_painter_paints_with_it(base: Base) -> None:
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    mask = np.zeros((32, 32), bool)
    mask[10:21, 9:18] = True
    settings = GenerateConfig(candidates=2, steps=2, samples_per_batch=1)
    [painting] = DiffusionPainter(base, settings, vae_distance(base)).paint(
        [Window((0, 0, 32, 32), image, mask)], [0], ["A washer"]
    )
    assert painting.candidates.shape == (2, 32, 32, 3)
    assert np.abs(painting.candidates[0] - painting.candidates[1])[mask].mean() > 0


def test_an_adapter_learns_on_it(base: Base) -> None:
    losses = train(base)
    assert len(losses) == 4
    assert all(np.isfinite(list(row.values())).all() for row in losses)


def test_windows_count_in_its_smaller_cells(folder: Path) -> None:
    fine = BaseConfig(model=str(folder), resolution=256)
    coarse = BaseConfig(model="some/hub-model", resolution=256)
    assert (fine.latent_side, coarse.latent_side) == (64, 32)
    mask = np.zeros((400, 400), bool)
    mask[150:250, 200:205] = True
    boxes = [window_box(mask, WindowConfig(min_cells=1), config.latent_side) for config in (fine, coarse)]
    assert boxes[0][2] - boxes[0][0] > 1.4 * (boxes[1][2] - boxes[1][0])
    assert latent_cells(mask, boxes[0], fine.latent_side) == pytest.approx(
        2 * latent_cells(mask, boxes[0], coarse.latent_side)
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[8, 16, 24]", "[8, 16, 24, 32]", "expected 3 widths for factor 4, found 4"),
        ("factor: 4", "factor: 8", "expected 4 widths for factor 8, found 3"),
        ("factor: 4", "factor: 5", "autoencoder.factor"),
        ("groups: 1", "groups: 3", "autoencoder.groups"),
    ],
)
def test_widths_that_do_not_fit_the_factor_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "pretrain.yaml"
    path.write_text(FACTOR_4.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_pretrain_config(path)
