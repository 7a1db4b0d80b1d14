"""The networks that say of every pixel whether it is defective, as they are before they have learnt anything."""

import torch
from torch import Tensor, nn

from defectfill.model.evaluation.features import FeatureExtractor

FIRST_LOGIT = -2.0
"""What a network says of every pixel before it has learnt anything (the prior of RetinaNet, Lin et al. 2017). From 0 a
U-Net spends its first 400 steps on learning that most pixels are normal."""


def build_unet() -> nn.Module:
    """Return a small U-Net of images [B, 3, S, S], S a multiple of 16, that gives logits [B, 1, S, S].

    ImportError without the extra `detector`.
    """
    from monai.networks.nets import BasicUNet

    network = BasicUNet(spatial_dims=2, in_channels=3, out_channels=1, features=(16, 16, 32, 64, 128, 16))
    _say_normal(network.final_conv)
    return network


def _say_normal(last: nn.Module) -> None:
    """Let a network begin with FIRST_LOGIT for every pixel; last: its last layer."""
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.constant_(last.bias, FIRST_LOGIT)


class LinearHead(nn.Module):
    """A linear head per pixel on frozen features, normalised by what a batch of the first step is like."""

    mean: Tensor
    scale: Tensor

    def __init__(self, extractor: FeatureExtractor, example: Tensor) -> None:
        super().__init__()
        self.extractor = extractor
        stacked = self._stacked(example)
        self.register_buffer("mean", stacked.mean(dim=(0, 2, 3), keepdim=True))
        self.register_buffer("scale", stacked.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6))
        self.head = nn.Conv2d(stacked.shape[1], 1, 1)
        _say_normal(self.head)

    def _stacked(self, images: Tensor) -> Tensor:
        """Return all levels of the features of images [B, 3, S, S] at a quarter of their size, [B, F, S / 4, S / 4]."""
        size = [side // 4 for side in images.shape[-2:]]
        maps = [nn.functional.interpolate(each, size, mode="bilinear") for each in self.extractor.maps(images)]
        return torch.cat(maps, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, 1, S, S] of images [B, 3, S, S]."""
        logits: Tensor = self.head((self._stacked(images) - self.mean) / self.scale)
        return nn.functional.interpolate(logits, images.shape[-2:], mode="bilinear")
