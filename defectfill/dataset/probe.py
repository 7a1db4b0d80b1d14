"""A probe of the traces that VAE and blend leave in pixels.

Where they can be told from untouched pixels, a detector can learn that instead of the defect, and VAE normals
(generate.vae_normals) are worth their share.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from defectfill.io.images import ImageArray, read_mask
from defectfill.io.white_level import read_stretched
from defectfill.painting.window import unit_rgb

FOLDS = 5
LEAST = 10
"""VAE normals below which nothing is said."""
RIDGE = 1e-2
"""Added to the features' common covariance, which is near 1."""


def probe_vae(dataset: Path) -> float | None:
    """Return the accuracy of a linear classifier on unseen pictures, 0.5 being chance; None without enough of them.

    It tells the pixels of every VAE normal that passed through the VAE and the same ones of its source apart, and has
    learnt from other sources.
    """
    wanted = (pc.field("defect") == "good") & (pc.field("origin") == "synthetic")
    columns = ["image_path", "source_path", "planned_mask_path", "white_level"]
    rows = pq.read_table(dataset / "manifest.parquet", columns=columns, filters=wanted).to_pylist()
    if len(rows) < LEAST:
        return None
    features = np.array([list(_features_of(dataset, row)) for row in rows])  # [rows, 2, F]: untouched, passed
    sources = sorted({row["source_path"] for row in rows})
    fold = np.array([sources.index(row["source_path"]) % FOLDS for row in rows])
    right: list[NDArray[np.bool_]] = []
    for number in range(FOLDS):
        learnt, tried = features[fold != number], features[fold == number]
        if len(learnt) and len(tried):
            scores = _discriminant(learnt, tried)
            right += [scores[:, 0] < 0, scores[:, 1] > 0]
    return float(np.concatenate(right).mean())


def _discriminant(learnt: NDArray[np.float64], tried: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores [M, 2] of `tried` [M, 2, F] by Fisher's discriminant between the columns of `learnt` [N, 2, F]."""
    scale = learnt.reshape(-1, learnt.shape[-1])
    middle, spread = scale.mean(axis=0), np.maximum(scale.std(axis=0), 1e-12)
    learnt, tried = (learnt - middle) / spread, (tried - middle) / spread
    means = learnt.mean(axis=0)
    within = (learnt - means).reshape(-1, learnt.shape[-1])
    covariance = within.T @ within / len(within) + RIDGE * np.eye(within.shape[1])
    direction = np.linalg.solve(covariance, means[1] - means[0])
    scores: NDArray[np.float64] = (tried - means.mean(axis=0)) @ direction
    return scores


def _features_of(dataset: Path, row: dict[str, Any]) -> Iterator[NDArray[np.float64]]:
    """Yield the features of the source and of the VAE normal of a row."""
    source, passed = (read_stretched(dataset / row[name], row["white_level"]) for name in ("source_path", "image_path"))
    passed_through = (source != passed).any(axis=2)
    mask = passed_through if passed_through.any() else read_mask(dataset / row["planned_mask_path"])
    for image in (source, passed):
        yield _features(image, mask)


def _features(image: ImageArray, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return features [F] of a region's finest texture: log mean differences, near and further, of each channel."""
    pixels = unit_rgb(image).astype(np.float64)
    values = []
    for distance in (1, 2, 4):
        for axis in (0, 1):
            differences = np.abs(pixels - np.roll(pixels, distance, axis=axis))[mask]
            curvatures = np.abs(
                2 * pixels - np.roll(pixels, distance, axis=axis) - np.roll(pixels, -distance, axis=axis)
            )
            values += [*differences.mean(axis=0), *curvatures[mask].mean(axis=0)]
    return np.log(np.array(values) + 1e-4)
