"""Time and memory of each step of a run: a line of JSON each, in timings.jsonl of the run's folder."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from defectfill.runs.run import Run

TIMINGS_FILE = "timings.jsonl"
KIB_PER_GIB = 2**20


class TimingLine(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True)

    step: str
    seconds: float
    peak_gib: float
    painted: int | None = None
    """Samples, of a step that paints."""


@contextmanager
def timed(run: Run, step: str, **facts: Any) -> Iterator[None]:
    """Note the duration of the context under the name of the step, with facts, when it ends well."""
    start = time.monotonic()
    yield
    line = {"step": step, **facts, "seconds": round(time.monotonic() - start, 3), "peak_gib": round(_peak_gib(), 3)}
    with (run.folder / TIMINGS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _peak_gib() -> float:
    """Return the most memory used so far: of the GPU where this process uses one, else of the process."""
    if "torch" in sys.modules:
        from defectfill.model.base.memory import peak_gpu_gib

        if (peak := peak_gpu_gib()) is not None:
            return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


def timing_lines(run: Run) -> list[TimingLine]:
    """Return the lines of a run's steps, oldest first, but those that a killed process left unfinished."""
    path, lines = run.folder / TIMINGS_FILE, list[TimingLine]()
    for text in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValidationError):
            lines.append(TimingLine.model_validate_json(text))
    return lines


def seconds_per(run: Run) -> dict[str, float]:
    """Return the median seconds of a training ("train") and a painted sample ("inpaint"), as far as there are any."""
    found: dict[str, list[float]] = {}
    for line in timing_lines(run):
        if line.painted != 0:
            found.setdefault(line.step, []).append(line.seconds / (line.painted or 1))
    return {step: statistics.median(each) for step, each in found.items()}
