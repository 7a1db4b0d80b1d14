"""What a detector says of test images, in counts small enough to keep: every metric and interval is made of them.

Shapes: N images, R regions, which are connected parts of masks, B bins of scores.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from defectfill.io.files import damage_named, write_bytes
from defectfill.model.evaluation.metrics import (
    BINS,
    as_scores,
    au_pro,
    auroc,
    average_precision,
    bins_of,
    f1_max,
)
from defectfill.records.evaluation import Scores

SMOOTHED_PX = 5
"""An image's score is the largest mean of probabilities over so many pixels squared."""


@dataclass(frozen=True)
class Predictions:
    """The scores of N images and their pixels."""

    ids: tuple[str, ...]
    """N sample ids."""
    defects: tuple[str, ...]
    """N, `good` for normals."""
    parts: NDArray[np.int64]
    """[N], which of the trial's networks saw the image: with several of them a defect's normals are those of its
    own."""
    image_scores: NDArray[np.float32]
    """[N]"""
    negatives: NDArray[np.uint32]
    """[N, B], normal pixels."""
    regions: NDArray[np.uint32]
    """[R, B]"""
    region_image: NDArray[np.int64]
    """[R], the region's image, 0 to N - 1."""

    @property
    def positives(self) -> NDArray[np.int64]:
        """[N, B], anomalous pixels."""
        counts = np.zeros(self.negatives.shape, np.int64)
        np.add.at(counts, self.region_image, self.regions)
        return counts

    def of_defect(self, defect: str) -> NDArray[np.intp]:
        """Return the numbers of the images of a defect and of its normals."""
        of = np.array(self.defects)
        parts = np.unique(self.parts[of == defect])
        return np.flatnonzero((of == defect) | ((of == "good") & np.isin(self.parts, parts)))

    def save(self, path: Path) -> None:
        """Write them to a file, whole or not at all."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        np.savez_compressed(content, **arrays)
        write_bytes(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Return what `save` wrote; DataError where that is damaged."""
        with damage_named(path, "remove it and evaluate again"), np.load(path) as found:
            fields: dict[str, Any] = {name: found[name] for name in found.files}
            return cls(**{**fields, **{name: tuple(fields[name].tolist()) for name in ("ids", "defects")}})


def count_predictions(
    logits: Sequence[NDArray[np.floating]],
    masks: Sequence[NDArray[np.bool_]],
    ids: Sequence[str],
    defects: Sequence[str],
    smoothed_px: int = SMOOTHED_PX,
) -> Predictions:
    """Return the counts of logits [H, W] of N images with their masks [H, W]; smoothed_px: see `image_score`."""
    negatives, regions, region_image = [], [np.zeros((0, BINS), np.uint32)], list[int]()
    for number, (found, mask) in enumerate(zip(logits, masks, strict=True)):
        bins = bins_of(found)
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        both = np.bincount((labels * BINS + bins).ravel(), minlength=(count + 1) * BINS).reshape(count + 1, BINS)
        negatives.append(both[0])
        regions.append(both[1:].astype(np.uint32))
        region_image += [number] * count
    return Predictions(
        tuple(ids),
        tuple(defects),
        np.zeros(len(ids), np.int64),
        np.array([image_score(found, smoothed_px) for found in logits], np.float32),
        np.stack(negatives).astype(np.uint32),
        np.concatenate(regions),
        np.array(region_image, np.int64),
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of a trial's parts as one."""
    starts = np.cumsum([0, *(len(part.ids) for part in parts[:-1])])
    return Predictions(
        tuple(each for part in parts for each in part.ids),
        tuple(each for part in parts for each in part.defects),
        np.concatenate([part.parts for part in parts]),
        np.concatenate([part.image_scores for part in parts]),
        np.concatenate([part.negatives for part in parts]),
        np.concatenate([part.regions for part in parts]),
        np.concatenate([part.region_image + start for part, start in zip(parts, starts, strict=True)]),
    )


def image_score(logits: NDArray[np.floating], smoothed_px: int = SMOOTHED_PX) -> float:
    """Return the largest mean over so many pixels squared of the probabilities of logits [H, W]."""
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return float(ndimage.uniform_filter(probabilities, smoothed_px, mode="nearest").max())


def scores_of(found: Predictions, defect: str, threshold: float | NDArray[np.float64]) -> Scores:
    """Return the metrics of one defect against its normals; threshold: of the image scores, one or [N]."""
    chosen = found.of_defect(defect)
    anomalous = np.array([found.defects[number] == defect for number in chosen])
    image_scores = found.image_scores[chosen].astype(np.float64)
    regions = found.regions[np.isin(found.region_image, chosen)]
    negatives = found.negatives[chosen].sum(axis=0, dtype=np.int64)
    pixels = as_scores(regions.sum(axis=0, dtype=np.int64), negatives)
    called = (found.image_scores >= threshold)[chosen]
    normals = int((~anomalous).sum())
    image_f1, pixel_f1 = f1_max(image_scores, anomalous), f1_max(*pixels)
    return Scores(
        images=int(anomalous.sum()),
        normals=normals,
        image_auroc=auroc(image_scores, anomalous),
        image_ap=average_precision(image_scores, anomalous) if normals else None,
        image_f1_max=image_f1[0] if image_f1 and normals else None,
        pixel_auroc=auroc(*pixels),
        pixel_ap=average_precision(*pixels),
        pixel_f1_max=pixel_f1 and pixel_f1[0],
        au_pro_30=au_pro(regions, negatives, 0.3),
        au_pro_05=au_pro(regions, negatives, 0.05),
        recall=float(called[anomalous].mean()),
        false_alarms=1000 * float(called[~anomalous].mean()) if normals else None,
    )


def mean_scores(each: Sequence[Scores]) -> Scores:
    """Return the means over seeds; None where any is None."""
    rows: list[Mapping[str, float | None]] = [scores.model_dump() for scores in each]
    means = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    return Scores.model_validate({**means, "images": each[0].images, "normals": each[0].normals})


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None
