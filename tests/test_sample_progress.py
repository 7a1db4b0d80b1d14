"""One bar per defect goes over all its shards, whoever paints them."""

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_plan import run_of

from benchmarks.scale import painted_row, write_shard
from defectfill.io import progress
from defectfill.io.files import new_folder, write_bytes
from defectfill.io.progress import listening
from defectfill.records.plan import Shard
from defectfill.runs import sample_progress as module
from defectfill.runs.run import Run
from defectfill.runs.sample_progress import sample_progress

Heard = list[tuple[str, float]]


def shard(defect: str, number: int) -> Shard:
    return Shard(defect, 10 * number, 10 * number + 10)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def last_is(heard: Heard, label: str, share: float) -> bool:
    return heard[-1:] == [(label, share)]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """What a listener is told in a context that looks often."""
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.02)
    monkeypatch.setattr(module, "refresh_seconds", lambda: 0.02)
    monkeypatch.setattr(progress, "TOLD_EVERY_S", 0)
    return []


@pytest.fixture
def run(toy_config: Path) -> Run:
    """A run of which one shard is painted."""
    run = run_of(toy_config, 40, shard_size=10)
    write_shard(run, shard("hole", 0), painted_row(run))
    return run


def test_a_bar_counts_the_samples_of_all_shards_of_a_defect_from_those_painted_before(
    run: Run, heard: Heard, capfd: pytest.CaptureFixture[str]
) -> None:
    to_do = {shard("hole", 1): 0.5, shard("hole", 2): 0.75, shard("hole", 3): 1, shard("scratch", 0): 1}
    with listening(lambda *told: heard.append(told)), sample_progress(run, list(to_do)):
        for each, share in to_do.items():
            write_shard(run, each, painted_row(run))
            wait_for(partial(heard.__contains__, (f"inpaint {each.defect}", share)))
    hole = [share for label, share in heard if label == "inpaint hole"]
    assert hole == sorted(hole)
    assert {0.5, 0.75, 1.0} <= set(hole) <= {0.25, 0.5, 0.75, 1.0}
    assert heard[-1] == ("inpaint scratch", 1.0)
    drawn = capfd.readouterr().err
    assert re.search(r"inpaint hole: 100% 40/40, .*samples/s, in 0:\d\d", drawn)
    assert re.search(r"inpaint scratch: 100% 10/10, ", drawn)


def test_a_bar_counts_the_samples_of_a_shard_that_is_being_painted_and_shards_painted_elsewhere(
    run: Run, heard: Heard
) -> None:
    with (
        listening(lambda *told: heard.append(told)),
        sample_progress(run, [shard("hole", 1), shard("hole", 2)]) as told,
    ):
        with new_folder(run.shard_folder(shard("hole", 1))) as folder:
            write_bytes(folder / "images/hole/hole-000010.png", b"")
            write_bytes(folder / "rejected/images/hole/hole-000011.png", b"")
            write_bytes(folder / "images/good/vae-hole-000010.png", b"")
            wait_for(partial(last_is, heard, "inpaint hole", 12 / 30))
        told(shard("hole", 2))
        wait_for(partial(last_is, heard, "inpaint hole", 1))


def test_a_defect_whose_name_is_a_pattern_is_counted_too(
    run: Run, heard: Heard, capfd: pytest.CaptureFixture[str]
) -> None:
    with listening(lambda *told: heard.append(told)), sample_progress(run, [shard("hole[1]", 0)]):
        with new_folder(run.shard_folder(shard("hole[1]", 0))) as folder:
            for number in range(10):
                write_bytes(folder / f"images/hole[1]/{number}.png", b"")
        wait_for(partial(last_is, heard, "inpaint hole[1]", 1))
    assert "10 kept, 0 rejected" in capfd.readouterr().err


def test_a_round_that_fails_ends_its_bars(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), sample_progress(run, [shard("hole", 1)]):
        raise ZeroDivisionError


def test_a_listener_that_fails_does_not_end_the_painting(
    run: Run, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(label: str, share: float) -> None:
        heard.append((label, share))
        raise ConnectionError("the server is away")

    with listening(unreachable), sample_progress(run, [shard("hole", 1), shard("hole", 2)]):
        write_shard(run, shard("hole", 1), painted_row(run))
        wait_for(partial(heard.__contains__, ("inpaint hole", 20 / 30)))
        write_shard(run, shard("hole", 2), painted_row(run))
        wait_for(partial(heard.__contains__, ("inpaint hole", 1)))
    assert "progress is not shown: the server is away" in caplog.text
