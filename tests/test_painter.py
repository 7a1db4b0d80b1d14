"""The painter: against the stock pipeline, and the background after the last step."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import with_velocity
from diffusers.schedulers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.train import TrainConfig
from defectfill.config.types import Solver
from defectfill.io.errors import ModelError
from defectfill.model.base.base import Base, decode_latents, encode_images, encode_prompts, mask_out, mask_to_latent
from defectfill.model.inpaint.painter import CPU_SAMPLES, DiffusionPainter, open_painter, to_tensor, vae_color_shift
from defectfill.model.inpaint.perceptual import vae_distance
from defectfill.model.inpaint.sampling import Conditions, sample_latents
from defectfill.model.lora.adapter import copy_adapter, save_adapter, stock_pipeline, trainable_adapter
from defectfill.painting.window import Window

PROMPT = "A nut with sks"
RESOLUTION = 64


def make_window(seed: int = 0) -> Window:
    """Return a random smooth picture, with a mask aligned to latent pixels."""
    coarse = np.random.default_rng(seed).random((8, 8, 3), dtype=np.float32)
    mask = np.zeros((RESOLUTION, RESOLUTION), dtype=bool)
    mask[16:40, 24:48] = True
    return Window((0, 0, 64, 64), np.kron(coarse, np.ones((8, 8, 1), dtype=np.float32)), mask)


def make_conditions(base: Base, window: Window, guidance: float, rows: int = 2) -> Conditions:
    image, mask = to_tensor(window.image)[None], torch.from_numpy(window.mask)[None, None].float()
    with torch.no_grad():
        empty, prompt = encode_prompts(base, ["", PROMPT]).chunk(2)
        return Conditions(
            clean_latents=encode_images(base, image).expand(rows, -1, -1, -1),
            background_latents=encode_images(base, mask_out(image, mask)).expand(rows, -1, -1, -1),
            latent_mask=mask_to_latent(mask, 8).expand(rows, -1, -1, -1),
            prompt=prompt.expand(rows, -1, -1),
            empty_prompt=empty.expand(rows, -1, -1) if guidance > 1 else None,
        )


@pytest.mark.parametrize(
    ("guidance", "velocity", "solver", "scheduler"),
    [
        (1.0, False, "ddim", DDIMScheduler),
        (3.0, False, "ddim", DDIMScheduler),
        (3.0, True, "ddim", DDIMScheduler),
        (3.0, False, "dpm", DPMSolverMultistepScheduler),
        (3.0, True, "unipc", UniPCMultistepScheduler),
    ],
)
def test_without_background_replacement_it_paints_what_the_stock_pipeline_paints(
    base: Base, guidance: float, velocity: bool, solver: Solver, scheduler: Any
) -> None:
    base = with_velocity(base) if velocity else base
    window = make_window()
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    conditions = make_conditions(base, window, guidance)
    pipeline = stock_pipeline(base)
    if solver != "ddim":
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    pipeline.set_progress_bar_config(disable=True)
    settings, timesteps = GenerateConfig(steps=7, guidance_scale=guidance, solver=solver), {}
    if solver == "dpm":
        timesteps["timesteps"] = [999, 832, 666, 499, 332, 166, 30]  # the last one is not as far from the end
    with torch.no_grad():
        ours = sample_latents(base, conditions, noise, settings, replace_background=False).latents
        stock = pipeline(
            PROMPT,
            image=torch.from_numpy(window.image).permute(2, 0, 1)[None],
            mask_image=torch.from_numpy(window.mask)[None, None].float(),
            masked_image_latents=conditions.background_latents[:1],
            height=RESOLUTION,
            width=RESOLUTION,
            num_images_per_prompt=2,
            num_inference_steps=7,
            guidance_scale=guidance,
            latents=noise.clone(),
            output_type="latent",
            **timesteps,
        ).images
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", get_args(Solver))
def test_a_unet_that_knows_the_answer_leads_to_it_however_far_from_zero(base: Base, solver: Solver) -> None:
    answer = torch.full((2, 4, 8, 8), 3.0)
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)

    def unet(inputs: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> SimpleNamespace:
        alpha = alphas[timestep]
        return SimpleNamespace(sample=(inputs[:, :4] - alpha.sqrt() * answer) / (1 - alpha).sqrt())

    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    conditions = make_conditions(base, make_window(), 1.0)
    settings = GenerateConfig(steps=10, guidance_scale=1, solver=solver)
    latents = sample_latents(replace(base, unet=unet), conditions, noise, settings).latents
    painted = (conditions.latent_mask == 1).expand_as(latents)
    torch.testing.assert_close(latents[painted], answer[painted], rtol=0, atol=0.15)


def test_after_the_last_step_the_background_is_the_clean_latent(base: Base) -> None:
    conditions = make_conditions(base, make_window(), 1.0)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = sample_latents(base, conditions, noise, GenerateConfig(steps=5, guidance_scale=1)).latents
    outside = (conditions.latent_mask == 0).expand_as(latents)
    assert torch.equal(latents[outside], conditions.clean_latents[outside])
    assert not torch.isclose(latents[~outside], conditions.clean_latents[~outside]).any()


@pytest.mark.parametrize("solver", get_args(Solver))
def test_before_a_step_the_background_is_the_clean_latent_noised_to_that_steps_timestep(
    base: Base, solver: Solver
) -> None:
    conditions = make_conditions(base, make_window(), 1.0)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    seen: list[tuple[int, torch.Tensor]] = []
    hook = base.unet.register_forward_pre_hook(lambda _, args: seen.append((int(args[1]), args[0][:, :4].clone())))
    with torch.no_grad():
        sample_latents(base, conditions, noise, GenerateConfig(steps=4, guidance_scale=1, solver=solver))
    hook.remove()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    outside = (conditions.latent_mask == 0).expand_as(noise)
    expected = {"ddim": [751, 501, 251, 1], "dpm": [999, 666, 332, 30], "unipc": [999, 749, 499, 249]}
    assert [timestep for timestep, _ in seen] == expected[solver]
    for timestep, latents in seen[1:]:
        alpha = alphas[timestep]
        expected = alpha.sqrt() * conditions.clean_latents + (1 - alpha).sqrt() * noise
        torch.testing.assert_close(latents[outside], expected[outside], rtol=1e-4, atol=1e-4)


def make_painter(base: Base, **settings: Any) -> DiffusionPainter:
    chosen = GenerateConfig.model_validate({"steps": 3, "samples_per_batch": 2, **settings})
    return DiffusionPainter(base, chosen, vae_distance(base))


def test_a_sample_does_not_depend_on_what_is_painted_with_it(base: Base) -> None:
    painter = make_painter(base, candidates=3)
    windows = [make_window(seed) for seed in range(3)]
    together = list(painter.paint(windows, [5, 6, 7], [PROMPT] * 3))
    for index, expected in enumerate(together):
        (alone,) = painter.paint([windows[index]], [5 + index], [PROMPT])
        assert np.array_equal(alone.candidates, expected.candidates)
        assert np.array_equal(alone.scores, expected.scores)


def test_where_memory_runs_out_batches_are_halved_and_paint_the_same_but_for_rounding(base: Base) -> None:
    windows, seeds, sizes = [make_window(seed) for seed in range(4)], [5, 6, 7, 8], []

    class SmallUNet(torch.nn.Module):
        """The UNet on a device with room for four rows."""

        def forward(self, inputs: torch.Tensor, *others: Any, **named: Any) -> Any:
            sizes.append(len(inputs))
            if len(inputs) > 4:
                raise torch.OutOfMemoryError
            return base.unet(inputs, *others, **named)

    small_base = replace(base, unet=SmallUNet())
    settings: dict[str, Any] = {"candidates": 2, "samples_per_batch": 4, "guidance_scale": 1}
    small = make_painter(small_base, **settings).paint(windows, seeds, [PROMPT] * 4)
    whole = make_painter(base, **settings).paint(windows, seeds, [PROMPT] * 4)
    for halved, expected in zip(small, whole, strict=True):
        np.testing.assert_allclose(halved.candidates, expected.candidates, atol=1e-5)
        assert np.argmax(halved.scores) == np.argmax(expected.scores)
    assert sizes == [8, *[4] * 6]
    with pytest.raises(ModelError, match=r"generate\.candidates"):
        list(make_painter(small_base, candidates=3).paint(windows, seeds, [PROMPT] * 4))


def test_the_number_of_samples_that_was_found_is_kept(base_folder: Path, base: Base, tmp_path: Path) -> None:
    config, kept = BaseConfig(model=str(base_folder), resolution=64, device="cpu"), tmp_path / "samples_per_batch"
    with trainable_adapter(base, TrainConfig(rank=2)):
        save_adapter(copy_adapter(base), tmp_path)
    found = open_painter(config, GenerateConfig(), "vae", tmp_path, kept)
    assert (found.settings.samples_per_batch, kept.read_text()) == (CPU_SAMPLES, f"{CPU_SAMPLES}\n")
    kept.write_text("5\n")
    assert open_painter(config, GenerateConfig(), "vae", tmp_path, kept).settings.samples_per_batch == 5


def test_more_candidates_begin_with_the_same_noise(base: Base) -> None:
    few, many = make_painter(base, candidates=2), make_painter(base, candidates=4)
    assert torch.equal(few._noise(3, (4, 8, 8)), many._noise(3, (4, 8, 8))[:2])


@pytest.mark.parametrize("solver", get_args(Solver))
def test_early_selection_paints_the_kept_candidates_as_before_and_notes_what_it_dropped(
    base: Base, solver: Solver
) -> None:
    windows, seeds = [make_window(seed) for seed in range(2)], [5, 6]
    settings = {"candidates": 4, "steps": 5, "guidance_scale": 1, "early_share": 0.4, "early_keep": 2, "solver": solver}
    full = list(make_painter(base, **settings).paint(windows, seeds, [PROMPT] * 2))
    early = list(make_painter(base, selection="early", **settings).paint(windows, seeds, [PROMPT] * 2))
    for whole, part in zip(full, early, strict=True):
        assert whole.early_scores == ()
        kept = np.flatnonzero(~np.isnan(part.scores))
        assert set(kept) == set(np.argsort(part.early_scores)[-2:])
        assert len(part.candidates) == 2
        for number in kept.tolist():
            np.testing.assert_allclose(part.candidate(number), whole.candidate(number), atol=1e-5)
            assert part.scores[number] == pytest.approx(whole.scores[number], rel=1e-4)


def test_the_early_score_is_the_distance_of_the_predicted_latents_inside_the_mask(base: Base) -> None:
    """Take a UNet whose prediction is known: zero noise predicted means the latents themselves, rescaled."""
    conditions = make_conditions(base, make_window(), 1.0, rows=3)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    still = replace(
        base, unet=lambda inputs, timestep, encoder_hidden_states: SimpleNamespace(sample=inputs[:, :4] * 0)
    )
    early = {"selection": "early", "early_share": 0.1, "early_keep": 2}
    settings = GenerateConfig.model_validate({"steps": 10, "candidates": 3, "guidance_scale": 1, **early})
    sampled = sample_latents(still, conditions, noise, settings)
    alpha = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[901]
    away = (noise / alpha.sqrt() - conditions.clean_latents)[conditions.latent_mask.expand_as(noise) > 0.5]
    torch.testing.assert_close(sampled.early_scores, away.view(3, -1).square().mean(dim=1), rtol=1e-4, atol=0)
    assert sampled.early_scores is not None
    assert sorted(sampled.rows.tolist()) == sorted(sampled.early_scores.topk(2).indices.tolist())


def test_candidates_differ_inside_the_mask_and_share_the_vaes_background(base: Base) -> None:
    (painting,) = make_painter(base, candidates=2).paint([make_window()], [1], [PROMPT])
    first, second = painting.candidates
    assert first.shape == (RESOLUTION, RESOLUTION, 3)
    assert 0 <= painting.candidates.min() <= painting.candidates.max() <= 1
    assert np.abs(first - second)[make_window().mask].mean() > 0.01


def test_the_distance_is_zero_for_equal_pictures_and_looks_only_inside_the_mask(base: Base) -> None:
    window = make_window()
    clean, mask = to_tensor(window.image)[None], torch.from_numpy(window.mask)[None, None].float()
    inside, far_away = clean.clone(), clean.clone()
    inside[..., 20:36, 28:44] = -1
    far_away[..., :8, :8] = -1
    with torch.no_grad():
        same, near, away = vae_distance(base)(clean, torch.cat([clean, inside, far_away]), mask).tolist()
    assert same == 0
    assert near > 2 * away


def test_the_color_shift_of_the_vae_is_its_even_shift_and_nothing_of_its_detail() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([0.1, -0.2, 0.05]).view(3, 1, 1)
    torch.testing.assert_close(vae_color_shift(images, images + shift, 8), shift.expand_as(images))
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 0.4 - 0.2
    assert vae_color_shift(images, images + checkers, 8).abs().max() < 0.01


def test_what_is_painted_has_the_windows_colors_though_the_vae_shifts_them(base: Base) -> None:
    window = make_window()
    painter = DiffusionPainter(base, GenerateConfig(candidates=1, steps=1, samples_per_batch=1), vae_distance(base))
    [painting] = painter.paint([window], [0], [PROMPT])
    coarse = (painting.reconstruction - window.image).reshape(2, 32, 2, 32, 3).mean(axis=(1, 3))
    plain = decode_latents(base, encode_images(base, to_tensor(window.image)[None]))[0].permute(1, 2, 0).detach()
    plain_coarse = ((plain.numpy() + 1) / 2 - window.image).reshape(2, 32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(coarse).max() < 0.6 * np.abs(plain_coarse).max()
