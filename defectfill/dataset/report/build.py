"""The report of one run: `report/` beside its dataset, opened by `index.html`."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from markupsafe import Markup

from defectfill.dataset.report.facts import (
    Stage,
    config_text,
    facts_of,
    funnel,
    step_times,
)
from defectfill.dataset.report.figures import Figure, figures_of
from defectfill.dataset.report.limits import limits_of
from defectfill.dataset.report.page import render
from defectfill.dataset.report.pictures import MOST_SIDE_PX, Budget, outline, window_at, write_webp
from defectfill.dataset.report.plots import numbered
from defectfill.dataset.report.positions import MEAN_FILE, Positions, write_mean, write_positions
from defectfill.dataset.report.records import sample_records, source_records
from defectfill.dataset.report.references import DefectReferences, measured_references
from defectfill.dataset.report.samples import painted_samples
from defectfill.dataset.report.scenes import draw_scenes
from defectfill.dataset.report.training import trainings
from defectfill.dataset.summary import DefectSummary, summary
from defectfill.io.files import new_folder, write_bytes
from defectfill.painting.gates import PLAIN_WORDS, remedies_of
from defectfill.records.evaluation import Verdict
from defectfill.records.leakage import read_certificate
from defectfill.records.manifest import REVIEWED, TAKEN_OUT
from defectfill.runs.run import Run
from defectfill.runs.verdict import read_verdict

REPORT_FOLDER = "report"
PAGE = "index.html"
REFERENCE_BUDGET = Budget(MOST_SIDE_PX, 60_000)


@dataclass(frozen=True)
class ShownReference:
    """The picture of a reference, with the outline of its mask in pixels of a square of so many a side."""

    name: str
    """Its file, relative to the category's folder."""
    picture: str
    side: int
    outline: str


@dataclass(frozen=True)
class DefectPart:
    """All that the page says of one defect beside its samples."""

    name: str
    outcome: DefectSummary
    funnel: tuple[Stage, ...]
    verdict: Verdict | None
    references: tuple[ShownReference, ...]
    figures: tuple[Figure, ...]
    positions: Positions


def write_report(run: Run, folder: Path | None = None) -> Path:
    """Write the report of a finished run into a folder, by default `report/` beside the dataset; return its page.

    The folder appears whole, in place of an older one. Raises DataError where a file of the run is missing or damaged.
    """
    target = folder or run.folder / REPORT_FOLDER
    with new_folder(target, replace=True) as made:
        pictures = made / "pictures"
        pictures.mkdir()
        write_bytes(made / PAGE, _page(run, pictures))
    return target / PAGE


def _page(run: Run, pictures: Path) -> bytes:
    samples, outcome = painted_samples(run), summary(run.dataset)
    references = {defect: measured_references(run, defect) for defect in run.config.data.defects}
    scenes = draw_scenes(samples, pictures)
    evaluation, mean_size, adapters = read_verdict(run), write_mean(run, pictures), trainings(run, pictures)
    names = {f"real-{record.sha256[:16]}": record.path for record in run.snapshot()}
    defects = []
    for number, (defect, own) in enumerate(references.items()):
        rows = [sample.row for sample in samples if sample.row.defect == defect]
        heat = scenes.heat.get(defect)
        part = DefectPart(
            name=defect,
            outcome=outcome.defects[defect],
            funnel=tuple(funnel(outcome.defects[defect])),
            verdict=evaluation.defects.get(defect) if evaluation else None,
            references=tuple(_references(own, names, number, pictures)),
            figures=tuple(figures_of(rows, own)),
            positions=write_positions(f"positions-{number}.webp", heat, own.references, mean_size, pictures),
        )
        defects.append(part)
    painted = sum(each.planned - each.no_room for each in outcome.defects.values())
    return render(
        "report.html",
        "report.js",
        run=run,
        outcome=outcome,
        leakage=read_certificate(run.dataset / "manifest.parquet"),
        painted=painted,
        taken_out=sum(each.rejected.get(REVIEWED, 0) for each in outcome.defects.values()),
        surplus=sum(each.surplus for each in outcome.defects.values()),
        defects=defects,
        trainings=adapters,
        mean_file=MEAN_FILE,
        mean_size=mean_size,
        steps=step_times(run),
        facts=list(facts_of(run, adapters)),
        config=config_text(run),
        run_argument=shlex.quote(run.uri),
        plot=_numbering(),
        data={
            "key": f"{run.config.category}/{run.folder.name}",
            "defects": list(references),
            "limits": {name: _limits(each) for name, each in references.items()},
            "remedies": remedies_of(run.config.generate.painter),
            "taken_out": TAKEN_OUT,
            "words": {**PLAIN_WORDS, REVIEWED: "taken out by a person"},
            "sources": source_records(scenes, names),
            "samples": sample_records(samples, scenes),
        },
    )


def _references(
    own: DefectReferences, names: Mapping[str, str], number: int, pictures: Path
) -> Iterator[ShownReference]:
    """Write the windows of the references of a defect; yield what shows them."""
    for position, each in enumerate(own.references):
        window = window_at(each.image, each.mask, each.box, REFERENCE_BUDGET)
        picture = f"reference-{number}-{position}.webp"
        write_webp(pictures / picture, window.image, REFERENCE_BUDGET)
        name = names.get(each.row.sample_id, each.row.sample_id)
        yield ShownReference(name, picture, len(window.mask), outline(window.mask))


def _limits(own: DefectReferences) -> list[dict[str, Any]]:
    return [limit.model_dump() for limit in limits_of(own.gate)]


def _numbering() -> Callable[[str], Markup]:
    """Return a function that gives an SVG ids of its own and lets it into the page as it is."""
    number = count()
    return lambda svg: Markup(numbered(svg, next(number)))
