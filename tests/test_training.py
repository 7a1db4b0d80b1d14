"""The training step: what goes into the one UNet call, and where gradients arrive."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import with_velocity
from safetensors.torch import load_file

from defectfill.config.base import BaseConfig
from defectfill.config.train import TrainConfig
from defectfill.io.errors import ConfigError, ModelError
from defectfill.model.base.base import Base, encode_images, find_token, load_base, mask_to_latent
from defectfill.model.lora import ADAPTER_FILE
from defectfill.model.lora.adapter import (
    UP_MATRICES,
    fast_lora_forward,
    save_adapter,
    trainable_adapter,
)
from defectfill.model.training.attention import record_token_attention
from defectfill.model.training.augmentation import Batch, draw_batch, random_boxes, random_crop
from defectfill.model.training.data import Reference, TrainingData
from defectfill.model.training.latent_cache import LatentBatch, encode_batch
from defectfill.model.training.loop import LossRows, backpropagate, make_optimizer
from defectfill.model.training.steps import (
    BranchInputs,
    Losses,
    MicroBatch,
    branch_inputs,
    noise_scheduler,
    step_losses,
    training_losses,
)
from defectfill.model.training.train_lora import LoraJob, gradient_checkpointing, train_lora
from defectfill.painting.window import Window

RESOLUTION = 64
PROMPTS = ("A photo of sks", "A nut with sks")
SETTINGS = TrainConfig(steps=4, batch_size=2, warmup_steps=2)


def make_window(seed: int = 0, side: int = 72) -> Window:
    """Return a random picture whose defect, a rectangle off the centre, is darker."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), dtype=bool)
    mask[20:36, 30:50] = True
    image = rng.random((side, side, 3), dtype=np.float32) * np.where(mask, 0.3, 1.0)[..., None].astype(np.float32)
    return Window((0, 0, side, side), image, mask)


def make_batch(seed: int = 0) -> Batch:
    return draw_batch([make_window(0), make_window(1)], SETTINGS, RESOLUTION, np.random.default_rng(seed))


def latent_batch(base: Base, batch: Batch | None = None) -> LatentBatch:
    return encode_batch(base, batch or make_batch(), SETTINGS, np.random.default_rng(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_inputs(base: Base, batch: Batch | None = None) -> BranchInputs:
    return branch_inputs(base, latent_batch(base, batch), noise_scheduler(base), generator())


def make_losses(base: Base) -> Losses:
    """Return the losses of a batch with whatever adapter the base holds."""
    index = find_token(base.tokenizer, PROMPTS[1], "sks")
    with fast_lora_forward(base), record_token_attention(base.unet, index) as recorder:
        return training_losses(base, make_inputs(base), SETTINGS, [PROMPTS] * 2, recorder)


def train(
    base: Base,
    settings: TrainConfig = SETTINGS,
    window: Window | None = None,
    seed: int = 0,
    work: Path | None = None,
) -> LossRows:
    """Return the losses of train_lora on one window, from the first step on or where `work` left it."""
    data = TrainingData([Reference(window or make_window(), PROMPTS, "sks")])
    with TemporaryDirectory() as new:
        return train_lora(base, LoraJob(data, RESOLUTION, seed, "train", work or Path(new)), settings).losses


def test_both_branches_share_timestep_and_noisy_latent(base: Base) -> None:
    inputs = make_inputs(base)
    defect, object_ = inputs.unet_input.chunk(2)
    assert torch.equal(defect[:, :4], object_[:, :4])
    assert torch.equal(inputs.timesteps[:2], inputs.timesteps[2:])


def test_channels_are_noisy_latent_then_mask_then_background(base: Base) -> None:
    batch = make_batch()
    defect, object_ = make_inputs(base, batch).unet_input.chunk(2)
    for rows, mask in ((defect, batch.defect_masks), (object_, batch.box_masks)):
        assert torch.equal(rows[:, 4:5], mask_to_latent(mask, 8))
        expected = encode_images(base, batch.images * (1 - mask))
        torch.testing.assert_close(rows[:, 5:], expected, rtol=1e-4, atol=1e-5)


def test_the_noisy_latent_is_the_clean_one_noised_to_its_timestep(base: Base) -> None:
    batch = make_batch()
    inputs = make_inputs(base, batch)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = torch.cumprod(1 - betas, 0)[inputs.timesteps[:2]].view(-1, 1, 1, 1)
    expected = alpha.sqrt() * encode_images(base, batch.images) + (1 - alpha).sqrt() * inputs.noise
    torch.testing.assert_close(inputs.unet_input[:2, :4], expected, rtol=1e-4, atol=1e-4)


def test_the_target_is_the_noise_or_the_velocity_from_which_the_clean_latent_follows(base: Base) -> None:
    assert torch.equal(make_inputs(base).target, make_inputs(base).noise)
    batch = make_batch()
    inputs = make_inputs(with_velocity(base), batch)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = torch.cumprod(1 - betas, 0)[inputs.timesteps[:2]].view(-1, 1, 1, 1)
    clean = alpha.sqrt() * inputs.unet_input[:2, :4] - (1 - alpha).sqrt() * inputs.target
    torch.testing.assert_close(clean, encode_images(base, batch.images), rtol=1e-3, atol=1e-3)


def test_the_loss_mask_is_the_defect_also_for_the_object_branch(base: Base) -> None:
    batch = make_batch()
    assert torch.equal(make_inputs(base, batch).defect_mask, mask_to_latent(batch.defect_masks, 8))


def losses_with_adapter(base: Base, term: str) -> dict[str, bool]:
    """Return whether one loss term alone reaches the LoRA weights of either model."""
    with trainable_adapter(base, SETTINGS) as (unet_weights, text_weights):
        getattr(make_losses(base), term).backward()
        reached = {
            "unet": any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in unet_weights),
            "text": any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in text_weights),
        }
    return reached


