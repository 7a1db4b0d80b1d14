"""The demo's category, and the bundled base it runs with: `mini` must paint things that mean something."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG as TOY_CONFIG_TEXT

from defectfill.config.base import BUNDLED_BASES, BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.run import RunConfig, load_config
from defectfill.demo import COUNTS, TOY_CONFIG, make_toy_category, shipped_config, toy_windows
from defectfill.model.base.base import Base, decode_latents, encode_images, load_base
from defectfill.model.inpaint.painter import DiffusionPainter, to_tensor
from defectfill.model.inpaint.perceptual import vae_distance
from defectfill.painting.window import Window, unit_rgb
from defectfill.toy import make_sample

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def demo_config() -> RunConfig:
    return load_config(ROOT / "configs" / "toy.yaml")


@pytest.fixture(scope="module")
def mini() -> Base:
    """Load the bundled base; adapters must be taken out again."""
    return load_base(BaseConfig(model=str(BUNDLED_BASES / "mini"), resolution=128, device="cpu"))


def test_mini_is_small_enough_to_be_shipped_and_says_what_it_is() -> None:
    files = [path for path in (BUNDLED_BASES / "mini").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 25 * MEGABYTE
    card = (BUNDLED_BASES / "mini" / "README.md").read_text()
    assert "defectfill pretrain configs/pretrain/mini.yaml" in card


def test_mini_is_named_without_a_path_and_knows_its_resolution(demo_config: RunConfig) -> None:
    assert Path(demo_config.base.model) == BUNDLED_BASES / "mini"
    assert demo_config.base.resolution == 128


def test_a_folder_beside_the_config_comes_before_a_bundled_base(tmp_path: Path) -> None:
    shutil.copy(ROOT / "configs" / "toy.yaml", tmp_path / "toy.yaml")
    (tmp_path / "mini").mkdir()
    assert load_config(tmp_path / "toy.yaml").base.model == str(tmp_path / "mini")


def test_mini_shows_unseen_toys_again(mini: Base) -> None:
    learnt = json.loads((BUNDLED_BASES / "mini" / "pretrain.json").read_bytes())["pictures"]["toys"]
    samples = [make_sample((8, index), category, size_px=128) for category in learnt for index in range(6)]
    pictures = torch.stack([to_tensor(unit_rgb(sample.image)) for sample in samples])
    error = ((decode_latents(mini, encode_images(mini, pictures)) - pictures) / 2).square().mean(dim=(1, 2, 3))
    assert (-10 * error.log10()).mean() > 31


def test_what_mini_fills_in_is_nearer_to_the_truth_than_a_flat_colour(mini: Base) -> None:
    distance = vae_distance(mini)
    mask = np.zeros((128, 128), bool)
    mask[20:60, 20:60] = True  # across the rim of the part
    images = [unit_rgb(make_sample((8, index), "washer", size_px=128).image) for index in range(8)]
    windows = [Window((0, 0, 128, 128), image, mask) for image in images]
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=8)
    paintings = DiffusionPainter(mini, settings, distance).paint(windows, range(8), ["A washer"] * 8)
    rim = np.zeros_like(mask)
    rim[12:68, 12:68] = True
    scores = []
    for image, painting in zip(images, paintings, strict=True):
        flat = np.where(mask[..., None], image[rim & ~mask].mean(axis=0), image).astype(np.float32)
        flat_score = distance(to_tensor(image)[None], to_tensor(flat)[None], torch.from_numpy(mask)[None, None].float())
        scores.append((painting.scores[0], float(flat_score)))
    fill, flat_fill = np.mean(scores, axis=0)
    assert fill < 0.7 * flat_fill


def test_the_demos_category_is_made_once(demo_config: RunConfig, tmp_path: Path) -> None:
    config = demo_config.model_copy(update={"data": demo_config.data.model_copy(update={"root": str(tmp_path)})})
    make_toy_category(config)
    assert len(list((config.category_folder / "train" / "good").iterdir())) == COUNTS["normals"]
    references = config.data.references
    assert references.count == 6
    assert COUNTS["defective"] > references.count
    (config.category_folder / "train" / "good" / "000.png").unlink()
    make_toy_category(config)
    assert not (config.category_folder / "train" / "good" / "000.png").exists()


def test_windows_of_good_toys_show_no_defect_where_it_would_be(demo_config: RunConfig) -> None:
    for good, damaged in zip(toy_windows(demo_config, "good", 1), toy_windows(demo_config, "hole", 1), strict=True):
        assert (good.mask == damaged.mask).all()
        changed = np.abs(good.image - damaged.image).max(axis=2)
        assert changed[good.mask].mean() > 5 * changed[~good.mask].mean()


def test_the_demos_config_is_the_one_in_configs_but_for_its_folders(demo_config: RunConfig, tmp_path: Path) -> None:
    shipped = shipped_config(tmp_path)
    assert (shipped.data.root, shipped.output.root) == (str(tmp_path / "data"), str(tmp_path / "out"))
    here = {name: getattr(demo_config, name) for name in ("data", "output")}
    roots = {name: each.model_copy(update={"root": here[name].root}) for name, each in shipped if name in here}
    assert shipped.model_copy(update=roots) == demo_config


def test_the_demos_config_and_the_reports_files_are_in_what_is_installed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("defectfill", "flows", "mask_sampling", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("defectfill-*.whl")
    with ZipFile(wheel) as files:
        assert files.read("defectfill/toy/washer.yaml") == TOY_CONFIG.read_bytes()
        report = "defectfill/dataset/report"
        for name in ("templates/page.html", "templates/report.html", "static/report.js", "static/report.css"):
            assert files.read(f"{report}/{name}") == (ROOT / report / name).read_bytes()


DEMO = """
import sys
from pathlib import Path
import defectfill.demo as demo
from defectfill.cli import main

demo.TOY_CONFIG, demo.LEARNT, demo.TRIED = Path(sys.argv.pop()), 3, 2
main()
"""


@pytest.mark.server
def test_the_demo_runs_in_any_folder_without_an_argument(
    server: dict[str, str], base_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "tiny.yaml"
    text = TOY_CONFIG_TEXT.format(root=tmp_path / "elsewhere", base=base_folder)
    config.write_text(text.replace("count: 5", "count: 1"))
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    command = [sys.executable, "-c", DEMO, "demo", str(config)]
    env = {**server, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    *_, hole, scratch, sheet, dataset = done.stdout.splitlines()
    assert "hole: a plain classifier calls" in hole
    assert "scratch: a plain classifier calls" in scratch
    assert Path(sheet).is_file()
    assert Path(dataset).is_relative_to(cwd / "demo/out/washer/runs")
    assert (cwd / "demo/data/washer").is_dir()
    assert not (tmp_path / "elsewhere").exists()
