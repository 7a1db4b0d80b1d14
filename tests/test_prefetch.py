"""Items that another thread makes before they are asked for."""

import threading
from collections.abc import Iterator

import pytest

from defectfill.io.prefetch import prefetch


def test_items_come_in_order_and_made_by_one_other_thread() -> None:
    makers = set()

    def items() -> Iterator[int]:
        for number in range(50):
            makers.add(threading.get_ident())
            yield number

    assert list(prefetch(items(), 3)) == list(range(50))
    assert len(makers) == 1
    assert threading.get_ident() not in makers


def test_no_more_are_made_than_asked_for_and_the_bound() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    taken = prefetch(items(), 3)
    assert [next(taken), next(taken)] == [0, 1]
    taken.close()  # type: ignore[attr-defined]
    assert len(made) <= 2 + 3


def test_while_one_is_used_the_next_is_made() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    for _ in prefetch(items(), 1):
        assert made.wait(timeout=10)


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("the second")

    taken = prefetch(items(), 3)
    assert next(taken) == 0
    with pytest.raises(ValueError, match="the second"):
        next(taken)
