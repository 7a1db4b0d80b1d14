"""Loading a base from the hub's cache, at the pinned revision and nothing else, without a network."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.model.base.base import load_base
from defectfill.model.base.identity import identify_base

REVISION = "5f74973cbb64c8568780732c17f43eb269d63a0d"

LOAD = """
import sys
from defectfill.config.run import BaseConfig
from defectfill.io.errors import ModelError
from defectfill.model.base.base import load_base
try:
    base = load_base(BaseConfig(model="someone/tiny-inpainting", revision=sys.argv[1], device="cpu"))
    print(base.unet.config.in_channels)
except ModelError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub_cache(tmp_path: Path, base_folder: Path) -> Path:
    """Make a hub cache that holds the small base as someone/tiny-inpainting at REVISION."""
    shutil.copytree(base_folder, tmp_path / "hub" / "models--someone--tiny-inpainting" / "snapshots" / REVISION)
    return tmp_path


def load_offline(hub_cache: Path, revision: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, revision]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_hub_model_is_loaded_from_the_cache_at_its_revision(hub_cache: Path) -> None:
    done = load_offline(hub_cache, REVISION)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "9"


def test_a_revision_that_cannot_be_had_is_named(hub_cache: Path) -> None:
    done = load_offline(hub_cache, "0" * 40)
    assert done.returncode == 1
    assert f"base.model: someone/tiny-inpainting at {'0' * 40} cannot be fetched" in done.stderr


def test_latents_are_never_clipped_whatever_the_scheduler_says(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clip_sample": True}))
    assert (
        load_base(BaseConfig(model=str(folder), resolution=64, device="cpu")).scheduler_config["clip_sample"] is False
    )


@pytest.fixture
def broken(base_folder: Path, tmp_path: Path) -> Path:
    """Copy the small base, to break it."""
    return Path(shutil.copytree(base_folder, tmp_path / "broken"))


def set_key(path: Path, key: str, value: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


class Bomb:
    """Removes a folder when its pickle is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return shutil.rmtree, (str(self.folder),)


WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Bomb(path.parent))),
    "no tensors": lambda path: (path.unlink(), save_file({}, path)),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights_are_named_before_anything_is_loaded(
    broken: Path, damage: Callable[[Path], Any], name: str
) -> None:
    path = broken / f"{name}.safetensors"
    damage(path)
    with pytest.raises(ConfigError) as caught:
        identify_base(BaseConfig(model=str(broken)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"base.model: {path}: expected weights")
    assert path.exists()


def test_a_pickle_in_place_of_safetensors_is_not_opened(broken: Path) -> None:
    path = broken / "unet/diffusion_pytorch_model.safetensors"
    path.unlink()
    path.with_suffix(".bin").write_bytes(pickle.dumps(Bomb(broken)))
    with pytest.raises(ConfigError, match=r"has no unet/diffusion_pytorch_model.safetensors"):
        identify_base(BaseConfig(model=str(broken)))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_base(BaseConfig(model=str(broken), resolution=64, device="cpu"))
    assert path.with_suffix(".bin").exists()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("unet/config.json", "sample_size", "large"),
        ("vae/config.json", "scaling_factor", 0),
        ("vae/config.json", "scaling_factor", "half"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 0),
        ("tokenizer/tokenizer_config.json", "model_max_length", 10**6),
    ],
)
def test_a_value_that_no_base_can_have_is_named(broken: Path, name: str, key: str, value: Any) -> None:
    set_key(broken / name, key, value)
    with pytest.raises(ConfigError) as caught:
        identify_base(BaseConfig(model=str(broken)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"base.model: {broken}: {name}: ")
    assert key in problem


@pytest.mark.parametrize("part", ["text_encoder/config.json", "tokenizer/tokenizer_config.json", "vae/config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"\xff"])
def test_a_config_that_is_no_json_object_is_named(broken: Path, part: str, content: bytes) -> None:
    (broken / part).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        identify_base(BaseConfig(model=str(broken)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"base.model: {broken / part}: ")


def test_a_base_without_a_vocabulary_is_named(broken: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (broken / "tokenizer" / name).unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=r"has no tokenizer/tokenizer.json, nor tokenizer/vocab.json and merges.txt"):
        identify_base(BaseConfig(model=str(broken)))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("unet/config.json", "cross_attention_dim", 24),
        ("unet/config.json", "layers_per_block", 9),
        ("unet/config.json", "act_fn", "square"),
        ("vae/config.json", "block_out_channels", None),
        ("text_encoder/config.json", "num_hidden_layers", 9),
        ("text_encoder/config.json", "hidden_size", "big"),
        ("scheduler/scheduler_config.json", "beta_schedule", "round"),
        ("scheduler/scheduler_config.json", "beta_end", 7),
        ("tokenizer/tokenizer_config.json", "pad_token", None),
    ],
)
def test_configs_that_do_not_fit_their_weights_are_the_users_mistake(
    broken: Path, name: str, key: str, value: Any
) -> None:
    set_key(broken / name, key, value)
    with pytest.raises(ConfigError, match=f"base.model: {broken} cannot be loaded: "):
        load_base(BaseConfig(model=str(broken), resolution=64, device="cpu"))


def test_missing_weights_are_not_made_up(broken: Path) -> None:
    path = broken / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"unet: its config asks for weights that are not there: conv_in.weight"):
        load_base(BaseConfig(model=str(broken), resolution=64, device="cpu"))


def test_a_base_that_was_written_again_is_loaded_again(broken: Path) -> None:
    from defectfill.model.base.base import shared_base

    config = BaseConfig(model=str(broken), resolution=64, device="cpu")
    first = shared_base(config)
    assert shared_base(config) is first
    path = broken / "vae/diffusion_pytorch_model.safetensors"
    weights = {name: values * 2 for name, values in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    again = shared_base(config)
    assert all((new == 2 * old).all() for new, old in zip(again.vae.parameters(), first.vae.parameters(), strict=True))
