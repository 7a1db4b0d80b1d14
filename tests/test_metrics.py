"""Metrics, against slow and obvious versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectfill.model.evaluation.metrics import (
    as_scores,
    au_pro,
    auroc,
    average_precision,
    average_precisions,
    f1_max,
)

pairs = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


def split(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores, dtype=np.float32), np.array(labels)


@given(pairs)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = split(pairs)
    differences = [float(np.sign(one - other)) for one in scores[labels] for other in scores[~labels]]
    found = auroc(scores, labels)
    assert (found is None) == (not differences)
    assert found is None or found == pytest.approx(np.mean(differences) / 2 + 0.5)


@given(pairs)
def test_average_precision_goes_through_every_threshold(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = split(pairs)
    expected, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        recall = (called & labels).sum() / max(labels.sum(), 1)
        expected += (called & labels).sum() / called.sum() * (recall - before)
        before = recall
    found = average_precision(scores, labels)
    assert (found is None) == (not labels.any())
    assert found is None or found == pytest.approx(expected)


def test_by_hand() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert auroc(scores, labels) == pytest.approx(0.75)
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


counts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12)


@given(counts)
def test_counted_scores_are_those_of_all_pixels(counts: list[tuple[int, int]]) -> None:
    positives, negatives = np.array(counts).T
    scores = np.concatenate([np.repeat(np.arange(len(counts)), each) for each in (positives, negatives)]).astype(float)
    labels = np.repeat([True, False], [positives.sum(), negatives.sum()])
    whole, counted = average_precision(scores, labels), average_precision(*as_scores(positives, negatives))
    assert counted == (None if whole is None else pytest.approx(whole, abs=1e-9))
    assert auroc(scores, labels) == pytest.approx(auroc(*as_scores(positives, negatives)))
    drawn = average_precisions(positives[None], negatives[None])[0]
    assert np.isnan(drawn) if whole is None else drawn == pytest.approx(whole, abs=1e-9)


@given(pairs)
def test_the_largest_f1_is_that_of_the_best_threshold(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = split(pairs)
    found = f1_max(scores, labels)
    if found is None:
        assert not labels.any()
        return
    reached = {each: 2 * (labels & (scores >= each)).sum() / ((scores >= each).sum() + labels.sum()) for each in scores}
    assert found[0] == pytest.approx(max(reached.values()))
    assert reached[np.float32(found[1])] == pytest.approx(found[0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 1.0]))
def test_au_pro_is_the_area_under_the_overlaps_of_all_thresholds(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    bins = 6
    maps = rng.integers(0, bins, (2, 8, 8))
    regions = [(0, np.s_[0:3, 0:3]), (0, np.s_[5:8, 5:7]), (1, np.s_[2:4, 2:8])]
    normal = np.ones(maps.shape, bool)
    for image, where in regions:
        normal[image][where] = False
    curve = [(0.0, 0.0)]
    for threshold in range(bins - 1, -1, -1):
        overlap = np.mean([(maps[image][where] >= threshold).mean() for image, where in regions])
        curve.append((float((maps[normal] >= threshold).mean()), float(overlap)))
    fine = np.linspace(0, limit, 20_001)
    x, y = np.array(curve).T
    expected = np.trapezoid(np.interp(fine, x, y), fine) / limit
    counted = np.stack([np.bincount(maps[image][where].ravel(), minlength=bins) for image, where in regions])
    found = au_pro(counted, np.bincount(maps[normal], minlength=bins), limit)
    assert found == pytest.approx(expected, abs=2e-3)