@pytest.mark.parametrize("term", ["defect", "object", "attention"])
def test_every_loss_term_reaches_both_adapters(base: Base, term: str) -> None:
    assert losses_with_adapter(base, term) == {"unet": True, "text": True}


def test_the_attention_term_reaches_the_decoders_queries_and_not_its_values(base: Base) -> None:
    with trainable_adapter(base, SETTINGS):
        make_losses(base).attention.backward()
        last = "up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_{}.lora_B.default.weight"
        gradients = {name: base.unet.get_parameter(last.format(name)).grad for name in ("q", "k", "v")}
    assert gradients["q"] is not None
    assert gradients["q"].abs().max() > 0
    assert gradients["k"] is not None
    assert gradients["k"].abs().max() > 0
    assert gradients["v"] is None


def test_the_total_is_equation_9(base: Base) -> None:
    losses = make_losses(base)
    expected = 0.5 * losses.defect + 0.2 * losses.object + 0.05 * losses.attention
    torch.testing.assert_close(losses.total, expected)


@pytest.mark.parametrize("object_text", ["A nut with {}", "A photo of {}"], ids=["own", "the defect branch's"])
def test_rows_of_several_defects_are_learnt_each_under_its_own_word(base: Base, object_text: str) -> None:
    inputs = make_inputs(base)
    pairs = [(f"A photo of {token}", object_text.format(token)) for token in "qz"]
    with trainable_adapter(base, TrainConfig(dropout=0)), record_token_attention(base.unet, 4) as recorder:
        mixed = training_losses(base, inputs, SETTINGS, pairs, recorder)
        rows = [
            training_losses(base, row, SETTINGS, [pair], recorder, batch_mask=inputs.defect_mask)
            for row, pair in zip(inputs.split(1), pairs, strict=True)
        ]
        swapped = training_losses(base, inputs, SETTINGS, pairs[::-1], recorder)
    for term in ("total", "defect", "object", "attention"):
        summed = sum(getattr(row, term) for row in rows)
        torch.testing.assert_close(getattr(mixed, term), summed, rtol=1e-4, atol=1e-6)
        assert getattr(mixed, term).item() != getattr(swapped, term).item()


