"""How a progress bar is drawn: live on a terminal, all open ones together; in plain lines elsewhere and under CI."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LINE_EVERY_S = 10.0
"""Seconds between two plain lines of a bar."""
REDRAWN_EVERY_S = 0.2
MEASURABLE_S = 0.01
"""Of what took less, all found done at once for instance, no items per second are told."""
MEMORY_READ_EVERY_S = 1.0
WIDE = 130
"""Columns of a terminal that has room for long bars and the device's memory beside them."""


class Bar(Protocol):
    """One bar, as it is drawn."""

    def draw(self, done: int, note: str) -> None:
        """Show how many items are done, and what is said of them."""
        ...

    def close(self, done: int, note: str) -> None:
        """Show it for the last time."""
        ...


def is_live() -> bool:
    """Return whether someone watches standard error: a terminal that can redraw lines, and not one of CI."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def open_bar(label: str, done: int, total: int | None, unit: str) -> Bar:
    """Open a bar of so many items, of which some were done before."""
    return LiveBar(label, done, total, unit) if is_live() else PlainBar(label, done, total, unit)


class PlainBar:
    """Lines on standard error, one every LINE_EVERY_S seconds and one in the end."""

    def __init__(self, label: str, done: int, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit, self.before = label, total, unit, done
        self.begun = self.told_at = time.monotonic()
        self.told = done

    def draw(self, done: int, note: str) -> None:
        """Write a line, if the last one is old enough."""
        if time.monotonic() - self.told_at >= LINE_EVERY_S:
            self._tell(done, note)

    def close(self, done: int, note: str) -> None:
        """Write the last line, unless it is written already, or nothing was done."""
        if done > self.told:
            self._tell(done, note)

    def line(self, done: int, note: str) -> str:
        """Return the line: how many are done, per second, and the time that is left or that all took."""
        took = time.monotonic() - self.begun
        rate = (done - self.before) / max(took, 1e-6)
        share = f" {done / self.total:.0%}" if self.total else ""
        is_over = not self.total or done >= self.total or not rate
        clock = f"in {_clock(took)}" if is_over else f"{_clock(((self.total or 0) - done) / rate)} left"
        count = f"{done}/{self.total}" if self.total else f"{done}"
        pace = f" {rate:.3g} {self.unit}/s," if took >= MEASURABLE_S else ""
        return f"{self.label}:{share} {count},{pace} {clock}{note and f'; {note}'}"

    def _tell(self, done: int, note: str) -> None:
        print(self.line(done, note), file=sys.stderr, flush=True)
        self.told, self.told_at = done, time.monotonic()


class LiveBar:
    """A bar of the view that all open ones share; it stays on the terminal as it was in the end."""

    def __init__(self, label: str, done: int, total: int | None, unit: str) -> None:
        with _VIEW.lock:
            self.task = _VIEW.open().add_task(label, completed=done, total=total, note="", unit=unit)

    def draw(self, done: int, note: str) -> None:
        """Show it with the next redrawing."""
        _VIEW.open().update(self.task, completed=done, note=note)

    def close(self, done: int, note: str) -> None:
        """Leave its last line above the view, which ends with its last bar."""
        with _VIEW.lock:
            self.draw(done, note)
            _VIEW.leave(self.task)


class _View:
    """The one live view of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.progress: Progress | None = None
        self.read_memory: Callable[[], str] = str

    def open(self) -> "Progress":
        """Return the view, begun if no bar is open."""
        with self.lock:
            if self.progress is None:
                self.progress = _new_progress()
                self.progress.start()
                atexit.register(self.progress.stop)  # of a process that fails: its cursor comes back
            return self.progress

    def leave(self, task_id: int) -> None:
        """Print a bar's last line and remove it."""
        if self.progress is None:
            return
        task = next(task for task in self.progress.tasks if task.id == task_id)
        task.stop_time = task.get_time()
        last = self.progress.make_tasks_table([task])
        self.progress.remove_task(task.id)
        self.progress.refresh()
        self.progress.console.print(last)
        if not self.progress.tasks:
            self.progress.stop()
            atexit.unregister(self.progress.stop)
            self.progress = None


_VIEW = _View()


def show_memory(read: Callable[[], str]) -> None:
    """Have the live view show from now on what `read` says of the device's memory."""
    _VIEW.read_memory = read


@lru_cache(maxsize=1)
def console() -> "Console":
    """Return the terminal that the view is on; what is printed there comes above the bars."""
    from rich.console import Console

    return Console(stderr=True)


def _new_progress() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress_bar import ProgressBar
    from rich.table import Column
    from rich.text import Text

    class Share(BarColumn):
        """The bar itself, shorter where there is little room."""

        def render(self, task: Task) -> ProgressBar:
            self.bar_width = 24 if console().width >= WIDE else 8
            return super().render(task)

    class Pace(ProgressColumn):
        """Items per second, and the time that is left, or that all took."""

        def render(self, task: Task) -> Text:
            left = None if task.finished or task.stop_time is not None else task.time_remaining
            clock = f"{_clock(task.elapsed or 0)}" if left is None else f"{_clock(left)} left"
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g} {task.fields['unit']}/s, {clock}" if speed else clock)

    class Note(ProgressColumn):
        """What is said of the items, cut off where it does not fit: a second line would be taken for another bar's."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")

    class Memory(ProgressColumn):
        max_refresh = MEMORY_READ_EVERY_S

        def render(self, task: Task) -> Text:
            return Text(_VIEW.read_memory() if console().width >= WIDE else "", style="dim")

    def whole() -> Column:
        return Column(no_wrap=True)

    return Progress(
        TextColumn("{task.description}", markup=False),
        Share(table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        Pace(table_column=whole()),
        Note(),
        Memory(table_column=whole()),
        console=console(),
        refresh_per_second=1 / REDRAWN_EVERY_S,
        redirect_stdout=False,
    )


def _clock(seconds: float) -> str:
    """Return a time as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
