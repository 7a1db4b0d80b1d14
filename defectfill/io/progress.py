"""Progress on the terminal, with an estimate of the time left, and to whoever else wants to know."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from defectfill.io.terminal import LINE_EVERY_S, REDRAWN_EVERY_S, is_live, open_bar

Item = TypeVar("Item")

Listener = Callable[[str, float], None]
"""Takes a label and the share of its items that are done, in [0, 1]."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
TOLD_EVERY_S = 10
"""Seconds between two calls of the listener."""


def refresh_seconds() -> float:
    """Return how often a bar is drawn at most: in a log file, which no one watches, more rarely."""
    return REDRAWN_EVERY_S if is_live() else LINE_EVERY_S


class ProgressBar:
    """A bar on stderr with items done, per second and time left; the listener of `listening` hears of it.

    done: of `total` items, those that were finished before, which do not count for the items per second.
    """

    def __init__(
        self, label: str, *, done: int = 0, total: int | None = None, unit: str = "it", shown: bool = True
    ) -> None:
        self.label, self.total = label, total
        self._bar = open_bar(label, done, total, unit) if shown else None
        self._listener = _listener.get() if shown and total else None
        self._done, self._note, self._told_at, self._told = done, "", time.monotonic(), -1

    def set(self, done: int, note: str = "") -> None:
        """Say how many items are done now, and what else is to be said of them."""
        self._done, self._note = done, note
        if self._bar:
            self._bar.draw(done, note)
        if time.monotonic() - self._told_at >= TOLD_EVERY_S:
            self._tell()

    def advance(self) -> None:
        """Say that one more item is done."""
        self.set(self._done + 1)

    def close(self) -> None:
        """Draw the bar for the last time; a listener that has heard of it hears the end."""
        if self._bar:
            self._bar.close(self._done, self._note)
            self._bar = None
        if self._told not in (-1, self._done):
            self._tell()

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
