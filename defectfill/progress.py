"""Progress on the terminal, with an estimate of the time left."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], label: str, *, done: int = 0, total: int | None = None, shown: bool = True
) -> Iterable[Item]:
    """The items, counted on stderr behind `label`, if shown; `done` of `total` were finished before.

    In a log file, which no one watches, a line is written every ten seconds at most.
    """
    watched = sys.stderr.isatty()
    interval = 0.2 if watched else 10
    return tqdm(items, desc=label, initial=done, total=total, mininterval=interval, leave=True, disable=not shown)
