"""Checks before the first step: every silent mistake of public implementations is named."""

from dataclasses import replace

import pytest
import torch
from test_training import PROMPTS, SETTINGS, generator, latent_batch

from defectfill.io.errors import ModelError
from defectfill.model.base.base import Base, find_token
from defectfill.model.lora.adapter import trainable_adapter
from defectfill.model.training.attention import record_token_attention
from defectfill.model.training.latent_cache import LatentBatch
from defectfill.model.training.sanity import check_batch
from defectfill.model.training.steps import BranchInputs, Losses, branch_inputs, noise_scheduler, training_losses

TERMS = ("defect", "object", "attention")


@pytest.fixture
def batch(base: Base) -> LatentBatch:
    return latent_batch(base)


@pytest.fixture
def inputs(base: Base, batch: LatentBatch) -> BranchInputs:
    return branch_inputs(base, batch, noise_scheduler(base), generator())


def check(base: Base, batch: LatentBatch, inputs: BranchInputs, **broken: torch.Tensor) -> None:
    """Check a batch with a fresh adapter; `broken` losses stand in for the computed ones."""
    index = find_token(base.tokenizer, PROMPTS[1], "sks")
    with (
        trainable_adapter(base, SETTINGS) as (unet_weights, text_weights),
        record_token_attention(base.unet, index) as recorder,
    ):
        losses = training_losses(base, inputs, SETTINGS, [PROMPTS] * 2, recorder)
        losses = Losses(**{**vars(losses), **broken})
        check_batch(batch, inputs, losses, TERMS, {"UNet": unet_weights, "text encoder": text_weights})


def test_what_the_library_makes_itself_passes(base: Base, batch: LatentBatch, inputs: BranchInputs) -> None:
    check(base, batch, inputs)


def test_the_papers_order_of_channels_is_refused(base: Base, batch: LatentBatch, inputs: BranchInputs) -> None:
    noisy, mask, background = inputs.unet_input.split([4, 1, 4], dim=1)
    swapped = replace(inputs, unet_input=torch.cat([noisy, background, mask], dim=1))
    with pytest.raises(ModelError, match="defect branch: the UNet's channels are not noisy latent, mask, background"):
        check(base, batch, swapped)


def test_a_mask_of_the_wrong_polarity_is_refused(base: Base, batch: LatentBatch) -> None:
    inverted = replace(batch, defect_mask=1 - batch.defect_mask)
    with pytest.raises(ModelError, match="the defect is shown and its surroundings are hidden"):
        check(base, inverted, branch_inputs(base, inverted, noise_scheduler(base), generator()))


def test_an_empty_mask_is_refused(base: Base, batch: LatentBatch) -> None:
    empty = replace(batch, defect_mask=torch.zeros_like(batch.defect_mask))
    with pytest.raises(ModelError, match="the loss inside the defect mask is zero"):
        check(base, empty, branch_inputs(base, empty, noise_scheduler(base), generator()))


def test_attention_maps_without_gradients_are_refused(base: Base, batch: LatentBatch, inputs: BranchInputs) -> None:
    with pytest.raises(ModelError) as caught:
        check(base, batch, inputs, attention=torch.tensor(0.1))
    assert caught.value.problems == tuple(
        f"training cannot begin: the gradient of the attention loss does not reach the adapter of the {model}"
        for model in ("UNet", "text encoder")
    )
