"""A plain segmentation network that learns from a finished dataset and is tested on the real images held out."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import new_folder, write_bytes
from defectfill.io.hashing import derive_seed, digest
from defectfill.io.images import file_sha256
from defectfill.io.progress import progress
from defectfill.model.evaluation.data import DefectDataset, Item, real_share_sampler
from defectfill.model.evaluation.heads import build_unet
from defectfill.model.evaluation.metrics import auroc, average_precision
from defectfill.model.evaluation.predictions import image_score
from defectfill.records.manifest import ManifestRow
from defectfill.records.reading import manifest_rows

LEAST_SIDE = 32
"""The network halves images four times, and normalizes what is left."""


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
    rows = list(manifest_rows(dataset))
    parts = [*divide(rows, settings), [row for row in rows if row.split == "test"]]
    train, validation, test = (DefectDataset(dataset, side=settings.side, rows=part) for part in parts)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, curve = _fit(train, validation, settings, device)
    found = [predict(network, item, device) for item in progress(DataLoader(test, batch_size=None), "test detector")]
    report = {
        "category": rows[0].category,
        "dataset": {"run": dataset.parent.name, "manifest_sha256": file_sha256(dataset / "manifest.parquet")},
        "settings": asdict(settings),
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "validation_pixel_ap": curve,
        "test": {
            defect: _scores(test.rows, found, defect) for defect in sorted({row.defect for row in parts[2]} - {"good"})
        },
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
    train: DefectDataset, validation: DefectDataset, settings: DetectorSettings, device: torch.device
) -> tuple[nn.Module, list[float]]:
    """Return the network of the best epoch, and the pixel AP of the validation part after each."""
    try:
        from monai.losses import DiceFocalLoss
    except ImportError as error:
        raise ConfigError("the detector needs an extra: pip install 'defectfill[detector]'") from error
    torch.manual_seed(derive_seed(settings.seed, "detector"))
    network = build_unet().to(device)
    loss = DiceFocalLoss(sigmoid=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    sampler = real_share_sampler(train, None, len(train), settings.seed)
    batches = DataLoader(train, settings.batch_size, sampler=sampler)
    flips = torch.Generator().manual_seed(derive_seed(settings.seed, "flips"))
    best, curve = {}, list[float]()
    for _ in progress(range(settings.epochs), "train detector"):
        network.train()
        for batch in batches:
            axes = [axis for axis in (-1, -2) if torch.rand((), generator=flips) < 0.5]
            images, masks = (batch[name].flip(axes).to(device) for name in ("image", "mask"))
            optimizer.zero_grad()
            loss(network(images), masks).backward()
            optimizer.step()
        found = [predict(network, item, device) for item in DataLoader(validation, batch_size=None)]
        pixels, labels = (np.concatenate([pair[index].ravel() for pair in found]) for index in (0, 1))
        curve.append(average_precision(pixels, labels) or 0.0)
        if curve[-1] >= max(curve):
            best = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    network.load_state_dict(best)
    return network, curve


@torch.inference_mode()
def predict(network: nn.Module, item: Item, device: torch.device) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the logits [H, W] that the network gives for an image, and its mask [H, W]."""
    network.eval()
    logits: Tensor = network(item["image"][None].to(device))[0, 0]
    return logits.cpu().numpy(), item["mask"][0].numpy() > 0


def _scores(
    rows: Sequence[ManifestRow],
    found: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    defect: str,
) -> dict[str, float | int | None]:
    """Return the metrics over the test images of one defect and the normals."""
    chosen = [(row, pair) for row, pair in zip(rows, found, strict=True) if row.defect in (defect, "good")]
    scores = np.array([image_score(logits) for _, (logits, _) in chosen])
    pixels, masks = (np.concatenate([pair[index].ravel() for _, pair in chosen]) for index in (0, 1))
    anomalous = np.array([row.label_index == 1 for row, _ in chosen])
    return {
        "images": int(anomalous.sum()),
        "image_auroc": auroc(scores, anomalous),
        "pixel_ap": average_precision(pixels, masks),
    }
