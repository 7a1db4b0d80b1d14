"""The interval of a difference in pixel AP between two arms.

Two things make it uncertain. Which images were held out: a paired bootstrap over them, widened as for the mean of so
few (the expanded percentile interval, Hesterberg 2015). And how the trainings went: Student's interval over the seeds,
since of three seeds a bootstrap knows no more than the least and the most. Both half-widths add up in squares.

Shapes: D draws, N images of a defect and its normals, B bins.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from defectfill.model.evaluation.metrics import average_precisions
from defectfill.model.evaluation.predictions import Predictions
from defectfill.records.evaluation import Difference

DRAWS = 2000
INTERVAL = 0.95
COARSE = 8
"""Bins of scores that are counted as one in drawn samples."""


def paired_difference(
    ours: Sequence[Predictions], theirs: Sequence[Predictions], defect: str, groups: Mapping[str, str], seed: int = 0
) -> Difference | None:
    """Return by how much the pixel AP of a defect differs between two arms, ours minus theirs, and its interval.

    ours, theirs: the predictions of each training seed, in the same order of seeds. groups: by sample id, of what is
    resampled together. Drawn with replacement are groups of anomalous images and groups of normals; both arms see the
    same draws, so that what both find hard does not widen the interval. With one seed, or one group of anomalous
    images, nothing is known of how far others would lie, and the interval is all of -1 to 1. None without an image of
    the defect.
    """
    chosen = ours[0].of_defect(defect)
    ids = [ours[0].ids[number] for number in chosen]
    anomalous = np.array([ours[0].defects[number] == defect for number in chosen])
    if not anomalous.any():
        return None
    parts = [groups.get(each, each) for each in ids]
    pairs = [((mine, chosen), (other, _same(other, ids))) for mine, other in zip(ours, theirs, strict=True)]
    once = np.ones((1, len(ids)), np.float32)
    of_seeds = np.array([(_drawn_ap(*mine, once) - _drawn_ap(*other, once)).item() for mine, other in pairs])
    mean, tested = float(of_seeds.mean()), len({part for part, found in zip(parts, anomalous, strict=True) if found})
    if len(pairs) == 1 or tested == 1:
        return Difference(mean=mean, low=-1, high=1)
    weights = _draws(parts, anomalous, np.random.default_rng(seed))
    drawn = np.mean(
        [_drawn_ap(*mine, weights, COARSE) - _drawn_ap(*other, weights, COARSE) for mine, other in pairs], axis=0
    )
    by_images = (np.quantile(drawn, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]) - drawn.mean()) * _widened(tested)
    by_seeds = _quantile(len(pairs)) * of_seeds.std(ddof=1) / np.sqrt(len(pairs))
    below, above = np.hypot(by_images, by_seeds).tolist()
    return Difference(mean=mean, low=max(mean - below, -1), high=min(mean + above, 1))


def _quantile(count: int) -> float:
    """Return Student's quantile at INTERVAL's end for the mean of so many."""
    return float(stats.t.ppf((1 + INTERVAL) / 2, count - 1))


def _widened(count: int) -> float:
    """Return by how much an interval that a bootstrap gives for the mean of so many is too narrow."""
    return float(_quantile(count) / stats.norm.ppf((1 + INTERVAL) / 2) * np.sqrt(count / (count - 1)))


def _same(found: Predictions, ids: Sequence[str]) -> NDArray[np.intp]:
    """Return the numbers of the images of those ids; of several with one id the first."""
    numbers = {each: number for number, each in reversed(list(enumerate(found.ids)))}
    return np.array([numbers[each] for each in ids])


def _draws(groups: Sequence[str], anomalous: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how often each image counts in each draw, [D, N]."""
    weights = np.ones((DRAWS, len(groups)), np.float32)
    for kind in (True, False):
        of = np.flatnonzero(anomalous == kind)
        if len(of):
            names, index = np.unique([groups[number] for number in of.tolist()], return_inverse=True)
            counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
            weights[:, of] = counts[:, index]
    return weights


def _drawn_ap(
    found: Predictions, chosen: NDArray[np.intp], weights: NDArray[np.float32], coarse: int = 1
) -> NDArray[np.float64]:
    """Return the pixel AP [D] under every row of the weights [D, N]; coarse: bins of scores that are counted as one."""
    positives, negatives = (
        counts[chosen].reshape(len(chosen), -1, coarse).sum(axis=2).astype(np.float32)
        for counts in (found.positives, found.negatives)
    )
    return average_precisions(weights @ positives, weights @ negatives)
