"""One bar per defect of the samples that are painted, whichever processes paint them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context

from defectfill.io.files import PARTIAL
from defectfill.io.progress import ProgressBar, refresh_seconds
from defectfill.records.plan import Shard
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards

LEAST_SECONDS = 1.0
"""Between two readings of the disk."""


@contextmanager
def sample_progress(run: Run, shards: Sequence[Shard]) -> Iterator[Callable[[Shard], None]]:
    """Show a bar per defect of samples done, per second and time left, while `shards` are painted in the context.

    What is done is read from the disk every now and then, so whatever paints need not tell; what is yielded takes a
    shard that has been painted on another machine.
    """
    counters = [_DefectProgress(run, defect, shards) for defect in dict.fromkeys(shard.defect for shard in shards)]
    elsewhere: set[Shard] = set()
    ended = threading.Event()

    def refresh() -> None:
        earlier_done = True
        for counter in counters:
            earlier_done = counter.refresh(elsewhere, open_bar=earlier_done) and earlier_done

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
            counter.close()


class _DefectProgress:
    """The bar of one defect. It is opened when its first sample is painted, or those of the defects before it are."""

    def __init__(self, run: Run, defect: str, shards: Sequence[Shard]) -> None:
        self.label, self.folder = f"inpaint {defect}", run.folder / "shards" / defect
        self.waiting = {shard.name.rpartition("/")[2]: shard for shard in shards if shard.defect == defect}
        self.before = sum(map(_samples, finished_shards(run, defect)))
        self.total = self.before + sum(map(_samples, self.waiting.values()))
        self.finished = self.before
        self.bar: ProgressBar | None = None

    def refresh(self, elsewhere: set[Shard], *, open_bar: bool) -> bool:
        """Show what is done now; return whether that is all."""
        if self.bar is not None and not self.waiting:
            return True
        found = {path.name for path in self.folder.glob("*")} | {shard.name.rpartition("/")[2] for shard in elsewhere}
        for name in found & self.waiting.keys():
            self.finished += _samples(self.waiting.pop(name))
        done = self.finished + sum(self._painted_of(name) for name in found)
        if self.bar is None and (open_bar or done > self.before):
            self.bar = ProgressBar(self.label, done=self.before, total=self.total, unit=" samples")
        if self.bar is not None:
            self.bar.set(done)
            if not self.waiting:
                self.bar.close()
        return not self.waiting

    def _painted_of(self, partial: str) -> int:
        """Return how many samples are in the folder of a shard that is being painted; 0 for any other name."""
        name, marked, _ = partial.removeprefix(".").partition(PARTIAL)
        if not marked or name not in self.waiting:
            return 0
        folder, images = self.folder / partial, f"images/{self.folder.name}/*.png"
        painted = len({path.name for kind in ("", "rejected/") for path in folder.glob(kind + images)})
        return min(painted, _samples(self.waiting[name]))

    def close(self) -> None:
        if self.bar is not None and self.waiting:
            self.bar.close()


def _samples(shard: Shard) -> int:
    return shard.stop - shard.start
