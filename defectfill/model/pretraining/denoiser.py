"""The inpainting UNet and text encoder of a base of one's own: trained on encoded views of pictures.

Shapes: M views, B batch, C latent channels, h, w latent pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from defectfill.io.hashing import derive_seed
from defectfill.io.progress import progress
from defectfill.model.base.base import Base, encode_images, encode_prompts, mask_out, mask_to_latent, unet_input
from defectfill.model.pretraining.config import DenoiserConfig, PretrainConfig
from defectfill.model.pretraining.pictures import Pictures, draw_box_around, draw_crops, draw_hole, draw_mark
from defectfill.model.pretraining.stage import ENCODED_AT_ONCE, train_part
from defectfill.model.training.checkpoint import load_checkpoint, save_checkpoint
from defectfill.model.training.loop import LossRows, StepLosses
from defectfill.model.training.steps import training_target

OUTSIDE, ON_MARK = 0.02, 3.0
"""Weights of latent pixels outside the hole, where the background is given, and on a mark, beside 1 in the hole."""
BARE = 0.25
"""Share of the holes made for marks that have none: else the shape of a hole told of the mark, and no caption."""
ANY_MARK, ANY_SHARE = "sks", 0.25
"""Stands for the word in this share of the captions of marks: an adapter's [V*] starts as damage of some kind."""
POLISH_RATE = 0.25
"""Learning rate of the polishing over that of the training before."""


@dataclass(frozen=True)
class Views:
    """Crops with holes, encoded once, that the UNet learns from."""

    clean: Tensor
    """[M, C, h, w], latents."""
    background: Tensor
    """[M, C, h, w], latents of the crops with the hole set to mid-grey."""
    holes: Tensor
    """[M, 1, h, w], 1 inside the hole."""
    marks: Tensor
    """[M, 1, h, w], 1 where a mark lies, with its margin."""
    names: tuple[str, ...]
    """M, of what the pictures show."""
    words: tuple[str, ...]
    """M, of the marks; empty without one."""


@torch.no_grad()
def encode_views(config: PretrainConfig, base: Base, pictures: Pictures) -> Views:
    """Encode denoiser.views crops of every picture, each with a hole of its own."""
    rows = np.repeat(np.arange(len(pictures.pixels)), config.denoiser.views)
    parts, words = [], list[str]()
    for start in progress(range(0, len(rows), ENCODED_AT_ONCE), "encode views"):
        chunk = rows[start : start + ENCODED_AT_ONCE]
        rng = np.random.default_rng(derive_seed(config.seed, "views", start))
        crops = draw_crops(pictures, chunk, config.resolution, config.denoiser.closest_px, 0.3, rng, stays_grey=True)
        views = [_draw_view(config.denoiser, crop, rng) for crop in crops]
        crops = torch.stack([crop for crop, *_ in views])
        holes, marks = (torch.from_numpy(np.stack([view[n] for view in views]))[:, None].float() for n in (1, 2))
        words += [word for *_, word in views]
        with torch.autocast(base.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            clean, background = encode_images(base, torch.cat([crops, mask_out(crops, holes)])).float().chunk(2)
        masks = (mask_to_latent(each, base.latent_scale) for each in (holes, marks))
        parts.append((clean.cpu(), background.cpu(), *masks))
    clean, background, holes, marks = (torch.cat(part) for part in zip(*parts, strict=True))
    return Views(clean, background, holes, marks, tuple(pictures.captions[row] for row in rows), tuple(words))


def _draw_view(
    settings: DenoiserConfig, crop: Tensor, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.bool_], NDArray[np.bool_], str]:
    """Return a crop [3, R, R], perhaps with a mark; a hole in it and the mark's mask, both [R, R]; the mark's word."""
    side = crop.shape[-1]
    if rng.random() >= settings.marks:
        return crop, draw_hole(side, rng), np.zeros((side, side), bool), ""
    marked, mask, word = draw_mark(crop, rng)
    hole = draw_box_around(mask, rng) if rng.random() < settings.boxed_marks else mask
    if rng.random() < BARE:
        return crop, hole, np.zeros_like(mask), ""
    return marked, hole, mask, word


def load_or_encode_views(config: PretrainConfig, base: Base, pictures: Pictures, work: Path) -> Views:
    """Return the encoded views, from `work` where an earlier call left them."""
    state = load_checkpoint(work / "views")
    if state is not None:
        return Views(**state)
    views = encode_views(config, base, pictures)
    save_checkpoint(work / "views", 0, vars(views))
    return views


