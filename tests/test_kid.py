"""Kernel Inception Distance and its error, against slow and obvious versions."""

import numpy as np
import pytest

from defectfill.model.evaluation.kid import (
    LEAST_IMAGES,
    SUBSET_SIZE,
    Matrix,
    cubic_kernel,
    jackknife_error,
    kid,
    squared_mmd,
)


def features_like(count: int, seed: int, shift: float = 0.0) -> Matrix:
    return np.random.default_rng(seed).normal(shift, 1, (count, 12))


def slow_squared_mmd(one: Matrix, other: Matrix) -> float:
    def kernel(x: Matrix, y: Matrix) -> float:
        return (sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    inner = [kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j]
    outer = [kernel(x, y) for i, x in enumerate(other) for j, y in enumerate(other) if i != j]
    cross = [kernel(x, y) for x in one for y in other]
    return float(np.mean(inner) + np.mean(outer) - 2 * np.mean(cross))


def kernels(one: Matrix, other: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    return cubic_kernel(one, one), cubic_kernel(other, other), cubic_kernel(one, other)


def test_the_kernel_is_scikit_learns() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    one, other = features_like(5, 0), features_like(7, 1)
    np.testing.assert_allclose(cubic_kernel(one, other), pairwise.polynomial_kernel(one, other, degree=3, coef0=1))


def test_the_squared_mmd_is_a_mean_over_pairs() -> None:
    one, other = features_like(5, 0), features_like(8, 1, shift=0.3)
    assert squared_mmd(*kernels(one, other)) == pytest.approx(slow_squared_mmd(one, other))


def test_the_error_is_had_by_leaving_out_every_image() -> None:
    one, other = features_like(6, 0), features_like(9, 1)
    variance = 0.0
    for left, right, swapped in ((one, other, False), (other, one, True)):
        values = []
        for index in range(len(left)):
            rest = np.delete(left, index, axis=0)
            values.append(slow_squared_mmd(right, rest) if swapped else slow_squared_mmd(rest, right))
        variance += (len(left) - 1) / len(left) * sum((value - np.mean(values)) ** 2 for value in values)
    assert jackknife_error(*kernels(one, other)) == pytest.approx(np.sqrt(variance))


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 1.0, 1.8), (1.0, 0.75, 1.33)])
def test_the_error_is_what_other_images_change_or_more(shift: float, least: float, most: float) -> None:
    """Around 0 the statistic is degenerate, and the jackknife doubles its variance."""
    values, errors = [], []
    for seed in range(60):
        found = kid(features_like(20, 2 * seed), features_like(20, 2 * seed + 1, shift))
        assert found is not None
        values.append(found.value)
        errors.append(found.standard_error)
    assert least < np.mean(errors) / np.std(values) < most
    if not shift:  # unbiased
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_the_whole_sets_are_the_only_subset_of_their_size() -> None:
    one, other = features_like(LEAST_IMAGES, 0), features_like(LEAST_IMAGES, 1)
    found = kid(one, other, seed=7)
    assert found is not None
    assert found.value == pytest.approx(slow_squared_mmd(one, other))
    assert (found.subset_size, found.images) == (LEAST_IMAGES, (LEAST_IMAGES, LEAST_IMAGES))


def test_subsets_of_many_come_near_to_all() -> None:
    one, other = features_like(120, 0), features_like(90, 1, shift=0.5)
    found = kid(one, other)
    assert found is not None
    assert found.subset_size == SUBSET_SIZE
    assert found.value == pytest.approx(squared_mmd(*kernels(one, other)), rel=0.1)
    assert found == kid(one, other)
    assert found.value != kid(one, other, seed=1).value  # type: ignore[union-attr]


def test_too_few_images_have_no_kid() -> None:
    assert kid(features_like(LEAST_IMAGES - 1, 0), features_like(50, 1)) is None
    assert kid(features_like(50, 0), features_like(LEAST_IMAGES - 1, 1)) is None
