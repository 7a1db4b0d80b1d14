"""The tables of the report: funnel, timings, what the run was made with, what became of it in a consumer's hands."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import yaml

from defectfill.dataset.report.training import Training
from defectfill.dataset.summary import DefectSummary
from defectfill.runs.run import Run
from defectfill.runs.timings import TimingLine, timing_lines

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "scikit-image", "pyarrow")


@dataclass(frozen=True)
class Stage:
    """A part of the planned samples of a defect."""

    name: str
    count: int
    share: float
    """Of those planned or painted, in percent."""


def funnel(outcome: DefectSummary) -> list[Stage]:
    """Return what became of the planned samples of a defect: kept first, then by reason."""
    counts = {"kept": outcome.kept, **outcome.rejected, "no room": outcome.no_room, "surplus": outcome.surplus}
    total = max(outcome.planned + outcome.surplus, 1)
    return [Stage(name, count, 100 * count / total) for name, count in counts.items() if count]


@dataclass(frozen=True)
class StepTime:
    """All runs of a step together."""

    step: str
    times: int
    seconds: float
    per_sample: float | None
    """Median seconds."""
    peak_gib: float


def step_times(run: Run) -> list[StepTime]:
    """Return the time and memory of each step, in the order in which they first ran."""
    steps: dict[str, list[TimingLine]] = {}
    for line in timing_lines(run):
        steps.setdefault(line.step, []).append(line)
    return [_step_time(step, each) for step, each in steps.items()]


def _step_time(step: str, lines: list[TimingLine]) -> StepTime:
    painted = [line.seconds / line.painted for line in lines if line.painted]
    return StepTime(
        step=step,
        times=len(lines),
        seconds=sum(line.seconds for line in lines),
        per_sample=statistics.median(painted) if painted else None,
        peak_gib=max(line.peak_gib for line in lines),
    )


def facts_of(run: Run, trainings: list[Training]) -> Iterator[tuple[str, str]]:
    """Yield what tells a run from all others: name and value."""
    record = run.record
    yield "run", run.folder.name
    yield "dataset", run.dataset_uri
    yield "painter", run.config.generate.painter
    if run.config.generate.uses_base:
        yield "base model", f"{record.base.model}, revision {record.base.revision}"
        yield "device", record.device
    yield "selection by", record.distance
    yield "data", record.data_digest
    for training in trainings:
        yield f"adapter {training.name}", training.adapter_sha256
    packages = {**{name: version(name) for name in PACKAGES}, **(trainings[0].versions if trainings else {})}
    yield "defectfill", f"{version('defectfill')}, method {record.method_version}"
    yield "packages", ", ".join(f"{name} {number}" for name, number in sorted(packages.items()))
    bases = f"; the base model {record.base.model} has its own" if run.config.generate.uses_base else ""
    yield "licences", f"The images derive from the photographs they were painted on and inherit their licence{bases}."


def config_text(run: Run) -> str:
    """Return the whole config as YAML."""
    return yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
