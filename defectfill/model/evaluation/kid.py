"""Kernel Inception Distance of two sets of features, with its error.

Shapes: N, M images, F features.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from defectfill.io.hashing import derive_seed

Matrix = NDArray[np.float64]

LEAST_IMAGES = 5
"""Of fewer on either side no KID is told: its error would be as large as anything it could show."""
SUBSETS, SUBSET_SIZE = 100, 50


class Kid(BaseModel):
    """Kernel Inception Distance (Binkowski et al., ICLR 2018) of two sets of images; not times 1000."""

    model_config = ConfigDict(frozen=True)

    value: float
    """Mean over subsets of the unbiased squared MMD; around 0, and below it half of the time, for sets alike."""
    standard_error: float
    """Of the value, by the jackknife over the images of both sets: what other images would change. For sets alike it is
    about 1.4 times too large, so that what is more than two of it from 0 is no accident."""
    subset_size: int
    subsets: int
    images: tuple[int, int]


def kid(one: Matrix, other: Matrix, seed: int = 0) -> Kid | None:
    """Return the KID of features [N, F] and [M, F]; None where one has fewer than LEAST_IMAGES rows.

    Subsets are as large as the smaller set, at most SUBSET_SIZE.
    """
    images = len(one), len(other)
    if min(images) < LEAST_IMAGES:
        return None
    kernels = cubic_kernel(one, one), cubic_kernel(other, other), cubic_kernel(one, other)
    size = min(*images, SUBSET_SIZE)
    generator = np.random.default_rng(derive_seed(seed, "fidelity subsets"))
    values = []
    for _ in range(SUBSETS):
        rows, columns = (generator.choice(count, size, replace=False) for count in images)
        inner, outer, cross = kernels
        values.append(
            squared_mmd(inner[np.ix_(rows, rows)], outer[np.ix_(columns, columns)], cross[np.ix_(rows, columns)])
        )
    return Kid(
        value=float(np.mean(values)),
        standard_error=jackknife_error(*kernels),
        subset_size=size,
        subsets=SUBSETS,
        images=images,
    )


def cubic_kernel(one: Matrix, other: Matrix) -> Matrix:
    """Return (x . y / F + 1)^3 for all rows of [N, F] and [M, F]: [N, M]."""
    return (one @ other.T / one.shape[1] + 1) ** 3


def squared_mmd(inner: Matrix, outer: Matrix, cross: Matrix) -> float:
    """Return the unbiased squared maximum mean discrepancy (Gretton et al., JMLR 2012, Eq. 3) by kernels of two sets.

    inner: [N, N] within the one set, outer: [M, M] within the other, cross: [N, M].
    """
    return float(_mean_of_pairs(inner) + _mean_of_pairs(outer) - 2 * cross.mean())


def _mean_of_pairs(kernel: Matrix) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def jackknife_error(inner: Matrix, outer: Matrix, cross: Matrix) -> float:
    """Return the standard error of `squared_mmd`, by leaving out each image of both sets (at least 3 each)."""
    return float(np.sqrt(_jackknife_variance(inner, cross) + _jackknife_variance(outer, cross.T)))


def _jackknife_variance(inner: Matrix, cross: Matrix) -> float:
    """Return the part of the variance that comes from the images behind the rows [N, N] and [N, M]."""
    count, others = cross.shape
    off_diagonal = inner.sum(axis=1) - np.diag(inner)
    within = (off_diagonal.sum() - 2 * off_diagonal) / ((count - 1) * (count - 2))
    between = (cross.sum() - cross.sum(axis=1)) / ((count - 1) * others)
    left_out = within - 2 * between
    return float((count - 1) / count * np.square(left_out - left_out.mean()).sum())
