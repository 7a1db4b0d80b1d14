"""Sampling from pure noise with background replacement (section 3.4 of the paper).

Shapes: S samples of a batch, K candidates, N = S x K rows, M rows painted to the end, C latent channels,
h, w latent pixels, L tokens, D text width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from defectfill.config.generate import GenerateConfig
from defectfill.config.types import Solver
from defectfill.model.base.base import Base, unet_input

SOLVERS: dict[Solver, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm": ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}),
    "unipc": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
}
"""generate.solver -> diffusers' scheduler, and what it changes of the base's schedule. DDIM keeps the base's spacing of
timesteps; trailing starts at the last one, whatever the number of steps."""
LAST_TIMESTEP = 30
"""From which DPM-Solver takes its last step at the latest. Ten trailing steps end with one from 99, where noise still
hides the grain of a surface, so that what is painted has less of it."""


@dataclass(frozen=True)
class Conditions:
    """Inputs that the N rows of one batch are painted from."""

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
        """Return the conditions of some rows."""
        empty = self.empty_prompt
        return Conditions(
            clean_latents=self.clean_latents[index],
            background_latents=self.background_latents[index],
            latent_mask=self.latent_mask[index],
            prompt=self.prompt[index],
            empty_prompt=None if empty is None else empty[index],
        )


@dataclass(frozen=True)
class Sampled:
    """The result of sampling."""

    latents: Tensor
    """[M, C, h, w], those painted to the end."""
    rows: Tensor
    """[M], their indices among the N rows, in order."""
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
    """Denoise `noise` [N, C, h, w] in settings.steps steps of settings.solver, none of which adds noise.

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
    """Return the scheduler of settings.solver with the base's noise schedule, its timesteps set."""
    import diffusers.schedulers as schedulers

    name, changes = SOLVERS[settings.solver]
    scheduler = getattr(schedulers, name).from_config({**base.scheduler_config, **changes})
    scheduler.set_timesteps(settings.steps, device=base.device)
    if settings.solver == "dpm" and settings.steps > 1 and int(scheduler.timesteps[-1]) > LAST_TIMESTEP:
        scheduler.set_timesteps(settings.steps - 1, device=base.device)
        earlier = scheduler.timesteps.tolist()
        scheduler.set_timesteps(timesteps=[*earlier, LAST_TIMESTEP], device=base.device)
    return scheduler


def _predict_clean(scheduler: Any, predicted: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """Return the clean latents [N, C, h, w] that follow from `latents` at a timestep and the UNet's prediction."""
    alpha = scheduler.alphas_cumprod.to(latents)[timestep]
    if scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * latents - (1 - alpha).sqrt() * predicted
    return (latents - (1 - alpha).sqrt() * predicted) / alpha.sqrt()


def _keep_rows(scheduler: Any, rows: Tensor) -> None:
    """Drop all but some rows from what a multistep scheduler remembers of earlier steps."""
    if hasattr(scheduler, "model_outputs"):
        scheduler.model_outputs = [None if past is None else past[rows] for past in scheduler.model_outputs]
    if getattr(scheduler, "last_sample", None) is not None:
        scheduler.last_sample = scheduler.last_sample[rows]


def _latent_distance(predicted: Tensor, conditions: Conditions) -> Tensor:
    """Return the mean squared differences [N] of predicted latents [N, C, h, w] from the clean ones in the mask."""
    difference = (predicted - conditions.clean_latents).square().mean(dim=1, keepdim=True)
    mask = (conditions.latent_mask > 0.5).float()
    return (difference * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


def _largest(scores: Tensor, count: int) -> Tensor:
    """Return [S x count], in order: the rows of the `count` largest of each sample's scores [S, K], counted through."""
    kept = scores.topk(count, dim=1).indices.sort(dim=1).values
    return (kept + scores.shape[1] * torch.arange(len(scores), device=scores.device)[:, None]).flatten()


def _predict_noise(base: Base, conditions: Conditions, latents: Tensor, timestep: Tensor, guidance: float) -> Tensor:
    """Return predicted noise [N, C, h, w] under classifier-free guidance, in float32."""
    inputs = unet_input(latents, conditions.latent_mask, conditions.background_latents).to(base.dtype)
    if conditions.empty_prompt is None:
        predicted: Tensor = base.unet(inputs, timestep, encoder_hidden_states=conditions.prompt).sample
        return predicted.float()
    texts = torch.cat([conditions.empty_prompt, conditions.prompt])
    both = base.unet(torch.cat([inputs, inputs]), timestep, encoder_hidden_states=texts).sample
    unconditional, conditional = both.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)
