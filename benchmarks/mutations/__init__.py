"""The broken inputs of benchmarks.broken: what of a finished run is broken, how, and what is right then."""

import random
from collections.abc import Iterator

from benchmarks.mutations import bases, configs, datasets, foresight, machine, pictures, readers, readings, steps
from benchmarks.mutations.common import CANARY, ELSEWHERE, Sandbox, Trial

__all__ = ["CANARY", "ELSEWHERE", "Sandbox", "Trial", "trials"]


def trials(seed: int) -> Iterator[Trial]:
    """Yield those that are listed, then others at random without an end."""
    for module in (configs, pictures, datasets, steps, bases, readings, foresight, machine, readers):
        yield from module.trials()
    rng, number = random.Random(seed), 0
    while True:
        number += 1
        for random_trial in (configs.random_trial, pictures.random_trial, datasets.random_trial):
            yield random_trial(rng, number)
