"""Identity and completeness of the models, told before they are loaded and without importing torch."""

import importlib.util
import json
import math
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.io.hashing import digest
from defectfill.io.images import file_sha256

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
LPIPS_BACKBONE = "vgg16-397923af.pth"
"""The file torchvision keeps VGG-16 in; LPIPS adds its own small weights, which its package carries."""


class BaseIdentity(BaseModel):
    """The identity of a base, wherever it is stored."""

    model_config = ConfigDict(frozen=True)

    model: str
    """The hub id, or the name of the local folder (never its path)."""
    revision: str
    """The hub's commit, or the SHA-256 of the folder's weights and configs."""


def identify_base(config: BaseConfig) -> BaseIdentity:
    """Return the identity of the base that `config` names.

    A local folder is checked for completeness, for the 9-channel UNet of an inpainting model and for a known
    prediction_type, and hashed. A hub id needs a pinned revision. Raises ConfigError with every mistake found.
    """
    if not Path(config.model).is_absolute():
        if not re.fullmatch(r"[0-9a-f]{40}", config.revision or ""):
            raise ConfigError(
                f"base.model: {config.model} is no folder beside the config; as a hub model it needs base.revision, "
                f"its commit in 40 hex digits, found {config.revision!r}"
            )
        return BaseIdentity(model=config.model, revision=str(config.revision))
    folder = Path(config.model)
    if problems := _folder_problems(folder):
        raise ConfigError([f"base.model: {problem}" for problem in problems])
    return BaseIdentity(model=folder.name, revision=_folder_digest(folder))


def _folder_problems(folder: Path) -> list[str]:
    """Return everything that keeps `folder` from being an inpainting base in the diffusers format."""
    if not folder.is_dir():
        return [f"{folder}: no such folder"]
    if missing := _missing_files(folder):
        return missing
    configs: dict[str, dict[str, Any]] = {}
    problems = []
    for part, name in CONFIGS.items():
        try:
            configs[part] = _read_json(folder / part / name)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    problems += _weight_problems(folder)
    vocabularies = (["tokenizer.json"], ["vocab.json", "merges.txt"])
    if not any(all((folder / "tokenizer" / name).is_file() for name in names) for names in vocabularies):
        problems.append(f"{folder}: has no tokenizer/tokenizer.json, nor tokenizer/vocab.json and merges.txt")
    if (folder / "text_encoder_2").is_dir():
        problems.append(f"{folder}: has text_encoder_2; bases with two text encoders, such as SDXL, are not supported")
    return problems or [f"{folder}: {problem}" for problem in _config_problems(configs)]


def _missing_files(folder: Path) -> list[str]:
    configs = [
        f"{folder}: has no {part}/{name}" for part, name in CONFIGS.items() if not (folder / part / name).is_file()
    ]
    weights = [
        f"{folder}: has no {part}/{name}.safetensors ({_others(folder / part)} are not loaded)"
        for part, name in WEIGHTS.items()
        if not _weight_files(folder / part, name)
    ]
    return [*configs, *weights]


def _weight_files(part: Path, name: str) -> list[Path]:
    """Return the files of weights of a part that are loaded: one, or the numbered pieces of it; no variants."""
    wanted = re.compile(rf"{name}(-\d+-of-\d+)?\.safetensors")
    return sorted(path for path in part.glob(f"{name}*.safetensors") if wanted.fullmatch(path.name))


def _others(part: Path) -> str:
    """Return what there is instead of a part's weights: a variant such as fp16, or another format."""
    variants = sorted(path.name for path in part.glob("*.safetensors"))
    return f"variants such as {variants[0]}" if variants else "other weight formats"


