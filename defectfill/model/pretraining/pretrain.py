"""Pretraining of a small base, from nothing or from another: the autoencoder first, then UNet and text encoder.

All that is random in a step descends from (seed, stage, step), so that a run that was killed goes on from its last
checkpoint to the same weights. Shapes: B batch, R resolution, C latent channels, h w latent pixels.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.io.files import new_folder, write_table
from defectfill.io.hashing import derive_seed, digest
from defectfill.io.images import write_png
from defectfill.model.base.base import Base, load_base
from defectfill.model.base.device import resolve_device
from defectfill.model.base.identity import identify_base
from defectfill.model.pretraining.architectures import (
    VELOCITY_SCHEDULER,
    build_autoencoder,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    save_base,
)
from defectfill.model.pretraining.autoencoder import set_latent_scale, train_autoencoder
from defectfill.model.pretraining.config import AUTOENCODER_SIZES, DENOISER_SIZES, PretrainConfig
from defectfill.model.pretraining.denoiser import load_or_encode_views, train_denoiser
from defectfill.model.pretraining.pictures import gather_pictures
from defectfill.model.pretraining.sheets import fill_sheet, reconstruction_sheet
from defectfill.model.pretraining.timing import pretraining_seconds


def pretrain(config: PretrainConfig) -> Path:
    """Train a base and return its folder, in the diffusers format; an unfinished training is taken up.

    Beside the base it holds the loss curves (autoencoder.parquet, denoiser.parquet), the config and sample sheets.
    Raises ConfigError where the output is something else, DataError for folders without images, ModelError when a
    loss is not finite.
    """
    record = _record(config)
    if config.output.exists():
        return _finished(config.output, record)
    work = config.output.with_name(f".{config.output.name}.work-{digest([record, str(config.output)])[:8]}")
    base = _new_base(config) if config.start is None else _started_base(config)
    base.vae.to(memory_format=torch.channels_last)  # a quarter to a half quicker on a CPU
    pictures = gather_pictures(config)
    _tell_time(pretraining_seconds(config, base, pictures))
    curve = {"autoencoder": train_autoencoder(config, base.vae, pictures, work)}
    if config.half:
        base.vae.half().float()  # the denoiser learns on the latents of the weights that are written
    if config.start is None or _is_autoencoder_alone(Path(config.start)):
        set_latent_scale(config, base, pictures)
    if config.denoiser.steps:
        curve["denoiser"] = train_denoiser(config, base, load_or_encode_views(config, base, pictures, work), work)
    with new_folder(config.output) as folder:
        for name, rows in curve.items():
            if not rows:
                continue
            schema = pa.schema([("step", pa.int32()), *((key, pa.float32()) for key in rows[0] if key != "step")])
            write_table(folder / f"{name}.parquet", rows, schema)
        (folder / "pretrain.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        write_png(folder / "reconstructions.png", reconstruction_sheet(config, base, pictures))
        write_png(folder / "fills.png", fill_sheet(config, base, pictures))
        models = (base.text_encoder, base.vae.to(memory_format=torch.contiguous_format), base.unet)
        models = tuple(model.half() if config.half else model for model in models)
        save_base(folder, base.tokenizer, *models, base.scheduler_config)
    shutil.rmtree(work)
    return config.output


def _record(config: PretrainConfig) -> dict[str, Any]:
    """Return everything that the base depends on: the config and, instead of its folder, what the first base was.

    The sizes are left out where they are the first base's own.
    """
    if config.start is not None and not Path(config.start).is_dir():
        raise ConfigError(f"start: {config.start} is no folder beside the config, nor a base that comes along")
    if config.start is None:
        return config.model_dump(mode="json", exclude={"output"})
    sizes = {"autoencoder": set(AUTOENCODER_SIZES), "denoiser": set(DENOISER_SIZES)}
    settings = config.model_dump(mode="json", exclude={"output": True, **sizes})
    return {**settings, "start": identify_base(BaseConfig(model=config.start)).model_dump()}


def _is_autoencoder_alone(folder: Path) -> bool:
    """Return whether a base's UNet has learnt nothing yet, so that the scale of its latents is still free."""
    try:
        record = json.loads((folder / "pretrain.json").read_bytes())
        return record["start"] is None and not record["denoiser"]["steps"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _finished(output: Path, record: Mapping[str, Any]) -> Path:
    """Return `output` if it holds the base of this very record; ConfigError for anything else that is there."""
    try:
        found = json.loads((output / "pretrain.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"output: {output} is there and holds no pretrained base") from error
    if found != record:
        raise ConfigError(f"output: {output} holds the base of another config; choose another folder")
    return output


def _tell_time(seconds: Mapping[str, float]) -> None:
    """Print how long the parts of a pretraining take, in minutes."""
    parts = ", ".join(f"{name} {each / 60:.0f}" for name, each in seconds.items())
    print(f"about {sum(seconds.values()) / 60:.0f} minutes from the beginning: {parts}", file=sys.stderr)


def _started_base(config: PretrainConfig) -> Base:
    """Return the base to go on from, its weights in full precision, for pictures of the config's resolution."""
    model = BaseConfig(model=str(config.start), resolution=config.resolution, precision="fp32", device=config.device)
    base = load_base(model)
    base.unet.register_to_config(sample_size=config.resolution // base.latent_scale)
    return base


def _new_base(config: PretrainConfig) -> Base:
    """Return a base of the config's sizes with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights"))
        return _random_base(config)


def _random_base(config: PretrainConfig) -> Base:
    """Build the base; its weights come from torch's generator."""
    device, dtype = resolve_device(BaseConfig(model="new", device=config.device, precision="fp32"))
    autoencoder, denoiser = config.autoencoder, config.denoiser
    latent_side = config.resolution // autoencoder.factor
    tokenizer = build_tokenizer()
    return Base(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(tokenizer, denoiser.text_width).to(device),
        vae=build_autoencoder(autoencoder.channels, autoencoder.latent_channels, autoencoder.groups).to(device),
        unet=build_unet(
            denoiser.channels, autoencoder.latent_channels, denoiser.text_width, latent_side, denoiser.attention
        ).to(device),
        scheduler_config=VELOCITY_SCHEDULER,
        device=device,
        dtype=dtype,
    )
