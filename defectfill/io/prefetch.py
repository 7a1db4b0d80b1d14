"""Stages of a pipeline that work at the same time."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item], most: int) -> Iterator[Item]:
    """Yield the items in order; another thread makes up to `most` of them before they are asked for.

    What goes wrong there is raised here, in its place.
    """
    end = object()
    worker = ThreadPoolExecutor(1)
    try:
        waiting: deque[Future[Item | object]] = deque(worker.submit(next, items, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(worker.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        worker.shutdown(cancel_futures=True)
