"""One bar per defect of the samples that are painted, whichever processes paint them."""

import glob
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context

import numpy as np
from numpy.typing import NDArray

from defectfill.io.files import PARTIAL
from defectfill.io.progress import ProgressBar, refresh_seconds
from defectfill.records.plan import Shard
from defectfill.runs.run import Run
from defectfill.runs.shards import NOT_KEPT, Outcome, finished_shards, sample_outcomes

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Between two readings of the disk."""


@contextmanager
def sample_progress(run: Run, shards: Sequence[Shard]) -> Iterator[Callable[[Shard], None]]:
    """Show a bar per defect of samples done, kept and rejected, while `shards` are painted in the context.

    What is done is read from the disk every now and then, so whatever paints need not report it; what is yielded takes
    a shard that has been painted on another machine. Painting goes on where progress cannot be shown.
    """
    counters = [_DefectProgress(run, defect, shards) for defect in dict.fromkeys(shard.defect for shard in shards)]
    elsewhere: set[Shard] = set()
    ended = threading.Event()

    def refresh() -> None:
        earlier_done = True
        with _logged_failure():
            for counter in counters:
                earlier_done = counter.refresh(elsewhere.copy(), open_bar=earlier_done) and earlier_done

    def watch() -> None:
        refresh()
        while not ended.wait(max(refresh_seconds(), LEAST_SECONDS)):
            refresh()

    watcher = threading.Thread(target=copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield elsewhere.add
    finally:
        ended.set()
        watcher.join()
        refresh()
        for counter in counters:
            with _logged_failure():
                counter.close()


@contextmanager
def _logged_failure() -> Iterator[None]:
    """Log what a listener raises, for instance when its server is away."""
    try:
        yield
    except Exception as error:
        log.warning("progress is not shown: %s", error)


class _DefectProgress:
    """The bar of one defect. It is opened when its first sample is painted, or those of the defects before it are."""

    def __init__(self, run: Run, defect: str, shards: Sequence[Shard]) -> None:
        self.label, self.folder = f"inpaint {defect}", run.folder / "shards" / defect
        self.waiting = {shard.name.rpartition("/")[2]: shard for shard in shards if shard.defect == defect}
        self.before = sum(map(_samples, finished_shards(run, defect)))
        self.total = self.before + sum(map(_samples, self.waiting.values()))
        self.finished, self.wanted = self.before, run.config.generate.count
        outcomes = sample_outcomes(run, defect)
        self.judged = np.array([np.isin(outcomes, each).sum() for each in (Outcome.KEPT, NOT_KEPT)])
        self.bar: ProgressBar | None = None

    def refresh(self, elsewhere: set[Shard], *, open_bar: bool) -> bool:
        """Show what is done now; return whether that is all."""
        if self.bar is not None and not self.waiting:
            return True
        found = {path.name for path in self.folder.glob("*")} | {shard.name.rpartition("/")[2] for shard in elsewhere}
        for name in found & self.waiting.keys():
            self.finished += _samples(self.waiting.pop(name))
            self.judged += self._judged_in(name)
        partial = {name: self._judged_in(name) for name in found if self._being_painted(name)}
        done = self.finished + sum(min(int(each.sum()), self._being_painted(name)) for name, each in partial.items())
        kept, rejected = sum(partial.values(), self.judged)
        if self.bar is None and (open_bar or done > self.before):
            self.bar = ProgressBar(self.label, done=self.before, total=self.total, unit="samples")
        if self.bar is not None:
            self.bar.set(done, "" if elsewhere else f"{kept} kept, {rejected} rejected of {self.wanted} wanted")
            if not self.waiting:
                self.bar.close()
        return not self.waiting

    def _being_painted(self, partial: str) -> int:
        """Return how many samples the shard has that is being painted in a folder; 0 for any other name."""
        name, marked, _ = partial.removeprefix(".").partition(PARTIAL)
        return _samples(self.waiting[name]) if marked and name in self.waiting else 0

    def _judged_in(self, name: str) -> NDArray[np.int64]:
        """Return how many samples in a shard's folder are kept and rejected, [2]."""
        images = f"images/{glob.escape(self.folder.name)}/*.png"
        return np.array([sum(1 for _ in (self.folder / name).glob(kind + images)) for kind in ("", "rejected/")])

    def close(self) -> None:
        if self.bar is not None and self.waiting:
            self.bar.close()


def _samples(shard: Shard) -> int:
    return shard.stop - shard.start
