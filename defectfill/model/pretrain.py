"""Pretraining of a small base from scratch: the autoencoder first, then the inpainting UNet and its text encoder.

All that is random in a step descends from (seed, stage, step), so that a run that was killed goes on from its last
checkpoint to the same weights. Shapes: B batch, R resolution, C latent channels, h w latent pixels.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from defectfill.config import BaseConfig, GenerateConfig
from defectfill.errors import ConfigError
from defectfill.files import new_folder, write_table
from defectfill.hashing import derive_seed, digest
from defectfill.images import write_png
from defectfill.model.base import (
    Base,
    decode_latents,
    encode_images,
    encode_prompts,
    mask_out,
    mask_to_latent,
    resolve_device,
    unet_input,
)
from defectfill.model.checkpoint import load_checkpoint, save_checkpoint
from defectfill.model.diffusion import DiffusionPainter, to_tensor
from defectfill.model.perceptual import vae_distance
from defectfill.model.pictures import Pictures, draw_crops, draw_hole, draw_mark, gather_pictures
from defectfill.model.small import (
    VELOCITY_SCHEDULER,
    build_autoencoder,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    save_base,
)
from defectfill.model.stage import Rows, half_cosine, train_stage, warmed_up
from defectfill.model.training import training_target
from defectfill.pretrain_config import PretrainConfig
from defectfill.progress import progress
from defectfill.window import Window

ENCODED_AT_ONCE = 32
WARMUP_STEPS = 100
OUTSIDE = 0.1
"""Weight of the latent pixels outside the hole, where the background is given, beside 1 inside."""
SAMPLES = 8
"""Pictures on each sample sheet."""

POLISH_RATE = 0.25
"""Learning rate of the polishing over that of the training before."""


@dataclass(frozen=True)
class Views:
    """Crops with holes, encoded once: what the UNet learns from."""

    clean: Tensor
    """[M, C, h, w] latents"""
    background: Tensor
    """[M, C, h, w] latents of the crops with the hole set to mid-grey"""
    holes: Tensor
    """[M, 1, h, w], 1 inside the hole"""
    captions: tuple[str, ...]
    """M names"""


def pretrain(config: PretrainConfig) -> Path:
    """The folder of the finished base, in the diffusers format; what was left unfinished is taken up.

    Beside the base it holds the loss curves (autoencoder.parquet, denoiser.parquet), the config and sample sheets.
    Raises ConfigError where something else is in its place, DataError for folders without images, ModelError when a
    loss is not finite.
    """
    if config.output.exists():
        return _finished(config)
    work = config.output.with_name(f".{config.output.name}.work-{digest(config.model_dump(mode='json'))[:8]}")
    pictures = gather_pictures(config)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights"))
        base = _new_base(config)
    curve = {"autoencoder": _train_autoencoder(config, base.vae, pictures, work)}
    if config.half:
        base.vae.half().float()  # the denoiser learns on the latents of the weights that are written
    _set_latent_scale(config, base, pictures)
    views = _views(config, base, pictures, work)
    curve["denoiser"] = _train_denoiser(config, base, views, work)
    with new_folder(config.output) as folder:
        for name, rows in curve.items():
            schema = pa.schema([("step", pa.int32()), *((key, pa.float32()) for key in rows[0] if key != "step")])
            write_table(folder / f"{name}.parquet", rows, schema)
        (folder / "pretrain.json").write_text(config.model_dump_json(indent=2, exclude={"output"}), encoding="utf-8")
        write_png(folder / "reconstructions.png", reconstruction_sheet(config, base, pictures))
        write_png(folder / "fills.png", fill_sheet(config, base, pictures))
        models = (base.text_encoder, base.vae, base.unet)
        models = tuple(model.half() if config.half else model for model in models)
        save_base(folder, base.tokenizer, *models, base.scheduler_config)
    shutil.rmtree(work)
    return config.output


def _finished(config: PretrainConfig) -> Path:
    """config.output, if it holds the base of this very config; ConfigError for anything else that is in its place."""
    try:
        found = json.loads((config.output / "pretrain.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"output: {config.output} is there and holds no pretrained base") from error
    if found != config.model_dump(mode="json", exclude={"output"}):
        raise ConfigError(f"output: {config.output} holds the base of another config; choose another folder")
    return config.output


def _new_base(config: PretrainConfig) -> Base:
    """A base of the config's sizes with random weights."""
    device, dtype = resolve_device(BaseConfig(model="new", device=config.device, precision="fp32"))
    latent_channels, width = config.autoencoder.latent_channels, config.denoiser.text_width
    tokenizer = build_tokenizer()
    return Base(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(tokenizer, width).to(device),
        vae=build_autoencoder(config.autoencoder.channels, latent_channels).to(device),
        unet=build_unet(config.denoiser.channels, latent_channels, width, config.resolution // 8).to(device),
        scheduler_config=VELOCITY_SCHEDULER,
        device=device,
        dtype=dtype,
    )


def _train(
    config: PretrainConfig,
    label: str,
    work: Path,
    models: Sequence[nn.Module],
    step_losses: Callable[[int], Sequence[Mapping[str, Tensor]]],
    steps: int,
    learning_rate: float,
) -> Rows:
    """train_stage over all weights of the models: a short linear warm-up, then half a cosine to 0."""
    return train_stage(
        label,
        work / label,
        [([weight for model in models for weight in model.parameters()], learning_rate)],
        step_losses,
        steps=steps,
        every=config.checkpoint_every,
        schedule=lambda step: warmed_up(step, WARMUP_STEPS) * half_cosine(step, steps),
        weight_decay=1e-4,
        max_grad_norm=1.0,
    )


def _train_autoencoder(config: PretrainConfig, vae: Any, pictures: Pictures, work: Path) -> Rows:
    settings = config.autoencoder

    def step_losses(step: int) -> list[Mapping[str, Tensor]]:
        seed = derive_seed(config.seed, "autoencoder", step)
        rng = np.random.default_rng(seed)
        rows = rng.integers(len(pictures.pixels), size=settings.batch_size)
        crops = draw_crops(pictures, rows, settings.crop_px, settings.crop_px, colour=0.5, rng=rng).to(vae.device)
        posterior = vae.encode(crops).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed)).to(vae.device)
        latents = posterior.mean + posterior.std * noise
        losses = autoencoder_losses(crops, vae.decode(latents).sample, settings.sharpness)
        kl = posterior.kl().mean()
        smaller = vae.decode(F.avg_pool2d(latents, 2)).sample
        halved = autoencoder_losses(F.avg_pool2d(crops, 2), smaller, settings.sharpness)["total"]
        total = losses["total"] + settings.kl * kl + settings.equivariance * halved
        return [{**losses, "kl": kl, "halved": halved, "total": total}]

    vae.train()
    curve = _train(config, "autoencoder", work, [vae], step_losses, settings.steps, settings.learning_rate)
    vae.eval().requires_grad_(False)
    return curve


