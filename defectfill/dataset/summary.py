"""The outcome of a run: how many planned samples of each defect were kept, and why the others were not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from defectfill.dataset.probe import probe_vae
from defectfill.painting.gates import REASONS, remedies_of
from defectfill.records.manifest import REVIEWED
from defectfill.runs.plan import plan_table
from defectfill.runs.planner import is_filled
from defectfill.runs.review import read_review
from defectfill.runs.run import Run
from defectfill.runs.shards import TRIED, is_hopeless, painted_count, rejected_files

REVIEW_REMEDY = "the gates that `defectfill review apply` proposes"
LOST = (*REASONS, REVIEWED)
"""Why a painted sample is not in the dataset, in the order of a table's columns."""
EXAMPLES = 3
"""Rejected samples that are named where a defect is hopeless."""


class DefectSummary(BaseModel):
    """The samples of one defect, up to the last one in the dataset."""

    model_config = ConfigDict(frozen=True)

    planned: int
    no_room: int
    """Their masks found no room on any normal that was tried."""
    rejected: dict[str, int]
    """Reason -> samples, without the reasons that none was rejected for."""
    kept: int
    wanted: int
    """generate.count"""
    surplus: int = 0
    """Painted beyond those, and in no table; a higher count takes them up."""
    hopeless: bool = False
    """So few of its first samples were kept that no more were painted."""
    examples: tuple[str, ...] = ()
    """Images of rejected samples, where it is hopeless."""


class Summary(BaseModel):
    """The outcome of a run."""

    model_config = ConfigDict(frozen=True)

    defects: dict[str, DefectSummary]
    probe_accuracy: float | None
    """How often a linear probe tells VAE normals from their sources, see `probe_vae`."""
    notes: tuple[str, ...]
    """Why there are fewer samples than wanted, and why masks found no room."""


def summary(dataset: Path) -> Summary:
    """Return what became of the planned samples of each defect of the dataset in a run's folder."""
    run = Run.at(dataset.parent)
    defects = defect_summaries(run, dataset)
    notes = [note for defect, each in defects.items() for note in _notes(run, defect, each)]
    return Summary(defects=defects, probe_accuracy=probe_vae(dataset), notes=tuple(notes))


def defect_summaries(run: Run, dataset: Path) -> dict[str, DefectSummary]:
    """Return what became of the planned samples of each defect."""
    return {defect: _defect_summary(run, dataset, defect) for defect in run.config.data.defects}


def funnel(defects: Mapping[str, DefectSummary]) -> list[dict[str, Any]]:
    """Return a table, a row per defect: planned, without room, rejected by reason, kept, wanted and surplus."""
    given = [reason for reason in LOST if any(reason in each.rejected for each in defects.values())]
    return [
        {
            "defect": defect,
            "planned": each.planned,
            "no room": each.no_room,
            **{reason: each.rejected.get(reason, 0) for reason in given},
            "kept": each.kept,
            "wanted": each.wanted,
            "surplus": each.surplus,
        }
        for defect, each in defects.items()
    ]


def format_summary(outcome: Summary) -> list[str]:
    """Return the lines of a table, a row per defect, and the notes below it."""
    rows = funnel(outcome.defects)
    stages = [stage for stage in rows[0] if stage not in ("defect", "wanted", "surplus")]
    lines = [f"{'':16}" + "".join(f"{stage:>{max(len(stage), 7) + 2}}" for stage in stages)]
    for row in rows:
        numbers = "".join(f"{row[stage]:>{max(len(stage), 7) + 2}}" for stage in stages)
        more = f", {row['surplus']} more painted than needed" if row["surplus"] else ""
        lines.append(f"{row['defect']:16}{numbers} of {row['wanted']}{more}")
    lines += outcome.notes
    if outcome.probe_accuracy is not None:
        accuracy = f"{outcome.probe_accuracy:.0%} (50% is chance)"
        lines.append(f"a linear probe tells VAE normals from their untouched sources in {accuracy}")
    return lines