def test_only_attention_is_adapted_and_the_base_stays_frozen(base: Base) -> None:
    before = {name: weight.clone() for name, weight in base.unet.named_parameters()}
    with trainable_adapter(base, SETTINGS):
        trained = [name for name, weight in base.unet.named_parameters() if weight.requires_grad]
        assert all("lora" in name and (".attn1." in name or ".attn2." in name) for name in trained)
        layers = sum(name.endswith((".attn1", ".attn2")) for name, _ in base.unet.named_modules())
        assert len(trained) == layers * 4 * 2
    train(base)
    after = dict(base.unet.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_the_rates_warm_up_and_then_stay(base: Base) -> None:
    curve = train(base)
    assert [row["learning_rate_unet"] for row in curve] == pytest.approx([1e-4, 2e-4, 2e-4, 2e-4])
    assert [row["learning_rate_text_encoder"] for row in curve] == pytest.approx([2e-5, 4e-5, 4e-5, 4e-5])


def test_the_same_seed_trains_the_same_adapter_and_another_seed_another(base: Base) -> None:
    curves = []
    for seed in (0, 0, 1):
        torch.randn(3)  # the global generator's state must not matter
        curves.append([row["total"] for row in train(base, seed=seed)])
    assert curves[0] == curves[1] != curves[2]


def test_training_learns_the_one_reference_it_sees(base: Base) -> None:
    settings = TrainConfig(
        steps=80, batch_size=4, warmup_steps=5, dropout=0.0, learning_rate_unet=4e-3, learning_rate_text_encoder=1e-3
    )
    curve = train(base, settings)
    for term in ("defect", "object", "attention"):
        first, last = (np.mean([row[term] for row in rows]) for rows in (curve[:15], curve[-15:]))
        assert last < 0.98 * first, term


def test_a_loss_that_is_not_finite_stops_with_step_and_references(base: Base) -> None:
    broken = make_window()
    broken.image[:] = np.nan
    with pytest.raises(ModelError, match=r"step 0: a loss is not finite.*references in the batch: \(0, 0\)"):
        train(base, window=broken)


def test_the_token_is_looked_up_in_the_prompt(base: Base) -> None:
    plain, longer = find_token(base.tokenizer, "sks with a", "sks"), find_token(base.tokenizer, "with a sks", "sks")
    assert (plain, longer) == (1, 3)


@pytest.mark.parametrize(("token", "message"), [("gap", "one token"), ("photo", "once in the prompt")])
def test_a_token_that_is_split_or_absent_is_a_config_error(base: Base, token: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_token(base.tokenizer, "A nut with sks", token)


def test_crops_keep_the_defect_whole_and_image_and_mask_together() -> None:
    mask = np.zeros((72, 72), dtype=bool)
    mask[3:9, 60:70] = True
    window = Window((0, 0, 72, 72), np.repeat(mask[..., None], 3, axis=2).astype(np.float32), mask)
    rng = np.random.default_rng(0)
    for _ in range(50):
        image, crop_mask = random_crop(window, 1.125, RESOLUTION, rng)
        assert image.shape == (RESOLUTION, RESOLUTION, 3)
        assert crop_mask.sum() >= 0.75 * mask.sum()
        assert image[..., 0][crop_mask].mean() > 0.8
        assert image[..., 0][~crop_mask].max() < 0.5


def test_a_crop_of_a_defect_wider_than_it_has_some_of_it() -> None:
    mask = np.zeros((72, 72), dtype=bool)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    window = Window((0, 0, 72, 72), np.zeros((72, 72, 3), dtype=np.float32), mask)
    rng = np.random.default_rng(0)
    assert all(random_crop(window, 1.125, RESOLUTION, rng)[1].any() for _ in range(200))


def test_thirty_random_boxes_cover_about_two_fifths() -> None:
    rng = np.random.default_rng(0)
    coverage = [random_boxes(128, SETTINGS.boxes, rng).mean() for _ in range(200)]
    assert 0.37 < np.mean(coverage) < 0.45


def test_a_latent_pixel_is_masked_when_any_of_its_pixels_is() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 9, :] = 1  # a hairline of one pixel
    latent = mask_to_latent(mask, 8)
    assert latent.shape == (1, 1, 4, 4)
    assert latent[0, 0, 1].tolist() == [1, 1, 1, 1]
    assert latent.sum() == 4


def test_in_bf16_the_adapter_stays_float32_and_the_losses_are_nearly_those_of_float32(
    base: Base, base_folder: Path
) -> None:
    rough = load_base(BaseConfig(model=str(base_folder), resolution=RESOLUTION, device="cpu", precision="bf16"))
    losses = {}
    for each in (base, rough):
        torch.manual_seed(0)
        with trainable_adapter(each, TrainConfig(dropout=0)) as (unet_weights, text_weights):
            computed = make_losses(each)
            computed.total.backward()
            losses[each.dtype] = computed.total.item()
            assert {weight.dtype for weight in [*unet_weights, *text_weights]} == {torch.float32}
            assert all(weight.grad is not None for weight in unet_weights)
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=0.02)


