"""The losses against hand-computed cases and slow obvious versions."""

import pytest
import torch

from defectfill.model.training.losses import attention_loss, defect_loss, object_loss


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noise and prediction [2, 4, 6, 6], and a defect mask [2, 1, 6, 6] with some of each."""
    generator = torch.Generator().manual_seed(seed)
    noise, predicted = (torch.randn(2, 4, 6, 6, generator=generator) for _ in range(2))
    mask = (torch.rand(2, 1, 6, 6, generator=generator) < 0.3).float()
    return noise, predicted, mask


def slow_weighted_mean(
    noise: torch.Tensor, predicted: torch.Tensor, weight: torch.Tensor, *, inside: bool, by_area: bool
) -> float:
    """Compute element by element, in Python floats."""
    total, weights = 0.0, 0.0
    rows, channels, height, width = noise.shape
    for b in range(rows):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    w = float(weight[b, 0, y, x])
                    residual = float(noise[b, c, y, x] - predicted[b, c, y, x])
                    total += (w * residual) ** 2 if inside else w * residual**2
                    weights += w**2 if inside else w
    return total / (weights if by_area else rows * channels * height * width)


def test_the_defect_loss_of_a_hand_computed_case() -> None:
    noise = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    predicted = torch.zeros_like(noise)
    assert defect_loss(noise, predicted, mask).item() == pytest.approx((1 + 16) / 4)
    assert defect_loss(noise, predicted, mask, reduction="area").item() == pytest.approx((1 + 16) / 2)


def test_the_object_loss_of_a_hand_computed_case() -> None:
    noise = torch.tensor([[[[1.0, 2.0]]]])
    mask = torch.tensor([[[[1.0, 0.0]]]])
    predicted = torch.zeros_like(noise)
    inside = object_loss(noise, predicted, mask, background=0.3)
    outside = object_loss(noise, predicted, mask, background=0.3, weight_inside_square=False)
    assert inside.item() == pytest.approx((1 + 0.09 * 4) / 2)
    assert outside.item() == pytest.approx((1 + 0.3 * 4) / 2)


def test_the_attention_loss_of_a_hand_computed_case() -> None:
    attention, mask = torch.tensor([[[[0.25, 0.5]]]]), torch.tensor([[[[1.0, 0.0]]]])
    assert attention_loss(attention, mask).item() == pytest.approx((0.75**2 + 0.5**2) / 2)


@pytest.mark.parametrize("reduction", ["mean", "area"])
def test_the_defect_loss_equals_the_slow_version(reduction: str) -> None:
    noise, predicted, mask = random_case()
    expected = slow_weighted_mean(noise, predicted, mask, inside=True, by_area=reduction == "area")
    assert defect_loss(noise, predicted, mask, reduction=reduction).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "area"])
@pytest.mark.parametrize("inside", [True, False])
def test_the_object_loss_equals_the_slow_version(reduction: str, inside: bool) -> None:
    noise, predicted, mask = random_case(1)
    weight = torch.where(mask > 0, 1.0, 0.3)
    loss = object_loss(noise, predicted, mask, background=0.3, weight_inside_square=inside, reduction=reduction)
    expected = slow_weighted_mean(noise, predicted, weight, inside=inside, by_area=reduction == "area")
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_defect_loss_has_no_gradient_outside_the_defect() -> None:
    noise, predicted, mask = random_case(2)
    predicted.requires_grad_()
    defect_loss(noise, predicted, mask).backward()
    outside = mask.expand_as(predicted) == 0
    assert predicted.grad is not None
    assert torch.all(predicted.grad[outside] == 0)
    assert torch.all(predicted.grad[~outside] != 0)


def test_an_object_background_of_zero_leaves_the_defect_loss() -> None:
    noise, predicted, mask = random_case(3)
    assert torch.equal(object_loss(noise, predicted, mask, background=0.0), defect_loss(noise, predicted, mask))


def test_an_empty_mask_gives_zero_and_not_nan() -> None:
    noise, predicted, mask = random_case()
    assert defect_loss(noise, predicted, torch.zeros_like(mask), reduction="area").item() == 0


def test_losses_are_computed_in_float32() -> None:
    noise, predicted, mask = (part.bfloat16() for part in random_case())
    assert defect_loss(noise, predicted, mask).dtype == torch.float32
    assert attention_loss(mask, mask).dtype == torch.float32
