"""Paired bootstrap of a difference in pixel AP. Shapes: D draws, N images of a defect and its normals, B bins."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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
    resampled together. Drawn with replacement are groups of anomalous images, groups of normals and seeds; both arms
    see the same draws, so that what both find hard does not widen the interval. None without an image of the defect.
    """
    rng = np.random.default_rng(seed)
    chosen = ours[0].of_defect(defect)
    ids = [ours[0].ids[number] for number in chosen]
    anomalous = np.array([ours[0].defects[number] == defect for number in chosen])
    if not anomalous.any():
        return None
    weights = _draws([groups.get(each, each) for each in ids], anomalous, rng)
    pairs = [((mine, chosen), (other, _same(other, ids))) for mine, other in zip(ours, theirs, strict=True)]
    once = np.ones((1, len(ids)), np.float32)
    mean = np.mean([_drawn_ap(*mine, once) - _drawn_ap(*other, once) for mine, other in pairs])
    by_seed = np.stack(
        [_drawn_ap(*mine, weights, COARSE) - _drawn_ap(*other, weights, COARSE) for mine, other in pairs]
    )
    picks = rng.integers(len(by_seed), size=by_seed.shape)
    drawn = np.take_along_axis(by_seed, picks, axis=0).mean(axis=0)
    low, high = np.quantile(drawn, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Difference(mean=float(mean), low=float(low), high=float(high))


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
