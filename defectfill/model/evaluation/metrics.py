"""Metrics of scores that tell anomalous from normal.

Scores of pixels are counted in BINS bins of their logit: metrics over them are those of scores rounded to their bins.
Shapes: N scores, B bins from the lowest to the highest, R regions, which are connected parts of masks, D draws.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 4096
LARGEST_LOGIT = 16.0
"""Logits beyond it are in the last bin."""

Counts = NDArray[np.integer] | NDArray[np.floating]


def bins_of(logits: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the bin, 0 to BINS - 1, of logits of any shape."""
    share = (np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT) + LARGEST_LOGIT) / (2 * LARGEST_LOGIT)
    return np.minimum((share * BINS).astype(np.intp), BINS - 1)


def auroc(scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: Counts | None = None) -> float | None:
    """Return the area under the ROC curve of scores [N], each counted as often as its weight [N] says.

    It is the probability that an anomalous score exceeds a normal one, a tie counting half. None where there is nothing
    of one kind.
    """
    from sklearn.metrics import roc_auc_score

    if not _both(labels, weights):
        return None
    return float(roc_auc_score(labels, scores, sample_weight=weights))


def average_precision(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: Counts | None = None
) -> float | None:
    """Return the sum over all thresholds of the precision times the gain in recall; equal scores [N] share one.

    None where nothing is anomalous.
    """
    from sklearn.metrics import average_precision_score

    if not labels.any() or (weights is not None and not weights[labels].sum()):
        return None
    return float(average_precision_score(labels, scores, sample_weight=weights))


def f1_max(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], weights: Counts | None = None
) -> tuple[float, float] | None:
    """Return the largest F1 over all thresholds, and the threshold: scores from it on are called anomalous.

    None where nothing is anomalous.
    """
    from sklearn.metrics import precision_recall_curve

    if not labels.any() or (weights is not None and not weights[labels].sum()):
        return None
    precision, recall, thresholds = precision_recall_curve(labels, scores, sample_weight=weights)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    return float(f1[best]), float(thresholds[best])


def _both(labels: NDArray[np.bool_], weights: Counts | None) -> bool:
    """Return whether there is something anomalous and something normal."""
    present = labels if weights is None else labels[weights > 0]
    return bool(present.any() and not present.all())


def as_scores(positives: Counts, negatives: Counts) -> tuple[NDArray[np.float64], NDArray[np.bool_], Counts]:
    """Return counts [B] of anomalous and normal pixels as scores, labels and weights [2 * B]."""
    bins = np.arange(len(positives), dtype=np.float64)
    labels = np.repeat([True, False], len(positives))
    return np.concatenate([bins, bins]), labels, np.concatenate([positives, negatives])


def average_precisions(positives: Counts, negatives: Counts) -> NDArray[np.float64]:
    """Return the average precision [D] of counts [D, B] of anomalous and normal pixels; nan where none is anomalous."""
    gained = positives[:, ::-1].astype(np.float64)
    found = gained.cumsum(axis=1)
    called = found + negatives[:, ::-1].cumsum(axis=1, dtype=np.float64)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: NDArray[np.float64] = (precision * gained).sum(axis=1) / found[:, -1]
    return result


def au_pro(regions: Counts, negatives: Counts, limit: float) -> float | None:
    """Return the area under the per-region overlap up to a false positive rate `limit`, over that limit.

    regions: counts [R, B] of the pixels of each region; negatives [B]. The overlap of a region is the share of it that
    is found; between two bins both rates go straight on. None without regions or normal pixels. As Bergmann et al.,
    "The MVTec Anomaly Detection Dataset", IJCV 2021.
    """
    if not len(regions) or not negatives.sum():
        return None
    overlap = (regions[:, ::-1].cumsum(axis=1) / regions.sum(axis=1, keepdims=True)).mean(axis=0)
    rate = negatives[::-1].cumsum() / negatives.sum()
    overlap, rate = np.concatenate([[0.0], overlap]), np.concatenate([[0.0], rate])
    end = float(np.interp(limit, rate, overlap))
    inside = rate < limit
    x, y = np.append(rate[inside], limit), np.append(overlap[inside], end)
    return float(np.trapezoid(y, x) / limit)
