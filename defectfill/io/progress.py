"""Progress on the terminal, with an estimate of the time left, and to whoever else wants to know."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

Listener = Callable[[str, float], None]
"""Takes a label and the share of its items that are done, in [0, 1]."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
TOLD_EVERY_S = 10
"""Seconds between two calls of the listener."""


def refresh_seconds() -> float:
    """Return how often a bar is drawn at most: in a log file, which no one watches, every ten seconds."""
    return 0.2 if sys.stderr.isatty() else 10


class ProgressBar:
    """A bar on stderr with items done, per second and time left; the listener of `listening` hears of it.

    done: of `total` items, those that were finished before, which do not count for the items per second.
    """

    def __init__(
        self, label: str, *, done: int = 0, total: int | None = None, unit: str = "it", shown: bool = True
    ) -> None:
        self.label, self.total = label, total
        self._bar = tqdm(
            desc=label, initial=done, total=total, unit=unit, mininterval=refresh_seconds(), disable=not shown
        )
        self._listener = _listener.get() if shown and total else None
        self._done, self._told_at, self._told = done, time.monotonic(), -1

    def set(self, done: int) -> None:
        """Say how many items are done now."""
        self._bar.update(done - self._done)
        self._done = done
        if time.monotonic() - self._told_at >= TOLD_EVERY_S:
            self._tell()

    def advance(self) -> None:
        """Say that one more item is done."""
        self.set(self._done + 1)

    def close(self) -> None:
        """Draw the bar for the last time; a listener that has heard of it hears the end."""
        if self._told not in (-1, self._done):
            self._tell()
        self._bar.close()

    def _tell(self) -> None:
        if self._listener and self.total:
            self._listener(self.label, self._done / self.total)
        self._told_at, self._told = time.monotonic(), self._done


def progress(
    items: Iterable[Item], label: str, *, done: int = 0, total: int | None = None, shown: bool = True
) -> Iterator[Item]:
    """Yield the items, counted by a `ProgressBar` behind `label`, if shown; `done` of `total` were finished before."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    bar = ProgressBar(label, done=done, total=total, shown=shown)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of what takes longer than TOLD_EVERY_S inside the context, as often, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