def autoencoder_losses(pictures: Tensor, decoded: Tensor, sharpness: float) -> dict[str, Tensor]:
    """Mean absolute error of pictures [B, 3, R, R], of their edges, and the total with edges weighing `sharpness`.

    Edges are differences of neighbouring pixels at full and at half resolution: blur costs there what it hardly
    costs in the pixels themselves.
    """
    pixels = F.l1_loss(decoded, pictures)
    edges = sum(
        (_edge_error(F.avg_pool2d(decoded, s), F.avg_pool2d(pictures, s)) for s in (1, 2)), pixels.new_zeros(())
    )
    return {"total": pixels + sharpness * edges, "pixels": pixels, "edges": edges}


def _edge_error(decoded: Tensor, pictures: Tensor) -> Tensor:
    error = decoded - pictures
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _some_crops(config: PretrainConfig, pictures: Pictures, count: int, purpose: str) -> Tensor:
    """`count` crops [count, 3, R, R] spread over all pictures."""
    rows = _spread_rows(pictures, count)
    rng = np.random.default_rng(derive_seed(config.seed, purpose))
    return draw_crops(pictures, rows, config.resolution, config.denoiser.closest_px, colour=0.0, rng=rng)


def _spread_rows(pictures: Pictures, count: int) -> NDArray[np.int64]:
    return np.linspace(0, len(pictures.pixels) - 1, count).astype(np.int64)


