"""Two runs side by side: what was asked for otherwise, what came of it, and the samples that both have planned."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defectfill.dataset.report.build import PAGE
from defectfill.dataset.report.page import render
from defectfill.dataset.report.samples import PaintedSample, painted_samples
from defectfill.dataset.report.scenes import DrawnSample, draw_scenes
from defectfill.dataset.report.training import training_records
from defectfill.dataset.summary import DefectSummary, summary
from defectfill.io.files import new_folder, write_bytes
from defectfill.records.manifest import ManifestRow
from defectfill.records.snapshot import references_of
from defectfill.runs.keys import compared_settings
from defectfill.runs.run import Run

MOST_PAIRS = 1000
MEDIANS = ("score", "planned_iou", "contrast", "appearance_distance", "mask_area_fraction")
"""Of the kept samples; of the score only where both runs select by the same distance."""


@dataclass(frozen=True)
class Difference:
    """Something that is otherwise in the second run; empty where a run does not have it."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Pair:
    """A sample that both runs have painted, each with its picture; None where that was not kept."""

    before: ManifestRow
    after: ManifestRow
    pictures: tuple[DrawnSample | None, DrawnSample | None]

    @property
    def is_judged_otherwise(self) -> bool:
        return self.before.reason != self.after.reason


def write_comparison(before: Run, after: Run) -> Path:
    """Write `compare-<first run>/` beside the dataset of the second run, and return its page; both are finished."""
    target = after.folder / f"compare-{before.folder.name}"
    with new_folder(target, replace=True) as made:
        write_bytes(made / PAGE, _page(before, after, made))
    return target / PAGE


def _page(before: Run, after: Run, folder: Path) -> bytes:
    runs = (before, after)
    outcomes = [summary(run.dataset).defects for run in runs]
    samples = [painted_samples(run) for run in runs]
    defects = list(dict.fromkeys([*outcomes[0], *outcomes[1]]))
    common = _common(*samples)
    same_distance = before.record.distance == after.record.distance
    medians = MEDIANS if same_distance else tuple(name for name in MEDIANS if name != "score")
    pairs = _pairs(common[:MOST_PAIRS], folder)
    return render(
        "compare.html",
        runs=runs,
        settings=list(_settings(*runs)),
        versions=list(_versions(*runs)),
        references=list(_references(*runs)),
        figures={defect: list(_figures(defect, outcomes, samples, medians)) for defect in defects},
        pairs=sorted(pairs, key=lambda pair: not pair.is_judged_otherwise),
        common=len(common),
        same_distance=same_distance,
    )


def _differences(before: dict[str, str], after: dict[str, str]) -> Iterator[Difference]:
    """Yield what two tables of names and values do not agree in."""
    for name in dict.fromkeys([*before, *after]):
        pair = Difference(name, before.get(name, ""), after.get(name, ""))
        if pair.before != pair.after:
            yield pair


def _settings(*runs: Run) -> Iterator[Difference]:
    """Yield the settings that are otherwise; where one painter alone needs a base, none that only that one minds."""
    counted = compared_settings(*(run.config for run in runs))
    tables = [
        {
            **{key: str(value) for key, value in settings.items()},
            "base": f"{run.record.base.model} {run.record.base.revision}".strip(),
            "distance": run.record.distance,
            "device": run.record.device,
            "data": run.record.data_digest[:12],
        }
        for settings, run in zip(counted, runs, strict=True)
    ]
    yield from _differences(*tables)


def _versions(*runs: Run) -> Iterator[Difference]:
    tables = [{"method": str(run.record.method_version)} for run in runs]
    for table, run in zip(tables, runs, strict=True):
        for record in training_records(run).values():
            table.update(record.versions)
    yield from _differences(*tables)


def _references(*runs: Run) -> Iterator[Difference]:
    tables = [
        {
            record.path: f"{record.sha256[:12]}, mask {record.mask_sha256[:12]}"
            for records in [run.snapshot()]
            for defect in run.config.data.defects
            for record in references_of(records, defect)
        }
        for run in runs
    ]
    yield from _differences(*tables)


def _figures(
    defect: str,
    outcomes: Sequence[dict[str, DefectSummary]],
    samples: Sequence[Sequence[PaintedSample]],
    medians: Sequence[str],
) -> Iterator[Difference]:
    """Yield the figures of a defect in both runs, equal ones too."""
    tables: list[dict[str, str]] = []
    for outcome, own in zip(outcomes, samples, strict=True):
        found = outcome.get(defect)
        counts = (
            {"wanted": found.wanted, "planned": found.planned, "kept": found.kept, **found.rejected} if found else {}
        )
        kept = [sample.row for sample in own if sample.row.defect == defect and not sample.row.reason]
        tables.append({**{name: str(count) for name, count in counts.items()}, **dict(_medians(kept, medians))})
    for name in dict.fromkeys([*tables[0], *tables[1]]):
        yield Difference(name, *(table.get(name, "") for table in tables))


def _medians(rows: Sequence[ManifestRow], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if values := [value for row in rows if (value := getattr(row, name)) is not None]:
            yield f"median {name}", f"{statistics.median(values):.3g}"


def _common(
    before: Sequence[PaintedSample], after: Sequence[PaintedSample]
) -> list[tuple[PaintedSample, PaintedSample]]:
    """Return the samples of equal id."""
    by_id = {sample.row.sample_id: sample for sample in after}
    return [(sample, by_id[sample.row.sample_id]) for sample in before if sample.row.sample_id in by_id]


def _pairs(common: Sequence[tuple[PaintedSample, PaintedSample]], folder: Path) -> list[Pair]:
    """Write the pictures of samples of both runs, into `before/` and `after/`."""
    drawn = []
    for name, own in zip(("before", "after"), zip(*common, strict=True), strict=False):
        (folder / name).mkdir()
        drawn.append(draw_scenes(own, folder / name).samples)
    return [
        Pair(before.row, after.row, (drawn[0].get(before.row.sample_id), drawn[1].get(after.row.sample_id)))
        for before, after in common
    ]
