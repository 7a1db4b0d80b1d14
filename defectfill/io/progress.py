"""Progress on the terminal, with an estimate of the time left, and to whoever else wants to know."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
    bar = tqdm(items, desc=label, initial=done, total=total, mininterval=interval, leave=True, disable=not shown)
    listener = _listener.get()
    return _told(bar, label, done, bar.total, listener) if listener and shown else bar


Listener = Callable[[str, float], None]
"""Is told a label and the share of its items that are done, in [0, 1]."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
TOLD_EVERY_S = 10


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells a listener of what takes longer than TOLD_EVERY_S inside the context, as often, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def _told(items: Iterable[Item], label: str, done: int, total: float | None, listener: Listener) -> Iterator[Item]:
    last, told = time.monotonic(), False
    for item in items:
        yield item
        done += 1
        if total and time.monotonic() - last >= TOLD_EVERY_S:
            listener(label, done / total)
            last, told = time.monotonic(), True
    if total and told:
        listener(label, done / total)
