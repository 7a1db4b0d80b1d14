"""DefectFill's painter: sampling from pure noise with background replacement (section 3.4 of the paper).

Shapes: S samples of a batch, K candidates, N = S x K rows, C latent channels, h w latent pixels,
R the model's resolution, L tokens, D text width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from defectfill.config import BaseConfig, GenerateConfig, Solver
from defectfill.errors import ModelError
from defectfill.files import damage_named, write_once
from defectfill.model.adapter import load_adapter, merged_adapter
from defectfill.model.base import (
    Base,
    decode_latents,
    encode_images,
    encode_prompts,
    mask_out,
    mask_to_latent,
    shared_base,
    unet_input,
)
from defectfill.model.memory import MOST_SAMPLES, batch_that_fits, free_memory
from defectfill.model.perceptual import Distance, make_distance
from defectfill.painting import Painting
from defectfill.window import Window

SOLVERS: dict[Solver, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm": ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}),
    "unipc": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
}
"""generate.solver -> diffusers' scheduler, and what it changes of the base's schedule. DDIM keeps the base's spacing of
timesteps; trailing starts at the last one, whatever the number of steps."""


CPU_SAMPLES = 2
"""Samples per batch on a CPU, which more do not make faster."""


@dataclass(frozen=True)
class Conditions:
    """What the N rows of one batch are painted from."""

    clean_latents: Tensor
    """[N, C, h, w]"""
    background_latents: Tensor
    """[N, C, h, w]: the clean window with the planned mask set to mid-grey."""
    latent_mask: Tensor
    """[N, 1, h, w], 1 where the defect is painted."""
    prompt: Tensor
    """[N, L, D]"""
    empty_prompt: Tensor | None
    """[N, L, D], or None without guidance."""

    def rows(self, index: Tensor) -> "Conditions":
        """The conditions of some rows."""
        empty = self.empty_prompt
        return Conditions(
            clean_latents=self.clean_latents[index],
            background_latents=self.background_latents[index],
            latent_mask=self.latent_mask[index],
            prompt=self.prompt[index],
            empty_prompt=None if empty is None else empty[index],
        )


@dataclass(frozen=True)
class DiffusionPainter:
    """A Painter (see defectfill.painting) of one base with one adapter loaded."""

    base: Base
    settings: GenerateConfig
    distance: Distance

    @torch.inference_mode()
    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        """One Painting per window, in order.

        Batches always have samples_per_batch windows, the last one filled up by repetition: kernels then see
        the same shapes whatever is painted together, and a sample's bytes do not depend on its company. Where memory
        runs out, batches are halved from there on, which changes no more than rounding.
        """
        size, jobs = self.settings.samples_per_batch, zip(windows, seeds, prompts, strict=True)
        assert isinstance(size, int), "open_painter finds the number"
        waiting = list(islice(jobs, size))
        while waiting:
            batch = waiting[:size]
            try:
                paintings = self._paint_batch(*zip(*batch, *[batch[-1]] * (size - len(batch)), strict=True))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise ModelError(
                        "painting a single sample ran out of GPU memory: lower generate.candidates "
                        f"(now {self.settings.candidates})"
                    ) from error
                size //= 2
                continue
            yield from paintings[: len(batch)]
            waiting = [*waiting[size:], *islice(jobs, max(size - len(waiting[size:]), 0))]

    def _paint_batch(self, windows: Sequence[Window], seeds: Sequence[int], prompts: Sequence[str]) -> list[Painting]:
        images = torch.stack([to_tensor(window.image) for window in windows]).to(self.base.device)
        masks = torch.stack([torch.from_numpy(window.mask)[None].float() for window in windows]).to(self.base.device)
        conditions = self._conditions(images, masks, prompts)
        noise = torch.cat([self._noise(seed, conditions.clean_latents.shape[1:]) for seed in seeds])
        with merged_adapter(self.base):
            sampled = sample_latents(self.base, conditions, noise.to(self.base.device), self.settings)
        candidates = self._decode(sampled.latents).unflatten(0, (len(windows), -1))
        # One row per sample: the rows of the clean latents repeat K times.
        reconstructions = self._decode(conditions.clean_latents[:: self.settings.candidates])
        tint = codec_tint(images, reconstructions, self.base.latent_scale)
        candidates, reconstructions = (candidates - tint[:, None]).clamp(-1, 1), (reconstructions - tint).clamp(-1, 1)
        scores = torch.full((len(windows) * self.settings.candidates,), torch.nan, device=self.base.device)
        scores[sampled.rows] = torch.cat(
            [self.distance(images[row : row + 1], candidates[row], masks[row : row + 1]) for row in range(len(windows))]
        )
        by_sample = scores.unflatten(0, (len(windows), -1)).cpu()
        early = None if sampled.early_scores is None else sampled.early_scores.unflatten(0, (len(windows), -1))
        return [
            Painting(
                _to_array(candidates[row]),
                by_sample[row].numpy(),
                _to_array(reconstructions[row]),
                () if early is None else tuple(early[row].tolist()),
            )
            for row in range(len(windows))
        ]

    def _conditions(self, images: Tensor, masks: Tensor, prompts: Sequence[str]) -> Conditions:
        """Conditions of images [S, 3, R, R] and masks [S, 1, R, R], every sample repeated for its K candidates."""
        copies = self.settings.candidates
        clean, background = encode_images(self.base, torch.cat([images, mask_out(images, masks)])).chunk(2)
        texts = list(dict.fromkeys(["", *prompts]))
        embeddings = encode_prompts(self.base, texts)
        rows = [texts.index(prompt) for prompt in prompts for _ in range(copies)]
        guided = self.settings.guidance_scale > 1
        return Conditions(
            clean_latents=clean.repeat_interleave(copies, dim=0),
            background_latents=background.repeat_interleave(copies, dim=0),
            latent_mask=mask_to_latent(masks, self.base.latent_scale).repeat_interleave(copies, dim=0),
            prompt=embeddings[rows],
            empty_prompt=embeddings[[0] * len(rows)] if guided else None,
        )

    def _noise(self, seed: int, shape: Sequence[int]) -> Tensor:
        """[K, C, h, w] from the sample's own generator on the CPU; candidate k is the same whatever K is."""
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([torch.randn(*shape, generator=generator) for _ in range(self.settings.candidates)])

    def _decode(self, latents: Tensor) -> Tensor:
        """Decoded in chunks of the number of candidates, which bounds the memory of the decoder."""
        return torch.cat([decode_latents(self.base, chunk) for chunk in latents.split(self.settings.candidates)])