def _config_problems(configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a problem for every value in the configs that no inpainting base can have."""
    channels = configs["vae"].get("latent_channels", 4)
    if not isinstance(channels, int):
        yield f"vae/config.json: expected latent_channels to be a number, found {channels!r}"
        return
    yield from _unet_problems(configs["unet"], channels)
    width, expected = configs["text_encoder"].get("hidden_size"), configs["unet"].get("cross_attention_dim")
    if isinstance(width, int) and isinstance(expected, int) and width != expected:
        yield (
            f"unet/config.json: expected cross_attention_dim to be {width}, the hidden_size of the text encoder, "
            f"found {expected}"
        )
    scale = configs["vae"].get("scaling_factor", 0.18215)
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        yield f"vae/config.json: expected a positive scaling_factor, found {scale!r}"
    yield from _scheduler_problems(configs["scheduler"])
    longest = configs["tokenizer"].get("model_max_length")
    most = configs["text_encoder"].get("max_position_embeddings", 77)
    if longest is not None and not (isinstance(longest, int) and isinstance(most, int) and 2 < longest <= most):
        yield (
            "tokenizer/tokenizer_config.json: expected a model_max_length of at most the text encoder's "
            f"max_position_embeddings, {most!r}, found {longest!r}"
        )


def _unet_problems(unet: dict[str, Any], latent_channels: int) -> Iterator[str]:
    if unet.get("in_channels") != 2 * latent_channels + 1:
        yield (
            f"unet/config.json: in_channels of an inpainting UNet is {2 * latent_channels + 1} "
            f"(latent, mask, masked-image latent), found {unet.get('in_channels')}"
        )
    if unet.get("addition_embed_type") is not None:
        yield (
            "unet/config.json: expected a UNet that is told nothing but a text, found addition_embed_type "
            f"{unet['addition_embed_type']!r}, as SDXL has it"
        )
    if not isinstance(unet.get("sample_size"), int):
        yield f"unet/config.json: expected sample_size to be a number, found {unet.get('sample_size')!r}"


def _scheduler_problems(scheduler: dict[str, Any]) -> Iterator[str]:
    where = "scheduler/scheduler_config.json"
    prediction, steps = scheduler.get("prediction_type", "epsilon"), scheduler.get("num_train_timesteps", 1000)
    if prediction not in ("epsilon", "v_prediction"):
        yield f"{where}: expected epsilon or v_prediction as prediction_type, found {prediction}"
    if not isinstance(steps, int) or not 0 < steps <= 1_000_000:
        yield f"{where}: expected a positive num_train_timesteps, found {steps!r}"


def _weight_problems(folder: Path) -> list[str]:
    """Return a problem for every file of weights that is cut short, empty, or no safetensors; only headers are read."""
    from safetensors import SafetensorError, safe_open

    problems = []
    for part, name in WEIGHTS.items():
        for path in _weight_files(folder / part, name):
            try:
                with safe_open(path, framework="np") as weights:
                    if not list(weights.keys()):
                        problems.append(f"{path}: expected weights, found none")
            except (OSError, SafetensorError) as error:
                problems.append(f"{path}: expected weights as safetensors, found a damaged or other file ({error})")
    return problems


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return content


def _folder_digest(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of everything that is loaded from `folder`."""
    files = _loaded_files(folder)
    return digest([[path.relative_to(folder).as_posix(), _remembered_sha256(path, *_stamp(path))] for path in files])


def folder_stamps(config: BaseConfig) -> tuple[tuple[int, int, int], ...]:
    """Return numbers that differ once a file of a base in a folder was written again; none of a hub's base."""
    folder = Path(config.model)
    return tuple(_stamp(path) for path in _loaded_files(folder)) if folder.is_absolute() else ()


def _loaded_files(folder: Path) -> list[Path]:
    parts = [folder / part for part in CONFIGS if (folder / part).is_dir()]
    return sorted(path for part in parts for path in part.iterdir() if path.is_file() and path.suffix != ".bin")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return numbers that differ once a file was written again."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=256)
def _remembered_sha256(path: Path, size: int, modified_ns: int, changed_ns: int) -> str:
    """Return the SHA-256 of a file; gigabytes of weights are read once per process, however many categories it has."""
    return file_sha256(path)


def resolve_distance(name: Literal["auto", "vae", "lpips"]) -> Literal["vae", "lpips"]:
    """Return the distance of the selection. auto: lpips where its packages and weights are on this machine, else vae.

    Raises ConfigError when lpips is asked for and not there.
    """
    missing = [package for package in ("lpips", "torchvision") if importlib.util.find_spec(package) is None]
    weights = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser() / "hub/checkpoints" / LPIPS_BACKBONE
    if name == "lpips" and missing:
        raise ConfigError(
            f"generate.distance: lpips needs {' and '.join(missing)}: pip install 'defectfill[lpips]', or use vae"
        )
    if name == "lpips" and not weights.is_file():
        raise ConfigError(f"generate.distance: lpips needs the weights {weights}, or use vae")
    if name == "auto":
        return "vae" if missing or not weights.is_file() else "lpips"
    return name


def resolve_device_kind(config: BaseConfig) -> str:
    """Return the kind of device and precision of the frozen weights, for instance `cpu fp32`.

    torch is asked unless it is a CPU. Raises ConfigError when a GPU is asked for and torch finds none.
    """
    if config.device == "cpu":
        return f"cpu {'bf16' if config.precision == 'bf16' else 'fp32'}"
    from defectfill.model.base.device import resolve_device

    device, dtype = resolve_device(config)
    return f"{device.type} {'bf16' if str(dtype) == 'torch.bfloat16' else 'fp32'}"