@pytest.mark.parametrize("reduction", ["mean", "area"])
def test_row_by_row_with_activations_computed_again_the_gradients_are_those_of_the_batch(
    base: Base, reduction: Literal["mean", "area"]
) -> None:
    batch = make_batch()
    batch.defect_masks[1, :, 24:] = 0  # rows that count unlike under "area"
    settings = TrainConfig(dropout=0, reduction=reduction, batch_size=2)
    found = {}
    with trainable_adapter(base, settings) as groups, fast_lora_forward(base):
        weights = [weight for group in groups for weight in group]
        for weight in weights:
            torch.nn.init.normal_(weight, std=0.05, generator=generator())
        for rows in (2, 1):
            losses_of = step_losses(
                base, lambda _: latent_batch(base, batch), settings, [PROMPTS] * 2, 0, MicroBatch(rows)
            )
            with gradient_checkpointing(base, rows == 1), record_token_attention(base.unet, 4) as recorder:
                optimizer = make_optimizer([(weights, 1e-3)], 0.0)
                losses = backpropagate(optimizer, losses_of(0, recorder))
                assert recorder.maps == []
            found[rows] = {**losses, **{str(i): w.grad for i, w in enumerate(weights) if w.grad is not None}}
    assert found[1].keys() == found[2].keys()
    for name, expected in found[2].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-3, atol=1e-6, msg=name)


def allow_memory(base: Base, monkeypatch: pytest.MonkeyPatch, fits: Callable[[torch.Tensor], bool]) -> None:
    """Let the base's UNet run out of memory for inputs that do not fit."""
    whole = base.unet.forward

    def forward(inputs: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if not fits(inputs):
            raise torch.OutOfMemoryError
        return whole(inputs, *rest, **more)

    monkeypatch.setattr(base.unet, "forward", forward)


def test_out_of_memory_halves_the_rows_at_once_and_trains_the_same_batch(
    base: Base, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TrainConfig(steps=2, batch_size=4, dropout=0, latent_cache=0)
    whole = train(base, settings)
    allow_memory(base, monkeypatch, lambda inputs: len(inputs) <= 2 * 2)  # two rows, in both branches
    halves = train(base, settings)
    assert [record.getMessage() for record in caplog.records] == ["out of memory with 4 rows at once; 2 from here on"]
    assert [row["total"] for row in halves] == pytest.approx([row["total"] for row in whole], rel=1e-5)


def test_the_base_is_plain_after_a_training_and_the_result_is_the_adapter(base: Base, tmp_path: Path) -> None:
    layers = [name for name, _ in base.unet.named_modules()]
    data = TrainingData([Reference(make_window(), PROMPTS, "sks")])
    trained = train_lora(base, LoraJob(data, RESOLUTION, 0, "train", tmp_path / "work"), SETTINGS)
    assert [name for name, _ in base.unet.named_modules()] == layers
    assert not base.unet.training
    save_adapter(trained.adapter, tmp_path)
    weights = {f"unet.{name}": weight for name, weight in trained.adapter.unet.items()}
    weights |= {f"text_encoder.{name}": weight for name, weight in trained.adapter.text_encoder.items()}
    saved = load_file(tmp_path / ADAPTER_FILE)
    assert saved.keys() == weights.keys()
    scale = SETTINGS.alpha / SETTINGS.rank  # the file has it in its matrices
    for name, weight in weights.items():
        assert torch.equal(saved[name], weight * scale if name.endswith(UP_MATRICES) else weight)
    assert all(weight.abs().max() > 0 for weight in weights.values())