def codec_tint(images: Tensor, reconstructions: Tensor, latent_scale: int) -> Tensor:
    """How the codec alone shifts colours [S, 3, R, R] of images [S, 3, R, R]: its error, smoothed over latent pixels.

    A latent holds more shape than colour; what is painted would stand out by its tint from a part that kept its own.
    """
    tint = reconstructions - images
    for _ in range(2):
        tint = F.avg_pool2d(tint, 2 * latent_scale + 1, stride=1, padding=latent_scale, count_include_pad=False)
    return tint


@dataclass(frozen=True)
class Sampled:
    """What sampling gives."""

    latents: Tensor
    """[M, C, h, w], those painted to the end."""
    rows: Tensor
    """[M], which of the N rows they are, in order."""
    early_scores: Tensor | None
    """[N], by which rows were dropped on the way; None where none was."""


def sample_latents(
    base: Base,
    conditions: Conditions,
    noise: Tensor,
    settings: GenerateConfig,
    *,
    replace_background: bool = True,
) -> Sampled:
    """What is painted from `noise` [N, C, h, w] in settings.steps steps of settings.solver, none of which adds noise.

    The rows are settings.candidates of each sample in turn.

    After every step the latent outside the mask becomes the clean latent noised, by the same noise, to the
    timestep just reached, and the clean latent itself after the last step. Without `replace_background` this is
    what the stock inpainting pipeline does. With settings.selection "early", only settings.early_keep rows of each
    sample go on after the first settings.early_share of the steps.
    """
    scheduler = _make_scheduler(base, settings)
    timesteps: Tensor = scheduler.timesteps
    latents = noise * scheduler.init_noise_sigma
    rows, early_scores = torch.arange(len(noise), device=noise.device), None
    drop_at = max(1, round(settings.early_share * settings.steps))
    for index, timestep in enumerate(timesteps, 1):
        predicted = _predict_noise(base, conditions, latents, timestep, settings.guidance_scale)
        if index == drop_at and settings.kept_candidates < settings.candidates:
            early_scores = _latent_distance(_predict_clean(scheduler, predicted, timestep, latents), conditions)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
        if replace_background:
            background = conditions.clean_latents.float()
            if index < len(timesteps):
                background = scheduler.add_noise(background, noise, timesteps[index].expand(len(noise)))
            latents = torch.where(conditions.latent_mask > 0.5, latents, background)
        if index == drop_at and early_scores is not None:
            rows = _largest(early_scores.unflatten(0, (-1, settings.candidates)), settings.kept_candidates)
            latents, noise, conditions = latents[rows], noise[rows], conditions.rows(rows)
            _keep_rows(scheduler, rows)
    return Sampled(latents, rows, early_scores)


