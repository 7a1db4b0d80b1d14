"""Which candidate is kept (Low-Fidelity Selection), and whether the sample is."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Reason = Literal["nothing_drawn"]
"""Why a sample is rejected: a closed list."""

REASONS: tuple[str, ...] = get_args(Reason)


def select_low_fidelity(scores: NDArray[np.float32]) -> int:
    """Index of the least reconstructed candidate: the largest of the scores [K] but nan; the first one of equals.

    Low-Fidelity Selection, section 3.4 of the paper.
    """
    return int(np.nanargmax(scores))


def judge(drawn_fraction: float, min_drawn_fraction: float) -> Reason | None:
    """None for a sample to keep, else why it is rejected.

    nothing_drawn: less than `min_drawn_fraction` of the planned mask really changed.
    """
    return "nothing_drawn" if drawn_fraction < min_drawn_fraction or drawn_fraction == 0 else None
