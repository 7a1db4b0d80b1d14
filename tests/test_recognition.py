"""The classifier of painted defects: what it can tell apart, and what it must not look at."""

import numpy as np
import torch

from defectfill.model.base.base import Base
from defectfill.model.evaluation.recognition import fit_recognizer
from defectfill.painting.window import Window

SIDE = 64


def window(seed: int, level: float | None = None, radius: int = 8) -> Window:
    """Return grey noise with a disc mask; within it a grey `level`, or nothing drawn."""
    rng = np.random.default_rng(seed)
    image = np.clip(0.5 + 0.03 * rng.standard_normal((SIDE, SIDE, 3)), 0, 1).astype(np.float32)
    row, column = rng.integers(16, SIDE - 16, size=2)
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    if level is not None:
        image[mask] = level
    return Window((0, 0, SIDE, SIDE), image, mask)


def test_defects_that_differ_are_told_apart_and_the_unpainted_are_good(base: Base) -> None:
    levels = {"good": None, "pale": 0.9, "dark": 0.1}
    examples = {name: [window(seed, level) for seed in range(12)] for name, level in levels.items()}
    recognizer = fit_recognizer(base, examples)
    unseen = [window(100 + seed, level) for seed in range(8) for level in levels.values()]
    assert recognizer.classify(unseen) == ["good", "pale", "dark"] * 8


def test_an_outline_without_a_defect_in_it_is_good(base: Base) -> None:
    examples = {
        "good": [window(seed, radius=radius) for seed in range(8) for radius in (4, 12)],
        "small": [window(seed, 0.1, radius=4) for seed in range(12)],
        "large": [window(seed, 0.9, radius=12) for seed in range(12)],
    }
    recognizer = fit_recognizer(base, examples)
    for radius, name, level in ((4, "small", 0.1), (12, "large", 0.9)):
        assert recognizer.classify([window(50 + seed, level, radius) for seed in range(6)]) == [name] * 6
        assert recognizer.classify([window(50 + seed, radius=radius) for seed in range(6)]) == ["good"] * 6


def test_the_same_windows_give_the_same_classifier(base: Base) -> None:
    examples = {"good": [window(seed) for seed in range(6)], "dark": [window(seed, 0.1) for seed in range(6)]}
    first, second = fit_recognizer(base, examples), fit_recognizer(base, examples)
    assert torch.equal(first.weights, second.weights)
