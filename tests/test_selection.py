"""Low-Fidelity Selection."""

import numpy as np
import pytest

from defectfill.painting.selection import select_low_fidelity


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [([0.3], 0), ([0.1, 0.4, 0.2], 1), ([0.2, 0.5, 0.5], 1), ([0.0, 0.0], 0), ([np.nan, 0.1, np.nan], 1)],
)
def test_the_least_reconstructed_candidate_is_chosen(scores: list[float], chosen: int) -> None:
    assert select_low_fidelity(np.array(scores, np.float32)) == chosen
