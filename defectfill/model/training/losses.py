"""The losses of DefectFill (Song et al., CVPR 2025, section 3.2) as pure functions.

Choices the paper leaves open, settled here: the weight stands inside the square as Eq. 5 and 7 print it, and
all three terms are plain means over their elements. Both can be changed for an ablation.

The paper's bases predict the noise, so its target is eps; for a base that predicts velocity it is that.

Shapes: B batch, C latent channels, h w latent pixels. Everything is computed in float32.
"""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "area"]
TINY = torch.finfo(torch.float32).tiny


def defect_loss(
    target: Tensor,
    predicted: Tensor,
    defect_mask: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return L_def = E || M * (eps - eps_hat) ||^2 (Eq. 5), a scalar.

    target, predicted [B, C, h, w]; defect_mask M [B, 1, h, w] of 0 and 1. Positions outside the mask have no gradient.
    """
    return _weighted_mean(target, predicted, defect_mask, reduction)


def object_loss(
    target: Tensor,
    predicted: Tensor,
    defect_mask: Tensor,
    *,
    background: float,
    weight_inside_square: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return L_obj = E || M' * (eps - eps_hat) ||^2 with M' = M + alpha (1 - M) (Eq. 7), a scalar.

    M is the *defect* mask [B, 1, h, w], although this branch is conditioned on the random boxes; `background`
    is alpha in [0, 1]. Outside the square (weight_inside_square=False) the background counts alpha instead of
    alpha squared.
    """
    weight = object_weight(defect_mask, background, weight_inside_square=weight_inside_square)
    return _weighted_mean(target, predicted, weight, reduction)


def object_weight(defect_mask: Tensor, background: float, *, weight_inside_square: bool) -> Tensor:
    """Return the weight of every squared error in L_obj, [B, 1, h, w]: M' squared, or M' outside the square."""
    weight = defect_mask + background * (1 - defect_mask)
    return weight.square() if weight_inside_square else weight


def attention_loss(token_attention: Tensor, defect_mask: Tensor) -> Tensor:
    """Return L_attn = E || A_t[V*] - M ||^2 (Eq. 8), a scalar: the mean over [B, 1, h, w].

    token_attention holds probabilities of the softmax over all tokens, not normalised further; it must carry
    gradients.
    """
    return (token_attention.float() - defect_mask.float()).square().mean()


def micro_batch_weight(weight: Tensor, batch_weight: Tensor, reduction: Reduction) -> Tensor:
    """Return the weight of a micro-batch's loss in the loss of its batch, a scalar in [0, 1].

    weight [b, 1, h, w] and batch_weight [B, 1, h, w] are the weights of squared errors. The losses of all
    micro-batches, each times its weight, add up to the loss of the batch.
    """
    if reduction == "mean":
        return weight.new_tensor(len(weight) / len(batch_weight))
    return weight.sum() / batch_weight.sum().clamp_min(TINY)


def _weighted_mean(target: Tensor, predicted: Tensor, weight: Tensor, reduction: Reduction) -> Tensor:
    """Return the mean of the weighted squared error over all elements, or for "area" its sum over that of weights.

    Per channel.
    """
    weight = weight.float()
    residual = target.float() - predicted.float()
    total = (weight * residual.square()).sum()
    if reduction == "mean":
        return total / residual.numel()
    return total / (weight.sum() * residual.shape[1]).clamp_min(TINY)
