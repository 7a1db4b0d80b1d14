"""AUROC and average precision, against slow and obvious versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectfill.model.evaluation.metrics import auroc, average_precision

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
