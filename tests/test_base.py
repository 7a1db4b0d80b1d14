"""Loading a base from the hub's cache, at the pinned revision and nothing else, without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from defectfill.config import BaseConfig
from defectfill.model.base import load_base

REVISION = "5f74973cbb64c8568780732c17f43eb269d63a0d"

LOAD = """
import sys
from defectfill.config import BaseConfig
from defectfill.errors import ModelError
from defectfill.model.base import load_base
try:
    base = load_base(BaseConfig(model="someone/tiny-inpainting", revision=sys.argv[1], device="cpu"))
    print(base.unet.config.in_channels)
except ModelError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub_cache(tmp_path: Path, base_folder: Path) -> Path:
    """A hub cache that holds the small base as someone/tiny-inpainting at REVISION."""
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