@torch.no_grad()
def _set_latent_scale(config: PretrainConfig, base: Base, pictures: Pictures) -> None:
    """Sets the autoencoder's scaling factor so that latents have about unit variance, as the noise schedule expects.

    What counts is the variance in those directions of the C channels that carry the picture, tr(S S) / tr(S) of the
    covariance S: the autoencoder leaves many nearly unused, and their small variances would hide it.
    """
    crops = _some_crops(config, pictures, 256, "latent scale")
    base.vae.register_to_config(scaling_factor=1.0)
    latents = torch.cat([encode_images(base, chunk) for chunk in crops.split(ENCODED_AT_ONCE)])
    covariance = latents.transpose(0, 1).flatten(1).cov()
    variance = covariance.square().sum() / covariance.trace()
    base.vae.register_to_config(scaling_factor=float(variance**-0.5))


@torch.no_grad()
def encode_views(config: PretrainConfig, base: Base, pictures: Pictures) -> Views:
    """denoiser.views crops of every picture, each with a hole of its own, in random order of the pool."""
    rows = np.repeat(np.arange(len(pictures.pixels)), config.denoiser.views)
    captions = [pictures.captions[row] for row in rows]
    parts = []
    for start in progress(range(0, len(rows), ENCODED_AT_ONCE), "encode views"):
        chunk = rows[start : start + ENCODED_AT_ONCE]
        rng = np.random.default_rng(derive_seed(config.seed, "views", start))
        crops = draw_crops(pictures, chunk, config.resolution, config.denoiser.closest_px, colour=0.3, rng=rng)
        drawn = [draw_hole(config.resolution, rng) for _ in chunk]
        for index in range(len(chunk)):
            if rng.random() < config.denoiser.marks:
                crops[index], drawn[index], mark = draw_mark(crops[index], rng)
                captions[start + index] += f" with a {mark}"
        holes = torch.from_numpy(np.stack(drawn))[:, None].float()
        clean, background = encode_images(base, torch.cat([crops, mask_out(crops, holes)])).chunk(2)
        parts.append((clean.cpu(), background.cpu(), mask_to_latent(holes, 8)))
    clean, background, holes = (torch.cat(part) for part in zip(*parts, strict=True))
    return Views(clean, background, holes, tuple(captions))


def _views(config: PretrainConfig, base: Base, pictures: Pictures, work: Path) -> Views:
    """The encoded views, from `work` where an earlier call left them."""
    state = load_checkpoint(work / "views")
    if state is not None:
        return Views(**state)
    views = encode_views(config, base, pictures)
    save_checkpoint(work / "views", 0, vars(views))
    return views


def _train_denoiser(config: PretrainConfig, base: Base, views: Views, work: Path) -> Rows:
    """The curve of all steps, those of the polishing after the others."""
    settings, everything = config.denoiser, list(range(len(views.captions)))
    curve = _train_denoiser_on(
        config, base, views, everything, work, "denoiser", settings.steps, settings.learning_rate
    )
    if not settings.polish_steps:
        return curve
    unmarked = [row for row in everything if " with a " not in views.captions[row]]
    rate = settings.learning_rate * POLISH_RATE
    polishing = _train_denoiser_on(config, base, views, unmarked, work, "polish", settings.polish_steps, rate)
    return [*curve, *({**row, "step": settings.steps + row["step"]} for row in polishing)]


