"""Painters in processes of their own, one per GPU: python -m defectfill.synthesis.painter_pool RUN_FOLDER.

Such a process reads names of shards, a line each, paints them with a base that stays loaded, and answers each with a
line of JSON. It ends with its starter, also when that is killed: it waits for the end of its standard input, a pipe
that only the starter holds.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from defectfill.adapters.processes import ERRORS
from defectfill.io.errors import DefectFillError, ModelError, is_full_disk
from defectfill.records.plan import Shard
from defectfill.runs.run import Run
from defectfill.synthesis.shards import inpaint_shard

log = logging.getLogger(__name__)


class PainterProcess:
    """A painting process; started anew for the next shard when it has died."""

    def __init__(self, run: Run, number: int) -> None:
        self.run_folder, self.environment = run.folder, _environment(run, number)
        self.process: subprocess.Popen[str] | None = None

    def paint(self, shard: str) -> None:
        """Paint the shard of that name, or raise what went wrong; ModelError, worth a retry, when the process dies."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{shard}\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is noticed below
        for line in process.stdout:
            answer = json.loads(line)
            if "log" in answer:
                log.log(answer["level"], "%s", answer["log"])
            elif "errno" in answer:
                raise OSError(answer["errno"], answer["problem"])
            elif "error" in answer:
                raise ERRORS[answer["error"]](answer["problems"])
            else:
                return
        raise ModelError(f"{shard}: the process that painted it ended (status {process.wait()})")

    def _running(self) -> "subprocess.Popen[str]":
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "defectfill.synthesis.painter_pool", str(self.run_folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
        return self.process

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            with suppress(BrokenPipeError), self.process:
                self.process.kill()


def _environment(run: Run, number: int) -> dict[str, str]:
    """Return the environment of process `number`, for a run on GPUs with one of those that are visible.

    Threads are as many as in one process: with other numbers of them sums on a CPU round otherwise.
    """
    if not run.record.device.startswith("cuda"):
        return dict(os.environ)
    from defectfill.model.base.device import gpu_count

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(each) for each in range(max(gpu_count(), 1))]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}


class PainterPool:
    """Painting processes, each of which paints one shard at a time."""

    def __init__(self, processes: list[PainterProcess]) -> None:
        self.idle: queue.SimpleQueue[PainterProcess] = queue.SimpleQueue()
        for process in processes:
            self.idle.put(process)

    def paint(self, shard: Shard) -> None:
        """Paint a shard in the first process that is idle, waited for; raises as PainterProcess.paint.

        Safe to call from several threads.
        """
        process = self.idle.get()
        try:
            process.paint(shard.name)
        finally:
            self.idle.put(process)


@contextmanager
def open_painter_pool(run: Run, count: int) -> Iterator[PainterPool]:
    """Open a pool of so many processes that paint shards of a run; they end with the context."""
    processes = [PainterProcess(run, number) for number in range(count)]
    with ExitStack() as stack:
        for process in processes:
            stack.callback(process.close)
        yield PainterPool(processes)


class _LogLines(logging.Handler):
    """The library's log, sent to the starter."""

    def emit(self, record: logging.LogRecord) -> None:
        _answer(log=record.getMessage(), level=record.levelno)


def _answer(**content: object) -> None:
    print(json.dumps(content), flush=True)


def _read_names(names: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        names.put(line.strip())
    os._exit(1)


def main() -> None:
    """Paint the shards whose names come in until there are no more."""
    logging.getLogger("defectfill").addHandler(_LogLines())
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_names, args=(names,), daemon=True).start()
    run = Run.at(Path(sys.argv[1]))
    while True:
        shard = Shard.named(names.get())
        try:
            inpaint_shard(run, shard)
        except DefectFillError as error:
            _answer(error=type(error).__name__, problems=list(error.problems))
        except OSError as error:
            if not is_full_disk(error):
                raise
            _answer(errno=error.errno, problem=error.strerror)
        else:
            _answer(done=shard.name)


if __name__ == "__main__":
    main()
