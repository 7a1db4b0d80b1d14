"""Frozen features: the seam, the encoder of a base's VAE and the backbone of the extra `features`."""

import math
import statistics
from pathlib import Path

import pytest
import torch
from skimage import data
from torch import Tensor, nn

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.model.base.base import load_base
from defectfill.model.evaluation import features
from defectfill.model.evaluation.features import FeatureExtractor, open_extractor, pool, unit_maps, weights_digest
from defectfill.model.inpaint.perceptual import encoder_features

needs_backbone = pytest.mark.skipif(not features.has_backbone(), reason="the extra `features` is not installed")


@pytest.fixture
def config(base_folder: Path) -> BaseConfig:
    return BaseConfig(model=str(base_folder), resolution=64, device="cpu")


def images_like(count: int, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_the_vae_gives_what_its_encoder_computes(config: BaseConfig) -> None:
    extractor = open_extractor(config, "vae")
    images = images_like(2)
    with torch.no_grad():
        expected = encoder_features(load_base(config).vae.encoder, images * 2 - 1)
    found = extractor.maps(images)
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == torch.float32
        assert not one.requires_grad
    assert extractor.name == "VAE encoder of small"


def test_a_head_can_learn_from_the_maps(config: BaseConfig) -> None:
    """Tensors of inference mode would be refused in its graph."""
    level = open_extractor(config, "vae").maps(images_like(1))[-1]
    head = nn.Conv2d(level.shape[1], 1, 1)
    head(level).sum().backward()
    assert head.weight.grad is not None


def test_the_digest_is_of_the_weights_and_of_nothing_else(config: BaseConfig) -> None:
    network = load_base(config).vae.encoder
    digest = weights_digest(network)
    assert open_extractor(config, "vae").digest == digest
    assert weights_digest(network.double()) == digest
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert weights_digest(network) != digest


def test_pooled_features_are_means_and_deviations_of_unit_vectors() -> None:
    maps = [torch.randn(2, 4, 3, 5), 100 * torch.randn(2, 9, 2, 2)]
    rows = []
    for image in range(2):
        row: list[float] = []
        for level in maps:
            positions = level[image].flatten(1).T.tolist()
            units = [[value / math.hypot(*position) for value in position] for position in positions]
            channels = list(zip(*units, strict=True))
            scale = math.sqrt(2 * len(channels))
            row += [scale * statistics.mean(channel) for channel in channels]
            row += [scale * statistics.pstdev(channel) for channel in channels]
        rows.append(row)
    torch.testing.assert_close(pool(maps), torch.tensor(rows))
    torch.testing.assert_close(pool(maps).square().mean(dim=1), torch.ones(2))
    extractor = FeatureExtractor("two levels", "", torch.device("cpu"), lambda images: maps)
    assert torch.equal(extractor.pooled(images_like(2)), pool(maps))


def test_black_images_have_features_too() -> None:
    assert unit_maps([torch.zeros(1, 4, 2, 2)])[0].isfinite().all()


def test_what_is_missing_is_named(config: BaseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BACKBONE_PACKAGES", ("no_such_package",))
    assert open_extractor(config, "auto").name == "VAE encoder of small"
    with pytest.raises(ConfigError, match=r"defectfill\[features\]"):
        open_extractor(config, "efficientnet")
    with pytest.raises(ConfigError, match="need a base"):
        open_extractor(None, "auto")


@needs_backbone
def test_the_backbone_tells_a_cat_and_a_coffee() -> None:
    """Its levels end in the network's own features, and with its own head it says what scikit-image's pictures show."""
    extractor = open_extractor(None, "auto")
    assert extractor.name == "EfficientNet-Lite0 (ImageNet)"
    network = extractor.levels.args[0]  # type: ignore[attr-defined]
    tabby, egyptian, espresso = 281, 285, 967
    for picture, classes in ((data.chelsea(), {tabby, egyptian}), (data.coffee(), {espresso})):
        image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        image = nn.functional.interpolate(image, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)
        maps = extractor.maps(image.to(extractor.device))
        assert [tuple(level.shape[1:]) for level in maps] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
        hidden = network._swish(network._bn1(network._conv_head(maps[-1])))
        assert int(network._fc(hidden.mean(dim=(2, 3))).argmax()) in classes


@needs_backbone
def test_the_backbone_sees_edges_in_their_place() -> None:
    """A flat picture's maps are even away from the border; those of a picture with an edge are not, at the edge."""
    flat = torch.full((1, 3, 128, 128), 0.5)
    edge = flat.clone()
    edge[..., 64:] = 0.9
    level = open_extractor(None, "efficientnet").maps(torch.cat([flat, edge]))[0].cpu()
    deviation = level[:, :, 12:20].std(dim=2).amax(dim=(0, 1))
    assert float(deviation[8:24].max()) < 1e-4  # along the edge nothing changes
    across = level[:, :, 16].diff(dim=-1).abs().mean(dim=1)[:, 6:25]
    assert float(across[0].max()) < 1e-4
    assert 8 <= int(across[1].argmax()) <= 11
