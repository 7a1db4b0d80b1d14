"""A plain segmentation network that learns from a finished dataset and is tested on the real images held out."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from defectfill.config.window import WindowConfig
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import new_folder, read_table, write_bytes
from defectfill.io.hashing import derive_seed, digest
from defectfill.io.images import file_sha256, read_mask
from defectfill.io.progress import progress
from defectfill.io.white_level import read_stretched
from defectfill.model.evaluation.metrics import auroc, average_precision
from defectfill.painting.window import crop_window, window_box
from defectfill.records.manifest import ManifestRow

LEAST_SIDE = 32
"""The network halves images four times, and normalizes what is left."""
SMOOTHED_PX = 5
"""An image's score is the largest mean over so many pixels squared."""


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of a detector and of its training."""

    epochs: int = 12
    batch_size: int = 8
    side: int = 128
    """Images are brought to this size, in pixels, a multiple of 16; what is not square is mirrored."""
    learning_rate: float = 2e-3
    validation_share: float = 0.2
    """Of the normals that images come from, with all that was painted on them, by which the epoch is picked."""
    seed: int = 0


def train_detector(dataset: Path, output: Path, settings: DetectorSettings) -> dict[str, Any]:
    """Train a detector on a dataset's train split, write it and its report to `output`, and return the report.

    Rows are drawn by their sampling_weight. The epoch with the largest pixel AP of the validation part is kept. Tested
    is on the held-out real images alone: per defect the AUROC of images, against the normals of the test split, and the
    AP of pixels; None where these cannot be had. Equal datasets and settings give equal files on the same machine.

    Raises DataError for a dataset without anomalous images to learn from, ConfigError where the extra is missing or the
    settings cannot be trained with.
    """
    if settings.epochs < 1 or settings.side < LEAST_SIDE:
        raise ConfigError(f"expected epochs of at least 1 and a side of at least {LEAST_SIDE}, found {settings}")
    rows = [ManifestRow.model_validate(row) for row in read_table(dataset / "manifest.parquet")]
    train, validation = divide(rows, settings)
    test = [row for row in rows if row.split == "test"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, curve = _fit(dataset, train, validation, settings, device)
    found = [predict(network, dataset, row, settings.side, device) for row in progress(test, "test detector")]
    report = {
        "category": rows[0].category,
        "dataset": {"run": dataset.parent.name, "manifest_sha256": file_sha256(dataset / "manifest.parquet")},
        "settings": asdict(settings),
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "validation_pixel_ap": curve,
        "test": {defect: _scores(test, found, defect) for defect in sorted({row.defect for row in test} - {"good"})},
    }
    with new_folder(output, replace=True) as folder:
        save_file(network.state_dict(), folder / "detector.safetensors")
        write_bytes(folder / "report.json", json.dumps(report, indent=2).encode())
    return report


def divide(rows: Sequence[ManifestRow], settings: DetectorSettings) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Return the train split's rows in a part to learn from and one to validate by.

    An image and all that was painted on it are in the same part. Raises DataError where one has no anomalous image.
    """
    drawn = [row for row in rows if row.split == "train" and row.sampling_weight > 0]
    origins = sorted(
        {row.source_path or row.image_path for row in drawn}, key=lambda path: digest([settings.seed, path])
    )
    apart = set(origins[: math.ceil(settings.validation_share * len(origins))])
    parts = [
        [row for row in drawn if ((row.source_path or row.image_path) in apart) == chosen] for chosen in (False, True)
    ]
    for part, name in zip(parts, ("learn from", "validate by"), strict=True):
        if not any(row.label_index for row in part):
            raise DataError(f"manifest.parquet: expected anomalous images of the train split to {name}, found none")
    return parts[0], parts[1]


