"""Perceptual distance between a clean window and its candidates, inside the planned mask.

Shapes: K candidates, H, W pixels, c channels of a feature level.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from defectfill.model.base.base import Base

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clean [1, 3, H, W], candidates [K, 3, H, W], mask [1, 1, H, W]) -> scores [K]; pictures in [-1, 1]."""


def make_distance(name: Literal["vae", "lpips"], base: Base) -> Distance:
    """Return the distance called `name`, on the base's device."""
    return lpips_distance(base.device) if name == "lpips" else vae_distance(base)


@lru_cache(maxsize=1)
def lpips_distance(device: torch.device) -> Distance:
    """Return LPIPS (Zhang et al., CVPR 2018) with VGG-16: its spatial map averaged over the mask."""
    import lpips

    network = lpips.LPIPS(net="vgg", spatial=True, verbose=False).to(device).eval().requires_grad_(False)

    def distance(clean: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        differences = network(clean.expand_as(candidates), candidates)
        return _mean_in_mask(differences, mask)

    return distance


def vae_distance(base: Base) -> Distance:
    """Return a distance of LPIPS's form on the features of the base's own VAE encoder, which need no download.

    After each encoder block the features are normalised to unit length per position, their squared difference
    is summed over channels, brought to the picture's size and averaged over the mask; the score is the mean
    over blocks, in [0, 4].
    """

    def distance(clean: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        levels = encoder_features(base.vae.encoder, torch.cat([clean, candidates]).to(base.device, base.dtype))
        maps = [_unit_difference(level) for level in levels]
        full = [F.interpolate(each, size=mask.shape[-2:], mode="bilinear", align_corners=False) for each in maps]
        return _mean_in_mask(torch.stack(full).mean(dim=0), mask)

    return distance


def encoder_features(encoder: Any, pictures: Tensor) -> list[Tensor]:
    """Return features [K + 1, c, h', w'] after each down block."""
    hidden = encoder.conv_in(pictures)
    levels = []
    for block in encoder.down_blocks:
        hidden = block(hidden)
        levels.append(hidden.float())
    return levels


def _unit_difference(features: Tensor) -> Tensor:
    """Return [K, 1, h', w'], the squared distance of every row's unit vectors to the first row's [K + 1, c, h', w']."""
    unit = F.normalize(features, dim=1, eps=1e-6)
    return (unit[1:] - unit[:1]).square().sum(dim=1, keepdim=True)


def _mean_in_mask(differences: Tensor, mask: Tensor) -> Tensor:
    """Return the means [K] of differences [K, 1, H, W] inside a mask [1, 1, H, W]."""
    return (differences * mask).sum(dim=(1, 2, 3)) / mask.sum()
