"""The block `base`: the inpainting model that is adapted."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from defectfill.config.loading import ConfigSection, absolute

BUNDLED_BASES = Path(__file__).parents[1] / "bases"
"""Bases that come with defectfill, each a folder in the diffusers format."""


class BaseConfig(ConfigSection):
    """The inpainting model that is adapted: Stable Diffusion 2 inpainting or anything of its shape."""

    model: str = Field(min_length=1)
    """A folder in the diffusers format, the name of a base that comes with defectfill (`mini`), or a hub id."""
    revision: str | None = None
    """The hub's commit, 40 hex digits; a folder has none."""
    resolution: int = Field(default=512, ge=32, le=8192, multiple_of=8)
    """Side of the model's square input, in pixels. Of a folder that is here: by default what it was trained at."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU, fp32 on a CPU. LoRA weights and losses are always fp32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")

    @property
    def latent_side(self) -> float:
        """Latent pixels along a side of the model's input."""
        return self.resolution / _latent_scale(self.model)


def _resolve_base(base: BaseConfig, file: Path) -> BaseConfig:
    """`base` with an absolute path where it is a folder, beside the config or bundled, and with its resolution."""
    beside, bundled = absolute(Path(base.model), file, "base.model"), BUNDLED_BASES / base.model
    if base.model.startswith((".", "/", "~")) or beside.is_dir():
        folder = beside
    elif bundled.parent == BUNDLED_BASES and bundled.is_dir():
        folder = bundled
    else:
        return base
    native = {} if "resolution" in base.model_fields_set else _native_resolution(folder)
    return base.model_copy(update={"model": str(folder), **native})


def _native_resolution(base: Path) -> dict[str, int]:
    """{"resolution": side in pixels that the base in a folder was trained at}, or nothing where it does not say."""
    try:
        latent_side = json.loads((base / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"]
        return {"resolution": int(latent_side) * _read_latent_scale(base)}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


@lru_cache
def _latent_scale(model: str) -> int:
    """Return pixels per latent pixel along a side: of a base in a folder as its VAE says, else Stable Diffusion's 8."""
    try:
        return _read_latent_scale(Path(model))
    except (OSError, ValueError, LookupError, TypeError):
        return 8


def _read_latent_scale(base: Path) -> int:
    levels = len(json.loads((base / "vae" / "config.json").read_text(encoding="utf-8"))["block_out_channels"])
    return int(2 ** (levels - 1))
