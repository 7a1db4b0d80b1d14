"""The choice of one of a sample's candidates."""

import numpy as np
from numpy.typing import NDArray


def select_low_fidelity(scores: NDArray[np.float32]) -> int:
    """Return the index of the least reconstructed candidate, which has the largest of the scores [K]; nan never has.

    Of equals the first. Low-Fidelity Selection, section 3.4 of the paper.
    """
    return int(np.nanargmax(scores))
