"""A plain classifier of painted defects by their type, on features of the base's own encoder.

Its features are pooled over the mask and over a rim around it, so that it judges what is in the mask rather than the
mask's outline. Shapes: N windows, F features, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from defectfill.model.base.base import Base
from defectfill.model.inpaint.painter import to_tensor
from defectfill.model.inpaint.perceptual import encoder_features
from defectfill.painting.window import Window

RIM_PX = 8
"""Width of the rim around the mask, in pixels of the window."""
PENALTY = 1e-2
"""Weight of the squared weights of the classifier beside its mean cross-entropy."""


@dataclass(frozen=True)
class Recognizer:
    """Multinomial logistic regression from windows to class names."""

    base: Base
    classes: tuple[str, ...]
    mean: Tensor
    """[F]"""
    scale: Tensor
    """[F]"""
    weights: Tensor
    """[F, K]"""
    bias: Tensor
    """[K]"""

    def features(self, windows: Sequence[Window]) -> Tensor:
        """Return features [N, F] of the windows, each with mean 0 and variance 1 over the windows learnt from."""
        return (pooled_features(self.base, windows) - self.mean) / self.scale

    def classify(self, windows: Sequence[Window]) -> list[str]:
        """Return the class of every window."""
        logits = self.features(windows) @ self.weights + self.bias
        return [self.classes[index] for index in logits.argmax(dim=1).tolist()]


def fit_recognizer(base: Base, examples: Mapping[str, Sequence[Window]]) -> Recognizer:
    """Train the classifier of `examples` (class -> windows); the same windows give the same one."""
    features = torch.cat([pooled_features(base, windows) for windows in examples.values()])
    classes = torch.cat([torch.full((len(windows),), index) for index, windows in enumerate(examples.values())])
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    inputs = (features - mean) / scale
    weights = torch.zeros(features.shape[1], len(examples), requires_grad=True)
    bias = torch.zeros(len(examples), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights + bias, classes) + PENALTY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call, unused-ignore]
    return Recognizer(base, tuple(examples), mean, scale, weights.detach(), bias.detach())


@torch.no_grad()
def pooled_features(base: Base, windows: Sequence[Window]) -> Tensor:
    """Return features [N, F], float32 on the CPU: mean and deviation in the mask, mean in its rim, at every level."""
    rows = []
    for window in windows:
        rim = ndimage.binary_dilation(window.mask, iterations=RIM_PX) & ~window.mask
        picture = to_tensor(window.image)[None].to(base.device, base.dtype)
        row = []
        for level in encoder_features(base.vae.encoder, picture):
            inside, around = (_weights(mask, level) for mask in (window.mask, rim))
            mean = (level * inside).sum(dim=(0, 2, 3))
            deviation = ((level - mean[:, None, None]).square() * inside).sum(dim=(0, 2, 3)).sqrt()
            row += [mean, deviation, (level * around).sum(dim=(0, 2, 3))]
        rows.append(torch.cat(row).cpu())
    return torch.stack(rows)


def _weights(mask: NDArray[np.bool_], level: Tensor) -> Tensor:
    """Return [1, 1, h, w], summing to 1: how much of each feature pixel lies in the mask [H, W]."""
    height, width = level.shape[-2:]
    share = F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), (height, width)).to(level.device)
    return share / share.sum().clamp(min=1e-6)