def _make_scheduler(base: Base, settings: GenerateConfig) -> Any:
    """The scheduler of settings.solver with the base's noise schedule, its timesteps set."""
    import diffusers.schedulers as schedulers

    name, changes = SOLVERS[settings.solver]
    scheduler = getattr(schedulers, name).from_config({**base.scheduler_config, **changes})
    scheduler.set_timesteps(settings.steps, device=base.device)
    return scheduler


def _predict_clean(scheduler: Any, predicted: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """Clean latents [N, C, h, w] that `latents` at a timestep and what the UNet predicts for them amount to."""
    alpha = scheduler.alphas_cumprod.to(latents)[timestep]
    if scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * latents - (1 - alpha).sqrt() * predicted
    return (latents - (1 - alpha).sqrt() * predicted) / alpha.sqrt()


def _keep_rows(scheduler: Any, rows: Tensor) -> None:
    """Drops all but some rows from what a multistep scheduler remembers of earlier steps."""
    if hasattr(scheduler, "model_outputs"):
        scheduler.model_outputs = [None if past is None else past[rows] for past in scheduler.model_outputs]
    if getattr(scheduler, "last_sample", None) is not None:
        scheduler.last_sample = scheduler.last_sample[rows]


def _latent_distance(predicted: Tensor, conditions: Conditions) -> Tensor:
    """[N]: mean squared difference of predicted latents [N, C, h, w] from the clean ones, inside the mask."""
    difference = (predicted - conditions.clean_latents).square().mean(dim=1, keepdim=True)
    mask = (conditions.latent_mask > 0.5).float()
    return (difference * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


def _largest(scores: Tensor, count: int) -> Tensor:
    """[S x count], in order: the rows of the `count` largest of each sample's scores [S, K], counted through."""
    kept = scores.topk(count, dim=1).indices.sort(dim=1).values
    return (kept + scores.shape[1] * torch.arange(len(scores), device=scores.device)[:, None]).flatten()


def _predict_noise(base: Base, conditions: Conditions, latents: Tensor, timestep: Tensor, guidance: float) -> Tensor:
    """Predicted noise [N, C, h, w] under classifier-free guidance, in float32."""
    inputs = unet_input(latents, conditions.latent_mask, conditions.background_latents).to(base.dtype)
    if conditions.empty_prompt is None:
        predicted: Tensor = base.unet(inputs, timestep, encoder_hidden_states=conditions.prompt).sample
        return predicted.float()
    texts = torch.cat([conditions.empty_prompt, conditions.prompt])
    both = base.unet(torch.cat([inputs, inputs]), timestep, encoder_hidden_states=texts).sample
    unconditional, conditional = both.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def open_painter(
    config: BaseConfig,
    settings: GenerateConfig,
    distance: Literal["vae", "lpips"],
    adapter: Path,
    batch_file: Path,
) -> DiffusionPainter:
    """The painter of one adapter, put into the process's shared base; good until another one is opened.

    batch_file: where the number of samples per batch that was found is kept, so that a run that goes on paints the same
    bytes though another amount of memory is free.
    """
    base = shared_base(config)
    load_adapter(base, adapter)
    painter = DiffusionPainter(base, settings, make_distance(distance, base))
    if settings.samples_per_batch != "auto":
        return painter
    if not batch_file.is_file():
        write_once(batch_file, f"{find_samples_per_batch(painter, config.resolution)}\n".encode())
    with damage_named(batch_file, "remove it and run again"):
        size = int(batch_file.read_text())
        if not 1 <= size <= MOST_SAMPLES:
            raise ValueError(f"{size} samples per batch")
    return replace(painter, settings=settings.model_copy(update={"samples_per_batch": size}))


def find_samples_per_batch(painter: DiffusionPainter, resolution: int) -> int:
    """How many samples are painted at once: as many as a GPU has room for, by what one takes; on a CPU CPU_SAMPLES."""
    device = painter.base.device
    if device.type != "cuda":
        return CPU_SAMPLES
    one = replace(painter, settings=painter.settings.model_copy(update={"samples_per_batch": 1, "steps": 1}))
    mask = np.ones((resolution, resolution), dtype=bool)
    window = Window((0, 0, resolution, resolution), np.zeros((resolution, resolution, 3), dtype=np.float32), mask)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    list(one.paint([window], [0], [""]))
    return batch_that_fits(torch.cuda.max_memory_allocated(device) - before, free_memory(device))


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """[R, R, 3] in [0, 1] -> [3, R, R] in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1) * 2 - 1


def _to_array(images: Tensor) -> NDArray[np.float32]:
    """[..., 3, R, R] in [-1, 1] -> [..., R, R, 3] in [0, 1]."""
    array: NDArray[np.float32] = ((images + 1) / 2).movedim(-3, -1).cpu().numpy()
    return array