def train_denoiser(config: PretrainConfig, base: Base, views: Views, work: Path) -> LossRows:
    """Train UNet and text encoder; return the loss curve of all steps, those of the polishing after the others."""
    settings, everything = config.denoiser, list(range(len(views.words)))
    curve = _train_on(config, base, views, everything, work, "denoiser", settings.steps, settings.learning_rate)
    if not settings.polish_steps:
        return curve
    unmarked = [row for row in everything if not views.words[row]]
    rate = settings.learning_rate * POLISH_RATE
    polishing = _train_on(config, base, views, unmarked, work, "polish", settings.polish_steps, rate)
    return [*curve, *({**row, "step": settings.steps + row["step"]} for row in polishing)]


def _train_on(
    config: PretrainConfig,
    base: Base,
    views: Views,
    rows: Sequence[int],
    work: Path,
    label: str,
    steps: int,
    learning_rate: float,
) -> LossRows:
    """Train UNet and text encoder on some rows of the views."""
    losses = denoiser_step(config, base, views, rows, label)
    with trainable_denoiser(config, base) as models:
        return train_part(config, label, work, models, losses, steps, learning_rate, config.denoiser.average)


@contextmanager
def trainable_denoiser(config: PretrainConfig, base: Base) -> Iterator[list[nn.Module]]:
    """Give UNet and text encoder in train mode, not frozen; afterwards they are as before."""
    from diffusers.models.attention_processor import AttnProcessor

    models, processors = [base.unet, base.text_encoder], dict(base.unet.attn_processors)
    if config.precision == "bf16" and base.device.type == "cpu":  # torch's fused attention is slow there, backward
        base.unet.set_attn_processor(AttnProcessor())
    for model in models:
        model.train().requires_grad_(True)
    try:
        yield models
    finally:
        base.unet.set_attn_processor(processors)
        for model in models:
            model.eval().requires_grad_(False)


def denoiser_step(config: PretrainConfig, base: Base, views: Views, rows: Sequence[int], label: str) -> StepLosses:
    """Return what computes the loss of a step on some rows of the views."""
    from diffusers.schedulers import DDPMScheduler

    settings, choice = config.denoiser, torch.tensor(rows)
    scheduler: Any = DDPMScheduler.from_config(base.scheduler_config)

    def step_losses(step: int) -> list[Mapping[str, Tensor]]:
        seed = derive_seed(config.seed, label, step)
        rng = np.random.default_rng(seed)
        rows = choice[torch.from_numpy(rng.integers(len(choice), size=settings.batch_size))]
        generator = torch.Generator().manual_seed(seed)
        clean = views.clean[rows].to(base.device)
        noise = torch.randn(clean.shape, generator=generator).to(base.device)
        share = shifted(_spread(len(rows), generator), settings.timestep_shift)
        timesteps = (share * scheduler.config.num_train_timesteps).long().to(base.device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        holes = views.holes[rows].to(base.device)
        inputs = unet_input(noisy, holes, views.background[rows].to(base.device))
        texts = [prompt_of(views.names[row], views.words[row], settings.empty_prompts, rng) for row in rows.tolist()]
        distinct = sorted(set(texts))
        embeddings = encode_prompts(base, distinct)[[distinct.index(text) for text in texts]]
        predicted = base.unet(inputs, timesteps, encoder_hidden_states=embeddings).sample.float()
        target = training_target(scheduler, clean, noise, timesteps)
        return [{"total": denoising_loss(target, predicted, holes, views.marks[rows].to(base.device))}]

    return step_losses


def _spread(rows: int, generator: torch.Generator) -> Tensor:
    """Return `rows` numbers at even distances over [0, 1), from a random start; float64, as float32 would reach 1."""
    return (torch.arange(rows) + torch.rand((), generator=generator).double()) / rows


def shifted(share: Tensor, shift: float) -> Tensor:
    """Return shares of the timesteps [B], in [0, 1), moved towards 1; a shift of 1 leaves them as they are."""
    return shift * share / (1 + (shift - 1) * share)


def denoising_loss(target: Tensor, predicted: Tensor, holes: Tensor, marks: Tensor) -> Tensor:
    """Return the weighted mean squared error of the prediction [B, C, h, w], a scalar; every row counts the same.

    A latent pixel weighs ON_MARK on marks, 1 elsewhere in holes, both [B, 1, h, w], and OUTSIDE elsewhere.
    """
    weight = torch.where(holes > 0, 1 + (ON_MARK - 1) * marks, OUTSIDE)
    error = (predicted - target).square().mean(dim=1, keepdim=True)
    return ((weight * error).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))).mean()


def prompt_of(name: str, word: str, empty: float, rng: np.random.Generator) -> str:
    """Return a caption as adapters are trained and painted by: of the part, with its mark, or of the mark alone."""
    if rng.random() < empty:
        return ""
    if not word:
        return f"A {name}" if rng.random() < 0.5 else f"A photo of {name}"
    mark = ANY_MARK if rng.random() < ANY_SHARE else f"a {word}" if rng.random() < 0.5 else word
    return f"A photo of {mark}" if rng.random() < 0.2 else f"A {name} with {mark}"