def _train_denoiser_on(
    config: PretrainConfig,
    base: Base,
    views: Views,
    rows: Sequence[int],
    work: Path,
    label: str,
    steps: int,
    learning_rate: float,
) -> Rows:
    """Trains UNet and text encoder on some rows of the views."""
    from diffusers.schedulers import DDPMScheduler

    settings, choice = config.denoiser, torch.tensor(rows)
    scheduler: Any = DDPMScheduler.from_config(base.scheduler_config)
    prompts = ["", *(f"{start} {name}" for name in sorted(set(views.captions)) for start in ("A", "A photo of"))]

    def step_losses(step: int) -> list[Mapping[str, Tensor]]:
        seed = derive_seed(config.seed, label, step)
        rng = np.random.default_rng(seed)
        rows = choice[torch.from_numpy(rng.integers(len(choice), size=settings.batch_size))]
        generator = torch.Generator().manual_seed(seed)
        clean = views.clean[rows].to(base.device)
        noise = torch.randn(clean.shape, generator=generator).to(base.device)
        spread = (torch.arange(len(rows)) + torch.rand((), generator=generator)) / len(rows)
        timesteps = (spread * scheduler.config.num_train_timesteps).long()
        noisy = scheduler.add_noise(clean, noise, timesteps.to(base.device))
        holes = views.holes[rows].to(base.device)
        inputs = unet_input(noisy, holes, views.background[rows].to(base.device))
        texts = [_prompt(views.captions[row], settings.empty_prompts, rng) for row in rows.tolist()]
        embeddings = encode_prompts(base, prompts)[[prompts.index(text) for text in texts]]
        predicted = base.unet(inputs, timesteps.to(base.device), encoder_hidden_states=embeddings).sample
        target = training_target(scheduler, clean, noise, timesteps.to(base.device))
        return [{"total": denoising_loss(target, predicted, holes)}]

    base.unet.train().to(memory_format=torch.channels_last)
    base.text_encoder.train()
    models = [base.unet, base.text_encoder]
    curve = _train(config, label, work, models, step_losses, steps, learning_rate)
    base.unet.eval().to(memory_format=torch.contiguous_format)
    base.text_encoder.eval()
    return curve


def denoising_loss(target: Tensor, predicted: Tensor, holes: Tensor) -> Tensor:
    """Weighted mean squared error of the prediction [B, C, h, w], a scalar.

    A latent pixel weighs 1 inside holes [B, 1, h, w] and OUTSIDE elsewhere.
    """
    weight = holes + OUTSIDE * (1 - holes)
    error = (predicted - target).square().mean(dim=1, keepdim=True)
    return (weight * error).sum() / weight.sum()


def _prompt(name: str, empty: float, rng: np.random.Generator) -> str:
    if rng.random() < empty:
        return ""
    return f"A {name}" if rng.random() < 0.5 else f"A photo of {name}"


def reconstruction_sheet(config: PretrainConfig, base: Base, pictures: Pictures) -> NDArray[np.uint8]:
    """A picture [2R, SAMPLES x R, 3]: crops above, below them what the autoencoder makes of them."""
    crops = _some_crops(config, pictures, SAMPLES, "sheet")
    with torch.no_grad():
        decoded = decode_latents(base, encode_images(base, crops)).cpu()
    return _sheet(crops, decoded)


def fill_sheet(config: PretrainConfig, base: Base, pictures: Pictures) -> NDArray[np.uint8]:
    """A picture [3R, SAMPLES x R, 3]: crops, the crops with a hole, the holes filled by the base."""
    rng = np.random.default_rng(derive_seed(config.seed, "fills"))
    crops = _some_crops(config, pictures, SAMPLES, "fills")
    holes = [draw_hole(config.resolution, rng) for _ in crops]
    frame = (0, 0, config.resolution, config.resolution)
    windows = [
        Window(frame, ((crop + 1) / 2).permute(1, 2, 0).numpy(), hole) for crop, hole in zip(crops, holes, strict=True)
    ]
    names = [pictures.captions[row] for row in _spread_rows(pictures, SAMPLES)]
    settings = GenerateConfig(candidates=1, steps=20, guidance_scale=1, samples_per_batch=SAMPLES)
    painter = DiffusionPainter(base, settings, vae_distance(base))
    paintings = painter.paint(windows, range(SAMPLES), [f"A photo of {name}" for name in names])
    filled = torch.stack([to_tensor(painting.candidates[0]) for painting in paintings])
    mask = torch.from_numpy(np.stack(holes))[:, None].float()
    return _sheet(crops, mask_out(crops, mask), torch.where(mask > 0, filled, crops))


def _sheet(*rows: Tensor) -> NDArray[np.uint8]:
    """Rows of pictures [N, 3, R, R] in [-1, 1] below each other, [rows x R, N x R, 3]."""
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2).permute(1, 2, 0)
    return ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
