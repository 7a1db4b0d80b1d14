"""Checks before the first step of a training, without which it runs to its end and has learnt nothing.

Each is for a mistake that public implementations make in silence (method section 8.1 lists them). Shapes: B batch,
C latent channels, h w latent pixels.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from defectfill.config.train import TrainConfig
from defectfill.io.errors import ModelError
from defectfill.model.base.base import Base
from defectfill.model.base.memory import count_kept_bytes
from defectfill.model.training.attention import TokenAttention
from defectfill.model.training.data import Prompts
from defectfill.model.training.latent_cache import LatentBatch
from defectfill.model.training.steps import BranchInputs, Losses, branch_inputs, noise_scheduler, training_losses


def check_first_row(
    base: Base,
    batch: LatentBatch,
    settings: TrainConfig,
    prompts: Sequence[Prompts],
    recorder: TokenAttention,
    weights: Mapping[str, Sequence[nn.Parameter]],
) -> int:
    """Check the first row of a batch as check_batch does; return the bytes it keeps for its backward pass.

    prompts: of every reference. No weight changes.
    """
    row = LatentBatch(**{name: part[:1] for name, part in vars(batch).items()})
    inputs = branch_inputs(base, row, noise_scheduler(base), torch.Generator().manual_seed(0))
    with count_kept_bytes([*base.unet.parameters(), *base.text_encoder.parameters()]) as kept_bytes:
        losses = training_losses(base, inputs, settings, [prompts[row.references[0]]], recorder)
    terms = [term for term, weight in settings.weights if weight > 0]
    check_batch(row, inputs, losses, terms, weights)
    return kept_bytes[0]


def check_batch(
    batch: LatentBatch,
    inputs: BranchInputs,
    losses: Losses,
    terms: Sequence[str],
    weights: Mapping[str, Sequence[nn.Parameter]],
) -> None:
    """Raise ModelError with everything that is wrong with a batch, the UNet's inputs made of it, and its losses.

    terms: the losses that count, by their field; weights: trained weights by the name of their model, all of which each
    term must reach. A loss that is not finite is left to the training, which knows its step.
    """
    problems = [*_input_problems(batch, inputs)]
    if bool(losses.defect == 0):
        problems.append("the loss inside the defect mask is zero: the mask is empty, or hides nothing")
    problems += _gradient_problems(losses, terms, weights)
    if problems:
        raise ModelError([f"training cannot begin: {problem}" for problem in problems])


def _input_problems(batch: LatentBatch, inputs: BranchInputs) -> Iterator[str]:
    channels = batch.clean.shape[1]
    branches = {
        "defect": (batch.defect_mask, batch.defect_background),
        "object": (batch.box_mask, batch.object_background),
    }
    for (name, (mask, background)), rows in zip(branches.items(), inputs.unet_input.chunk(2), strict=True):
        _, found_mask, found_background = rows.split([channels, 1, channels], dim=1)
        if not (_same(found_mask, mask) and _same(found_background, background)):
            yield f"{name} branch: the UNet's channels are not noisy latent, mask, background"
    hidden = (batch.defect_background - batch.clean).abs().mean(dim=1, keepdim=True)
    # Clearly: hiding a defect that is mid-grey itself changes next to nothing anywhere.
    if _mean_where(hidden, batch.defect_mask) < 0.8 * _mean_where(hidden, 1 - batch.defect_mask):
        yield "the defect is shown and its surroundings are hidden; a mask is 1 at the defect"


def _same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected.to(found), rtol=0, atol=0, equal_nan=True)


def _mean_where(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum().clamp(min=1))


def _gradient_problems(
    losses: Losses, terms: Sequence[str], weights: Mapping[str, Sequence[nn.Parameter]]
) -> Iterator[str]:
    parameters = [weight for part in weights.values() for weight in part]
    for term in terms:
        loss: Tensor = getattr(losses, term)
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for name, part in weights.items():
            own, gradients = gradients[: len(part)], gradients[len(part) :]
            if all(gradient is None or bool((gradient == 0).all()) for gradient in own):
                yield f"the gradient of the {term} loss does not reach the adapter of the {name}"
