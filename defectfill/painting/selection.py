"""Which of a sample's candidates is taken."""

import numpy as np
from numpy.typing import NDArray


def select_low_fidelity(scores: NDArray[np.float32]) -> int:
    """Index of the least reconstructed candidate: the largest of the scores [K] but nan; the first one of equals.

    Low-Fidelity Selection, section 3.4 of the paper.
    """
    return int(np.nanargmax(scores))