def _fit(
    dataset: Path,
    train: Sequence[ManifestRow],
    validation: Sequence[ManifestRow],
    settings: DetectorSettings,
    device: torch.device,
) -> tuple[nn.Module, list[float]]:
    """Return the network of the best epoch, and the pixel AP of the validation part after each."""
    try:
        from monai.losses import DiceCELoss
        from monai.networks.nets import BasicUNet
    except ImportError as error:
        raise ConfigError("the detector needs an extra: pip install 'defectfill[detector]'") from error
    torch.manual_seed(derive_seed(settings.seed, "detector"))
    network: nn.Module = BasicUNet(spatial_dims=2, in_channels=3, out_channels=1, features=(16, 16, 32, 64, 128, 16))
    network.to(device)
    loss = DiceCELoss(sigmoid=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "draws"))
    best, curve = {}, list[float]()
    for _ in progress(range(settings.epochs), "train detector"):
        network.train()
        for images, masks in _batches(dataset, train, settings, generator):
            optimizer.zero_grad()
            loss(network(images.to(device)), masks.to(device)).backward()
            optimizer.step()
        found = [predict(network, dataset, row, settings.side, device) for row in validation]
        pixels, labels = (np.concatenate([pair[index].ravel() for pair in found]) for index in (0, 1))
        curve.append(average_precision(pixels, labels) or 0.0)
        if curve[-1] >= max(curve):
            best = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    network.load_state_dict(best)
    return network, curve


def _batches(
    dataset: Path, rows: Sequence[ManifestRow], settings: DetectorSettings, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield as many images [B, 3, R, R] and masks [B, 1, R, R] as there are rows, drawn by weight, randomly flipped."""
    weights = torch.tensor([row.sampling_weight for row in rows])
    drawn = torch.multinomial(weights, len(rows), replacement=True, generator=generator)
    for part in drawn.split(settings.batch_size):
        images, masks = zip(*(read_pair(dataset, rows[index], settings.side) for index in part.tolist()), strict=True)
        flips = [axis for axis in (-1, -2) if torch.rand((), generator=generator) < 0.5]
        yield torch.stack(images).flip(flips), torch.stack(masks).flip(flips)


def read_pair(dataset: Path, row: ManifestRow, side: int) -> tuple[Tensor, Tensor]:
    """Return image [3, side, side] in [0, 1] and mask [1, side, side] of a row; the mask of a normal is empty."""
    image = read_stretched(dataset / row.image_path, row.white_level)
    mask = read_mask(dataset / row.mask_path) if row.mask_path else np.zeros(image.shape[:2], dtype=bool)
    whole = window_box(np.ones(image.shape[:2], dtype=bool), WindowConfig(mode="whole"), side / 8)
    window = crop_window(image, mask, whole, side)
    return torch.from_numpy(window.image).permute(2, 0, 1), torch.from_numpy(window.mask)[None].float()


@torch.inference_mode()
def predict(
    network: nn.Module, dataset: Path, row: ManifestRow, side: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the probabilities [side, side] that the network gives for a row's image, and its mask [side, side]."""
    network.eval()
    image, mask = read_pair(dataset, row, side)
    probabilities: Tensor = network(image[None].to(device)).sigmoid()[0, 0]
    return probabilities.cpu().numpy(), mask[0].numpy() > 0


def _scores(
    rows: Sequence[ManifestRow],
    found: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    defect: str,
) -> dict[str, float | int | None]:
    """Return the metrics over the test images of one defect and the normals."""
    chosen = [(row, pair) for row, pair in zip(rows, found, strict=True) if row.defect in (defect, "good")]
    scores = np.array([image_score(probabilities) for _, (probabilities, _) in chosen])
    pixels, masks = (np.concatenate([pair[index].ravel() for _, pair in chosen]) for index in (0, 1))
    anomalous = np.array([row.label_index == 1 for row, _ in chosen])
    return {
        "images": int(anomalous.sum()),
        "image_auroc": auroc(scores, anomalous),
        "pixel_ap": average_precision(pixels, masks),
    }


def image_score(probabilities: NDArray[np.float32]) -> float:
    """Return the largest of probabilities [R, R] after a mean over SMOOTHED_PX pixels squared."""
    smoothed = F.avg_pool2d(torch.from_numpy(probabilities)[None, None], SMOOTHED_PX, stride=1)
    return float(smoothed.max())
