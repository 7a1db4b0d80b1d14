"""Low-Fidelity Selection and the one reason to reject a sample."""

import numpy as np
import pytest

from defectfill.selection import REASONS, judge, select_low_fidelity


@pytest.mark.parametrize(
    ("scores", "chosen"), [([0.3], 0), ([0.1, 0.4, 0.2], 1), ([0.2, 0.5, 0.5], 1), ([0.0, 0.0], 0)]
)
def test_the_least_reconstructed_candidate_is_chosen(scores: list[float], chosen: int) -> None:
    assert select_low_fidelity(np.array(scores, np.float32)) == chosen


@pytest.mark.parametrize(
    ("drawn_fraction", "least", "reason"),
    [
        (0.0, 0.0, "nothing_drawn"),
        (0.0, 0.05, "nothing_drawn"),
        (0.0499, 0.05, "nothing_drawn"),
        (0.05, 0.05, None),
        (1e-4, 0.0, None),
        (1.0, 1.0, None),
    ],
)
def test_a_sample_is_kept_where_enough_of_its_mask_changed(
    drawn_fraction: float, least: float, reason: str | None
) -> None:
    assert judge(drawn_fraction, least) == reason
    assert reason is None or reason in REASONS