def _defect_summary(run: Run, dataset: Path, defect: str) -> DefectSummary:
    of_defect = (pc.field("defect") == defect) & (pc.field("origin") == "synthetic")
    kept = pq.read_table(dataset / "manifest.parquet", columns=["defect"], filters=of_defect).num_rows
    rows = pq.read_table(dataset / "rejected.parquet", columns=["sample_id", "reason"], filters=of_defect)
    rejected, hopeless = Counter(rows["reason"].to_pylist()), is_hopeless(run, defect)
    painted, wanted = kept + rejected.total(), run.config.generate.count
    is_over = hopeless or kept + rejected[REVIEWED] >= wanted
    plan = plan_table(run, defect, columns=["reason"])["reason"].to_pylist()
    no_room = sum(map(bool, plan[: _end(plan, painted)]))
    return DefectSummary(
        planned=painted + no_room,
        no_room=no_room,
        rejected={reason: rejected[reason] for reason in LOST if rejected[reason]},
        kept=kept,
        wanted=wanted,
        # Of an interrupted run what the dataset does not have yet is none; of one on storage shards need not be here.
        surplus=max(painted_count(run, defect) - painted, 0) if is_over else 0,
        hopeless=hopeless,
        examples=tuple(map(str, _examples(run, defect, rows))) if hopeless else (),
    )


def _examples(run: Run, defect: str, rejected: pa.Table) -> Iterator[Path]:
    """Yield the images of the first samples that were rejected for the most common reason."""
    reason, _ = Counter(rejected["reason"].to_pylist()).most_common(1)[0]
    of_reason = rejected.filter(pc.equal(rejected["reason"], reason))["sample_id"].to_pylist()
    for sample_id in of_reason[:EXAMPLES]:
        if files := rejected_files(run, defect, sample_id):
            yield files[0]


def _end(reasons: Sequence[str], placed: int) -> int:
    """Return where the plan ends of which so many samples were placed: behind the last of them, or behind all."""
    positions = [position for position, reason in enumerate(reasons) if not reason]
    return positions[placed - 1] + 1 if 0 < placed < len(positions) else len(reasons)


def _notes(run: Run, defect: str, outcome: DefectSummary) -> Iterator[str]:
    if outcome.kept < outcome.wanted and outcome.hopeless:
        reason = max(outcome.rejected, key=lambda reason: outcome.rejected[reason])
        remedies = remedies_of(run.config.generate.painter)
        yield (
            f"{defect}: given up after {TRIED} samples, of which {outcome.kept} passed the gates and "
            f"{outcome.rejected[reason]} were rejected as {reason}; what helps: {remedies.get(reason, REVIEW_REMEDY)}"
        )
        yield from (f"{defect}: {reason}, for example {example}" for example in outcome.examples)
    elif outcome.kept < outcome.wanted:
        yield f"{defect}: {outcome.wanted - outcome.kept} fewer than wanted, {_why_fewer(run, outcome)}"
    if outcome.no_room:
        reasons = plan_table(run, defect, columns=["reason"])["reason"]
        first = reasons.filter(pc.not_equal(reasons, ""))[0]
        yield f"{defect}: {outcome.no_room} found no room, the first because: {first}"


def _why_fewer(run: Run, outcome: DefectSummary) -> str:
    """Return why there are fewer samples than wanted of a defect that is not hopeless."""
    if outcome.wanted <= outcome.kept + outcome.rejected.get(REVIEWED, 0) and not read_review(run).refill:
        return "taken out by a review; apply it with --refill and run again to have others painted"
    if not run.is_marked_finished() and not is_filled(run):
        return "since not all of them are painted yet: run again to go on"
    lost = {"no room": outcome.no_room, **outcome.rejected}
    most = max(lost, key=lambda reason: lost[reason])
    attempts = f"generate.max_attempts {run.config.generate.max_attempts:g}"
    return f"since the plan ends at {attempts} times the count; most common: {most}"
