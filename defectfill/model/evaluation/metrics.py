"""Metrics of scores that tell anomalous from normal."""

import numpy as np
from numpy.typing import NDArray


def auroc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve of scores [N].

    It is the probability that an anomalous score exceeds a normal one, a tie counting half. None where there is nothing
    of one kind.
    """
    from scipy.stats import rankdata

    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return None
    above = rankdata(scores)[labels].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def average_precision(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float | None:
    """Return the sum over all thresholds of the precision times the gain in recall; equal scores [N] share one.

    None where nothing is anomalous.
    """
    if not labels.any():
        return None
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of the samples that share a threshold
    precision, recall = found[last] / (last + 1), found[last] / found[-1]
    return float((precision * np.diff(recall, prepend=0.0)).sum())
