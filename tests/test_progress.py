"""Whoever listens is told how far what takes long has come."""

import pytest

from defectfill.io import progress as module
from defectfill.io.progress import listening, progress


def test_a_listener_hears_of_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, float]] = []
    with listening(lambda *told: heard.append(told)):
        assert list(progress(range(3), "quick")) == [0, 1, 2]
        assert heard == []
        monkeypatch.setattr(module, "TOLD_EVERY_S", 0)
        assert list(progress(iter("ab"), "slow", done=2, total=4)) == ["a", "b"]
        assert list(progress(iter("ab"), "of unknown length")) == ["a", "b"]
    assert heard == [("slow", 0.75), ("slow", 1.0)]
    list(progress(range(3), "unheard"))
    assert len(heard) == 2
