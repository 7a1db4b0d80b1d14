"""Where defects lie: labels of samples as a heat map over the mean of the normals, references as outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.dataset import dataset

from defectfill.dataset.report.pictures import Budget, outline, whole, write_webp
from defectfill.dataset.report.references import MeasuredReference
from defectfill.dataset.report.scenes import Heat
from defectfill.io.white_level import read_stretched
from defectfill.records.manifest import ManifestRow
from defectfill.runs.run import Run

MEAN_OF = 24
"""Normals at most."""
SIDE_PX = 256
HEAT_COLOUR = (0, 205, 180)
"""That of kept samples in the plots, bright enough for a grey picture; orange is that of rejected ones."""
BUDGET = Budget(SIDE_PX, 30_000)
MEAN_FILE = "mean.webp"

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Positions:
    """The map of one defect; pictures and outlines are as large as the mean."""

    heat: str
    """A file among the pictures; empty where nothing was kept."""
    references: tuple[str, ...]
    """SVG paths."""


def write_mean(run: Run, pictures: Path) -> Size:
    """Write MEAN_FILE, the grey mean of the first normals that were painted on, and return its size."""
    import cv2

    real = (pc.field("defect") == "good") & (pc.field("origin") == "real") & (pc.field("split") == "train")
    rows = dataset(run.dataset / "manifest.parquet").head(MEAN_OF, filter=real).to_pylist()
    mean: NDArray[np.float32] | None = None
    for row in map(ManifestRow.model_validate, rows):
        image = whole(read_stretched(run.dataset / row.image_path, row.white_level), SIDE_PX)
        if mean is None:
            mean = np.zeros_like(image)
        mean += cv2.resize(image, (mean.shape[1], mean.shape[0]), interpolation=cv2.INTER_AREA) / np.float32(len(rows))
    assert mean is not None, "a run without normals"
    grey = np.repeat(mean.mean(axis=2, keepdims=True), 3, axis=2)
    write_webp(pictures / MEAN_FILE, np.clip(grey, 0, 1), BUDGET)
    return mean.shape[1], mean.shape[0]


def write_positions(
    name: str, heat: Heat | None, references: Sequence[MeasuredReference], size: Size, pictures: Path
) -> Positions:
    """Write the heat map of a defect as `<name>` among the pictures, clear where no label lies."""
    outlines = tuple(outline(_resized(each.mask.astype(np.float32), size) > 0.5) for each in references)
    if heat is None:
        return Positions("", outlines)
    strength = np.clip(_resized(heat / max(float(heat.max()), 1e-6), size), 0, 1)
    layer = np.empty((*strength.shape, 4), dtype=np.float32)
    layer[..., :3] = np.divide(HEAT_COLOUR, 255, dtype=np.float32)
    layer[..., 3] = 0.85 * np.sqrt(strength)
    write_webp(pictures / name, layer, BUDGET)
    return Positions(name, outlines)


def _resized(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
