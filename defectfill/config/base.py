"""The block `base`: the inpainting model that is adapted."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection, absolute

BUNDLED_BASES = Path(__file__).parents[1] / "bases"
"""Bases that come with defectfill, each a folder in the diffusers format."""


class BaseConfig(ConfigSection):
    """The inpainting model that is adapted: Stable Diffusion 2 inpainting or anything of its shape. With a
    `generate.painter` other than diffusion it decides nothing, and may be left out."""

    model: Annotated[str, Affects.RESOLVED | Affects.DIFFUSION] = Field(min_length=1)
    """A folder in the diffusers format, the name of a base that comes with defectfill (`mini`), or a hub id."""
    revision: Annotated[str | None, Affects.RESOLVED | Affects.DIFFUSION] = None
    """The hub's commit, 40 hex digits; a folder has none."""
    resolution: Annotated[int, Affects.PLAN | Affects.ADAPTER | Affects.SHARDS | Affects.DIFFUSION] = Field(
        default=512, ge=32, le=8192, multiple_of=8
    )
    """Side of the model's square input, in pixels. Of a folder that is here: by default what it was trained at."""
    precision: Annotated[Literal["auto", "fp32", "bf16"], Affects.RESOLVED | Affects.DIFFUSION] = "auto"
    """auto: bf16 on a GPU, fp32 on a CPU. LoRA weights and losses are always fp32."""
    device: Annotated[str, Affects.RESOLVED | Affects.DIFFUSION] = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$"
    )
    """The device of training and painting. auto: the first GPU, or the CPU where there is none."""

    @property
    def latent_side(self) -> float:
        """Latent pixels along a side of the model's input."""
        return self.resolution / _latent_scale(self.model)


LATENT_SIDE = 64
"""Latent pixels of Stable Diffusion 2: of Stable Diffusion's 8 pixels each in its square of 512."""


def resolve_base(base: BaseConfig, file: Path) -> BaseConfig:
    """Return `base` with its resolution, and an absolute path where it is a folder, beside the config or bundled."""
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
    """Return {"resolution": side in pixels that the base in a folder was trained at}, or {} where it does not say."""
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
