"""The lines in which the command line prints what functions return."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defectfill.dataset.export.export import ExportReport
    from defectfill.demo import Recognition
    from defectfill.operations.reports import Agreement, Check, DeployReport, RemainingWork, ReviewReport, Status
    from defectfill.records.forecast import Forecast

NAMED = 3
"""Files that are named of those that changed."""


def check_lines(check: "Check") -> Iterator[str]:
    """Yield what a config finds, would do, and what is to be thought of."""
    yield (f"{check.category}: {check.normals} normals to paint on, {check.test_normals} normals set aside for test")
    for images in check.defects:
        yield f"{images.defect}: references {', '.join(images.references)}; {images.held_out} held out"
    yield from (f"note: {note}" for note in check.notes)
    yield from work_lines(check.work)
    yield from (f"warning: {warning}" for warning in check.warnings)
    if check.forecast:
        yield from forecast_lines(check.forecast, check.work)


def work_lines(work: "RemainingWork") -> Iterator[str]:
    """Yield what a run has left to do."""
    if work.is_finished:
        yield f"everything is done: {work.dataset}"
        return
    if work.evaluation:
        yield "its evaluation is to be made, since dataset.promote is unless_harmful"
    if not work.defects:
        yield f"all is painted: {work.dataset}"
        return
    needs_base = work.painter == "diffusion"
    for each in work.defects:
        painting = f"{each.samples} of {work.count} samples to paint"
        if needs_base:
            trained = "is there" if each.is_trained else f"to be trained for {work.training_steps} steps"
            painting = f"adapter {trained}; {painting}, {each.unet_passes:,} UNet passes"
        yield f"{each.defect}: {painting}"
    if work.older_shards:
        yield "at most: what an older run has painted, and would come out the same, is taken over"
    if needs_base:
        yield f"base {work.base} ({work.base_revision[:12]}), selection by {work.distance}"
    else:
        yield f"painter {work.painter}: no base, no training, no GPU"
    yield f"output: {work.run}"


def forecast_lines(forecast: "Forecast", work: "RemainingWork") -> Iterator[str]:
    """Yield what the work that is left takes."""
    paintings = f"{forecast.paintings} paintings of {forecast.painting_seconds:.2f} s"
    if work.painter == "diffusion":
        trainings = f"{forecast.trainings} trainings of {duration(forecast.training_seconds)}"
        paintings = f"{trainings}, {paintings} ({work.candidates} candidates, {work.painting_steps} steps)"
    yield f"forecast: {paintings}: {duration(forecast.seconds)}, and what rejected samples add"
    yield (
        f"forecast: {forecast.memory_mib:,.0f} MiB of memory, {forecast.disk_mib:,.0f} MiB of disk "
        "for images in shards and dataset"
    )


def duration(seconds: float) -> str:
    """Return a time as its two largest units, rounded to seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def status_lines(status: "Status") -> Iterator[str]:
    """Yield whether the dataset is up to date; if not why, and what is left to do."""
    if status.state == "up to date":
        yield f"{status.category}: up to date: {status.dataset}"
        return
    if status.state == "never finished":
        yield f"{status.category}: no run has been finished"
    else:
        yield f"{status.category}: stale: {status.dataset}"
        yield from (f"  {line}" for line in _change_lines(status))
    yield from work_lines(status.work)
    if status.seconds is not None:
        yield f"about {status.seconds / 60:.0f} minutes at most, by what the last run took"


def _change_lines(status: "Status") -> list[str]:
    lines = [f"{each.key} was {each.before}, is {each.now}" for each in status.settings]
    for change, paths in status.files:
        if paths:
            more = ", ..." if len(paths) > NAMED else ""
            lines.append(f"{len(paths)} files {change}: {', '.join(paths[:NAMED])}{more}")
    lines += ["others are to be painted for samples that a review took out"] if status.refill else []
    lines += [status.damage] if status.damage else []
    lines += ["it was made by another version of defectfill"] if status.other_version else []
    lines += ["it has no verdict by the settings of now"] if status.work.evaluation and not status.work.defects else []
    return lines or ["it was not finished after its last change"]


def review_lines(report: "ReviewReport") -> Iterator[str]:
    """Yield how many samples were decided on, how far the gates agree, and which settings would agree better."""
    found = report.agreement
    yield "decided: " + (", ".join(f"{count} {word}" for word, count in report.decisions.items()) or "nothing")
    yield from _agreement_lines(found)
    if found.best is None:
        yield "too few decisions to propose settings of the gates: 10 kept and 10 taken out are needed"
    elif not found.proposals:
        yield "no other settings of the gates agree better with decisions that they were not chosen by"
    else:
        for each in found.proposals:
            yield f"proposed: gates.{each.setting} {each.proposed:g}, now {each.now:g}"
        yield (
            f"with these the gates agree on {found.best} of {found.kept + found.taken_out}, and on {found.best_unseen} "
            "where each fifth of the decisions is judged by settings that the others chose"
        )
    left = f"{sum(report.kept.values())} of {report.wanted * len(report.kept)} wanted images are in the dataset"
    taken_out = report.taken_out and report.is_finished and any(kept < report.wanted for kept in report.kept.values())
    yield f"{left}; apply with --refill to have others painted for those taken out" if taken_out else left
    if not report.is_finished:
        yield "run again to have others painted for the samples that were taken out"
    yield report.dataset


def _agreement_lines(found: "Agreement") -> Iterator[str]:
    """Yield a table of gates, a row each; nothing without decisions."""
    decided = found.kept + found.taken_out
    if not decided:
        return
    yield f"of {decided} samples kept or taken out the gates say the same of {found.agree}"
    yield f"{'gate':16}{'refuses of taken out':>22}{'refuses of kept':>18}{'separation':>13}"
    for each in found.gates:
        taken_out, kept = f"{each.refused_of_taken_out} of {found.taken_out}", f"{each.refused_of_kept} of {found.kept}"
        separation = "" if each.separation is None else f"{each.separation:.2f}"
        yield f"{each.gate:16}{taken_out:>22}{kept:>18}{separation:>13}".rstrip()
    yield "separation: 1 where a gate's measure tells what people take out, 0.5 where it tells nothing"


def deploy_lines(report: "DeployReport") -> Iterator[str]:
    """Yield a line for each deployment that was made or removed."""
    for each in report.deployments:
        yield f"{each.name}: {each.starts}"
    for gone in report.removed:
        yield f"{gone.name}: removed, {gone.config} is gone"
    for freed in report.freed:
        run, slots = f"run {freed.run} is gone, marked as crashed", f"{freed.slots} slots of no run freed"
        yield f"{freed.name}: {run if freed.run else slots}"
    yield from (f"warning: {warning}" for warning in report.warnings)


def export_lines(report: "ExportReport") -> Iterator[str]:
    """Yield what was exported, how its files came, and what its readers should know."""
    for each in report.counts:
        yield f"{each.split} {each.defect}: {each.images} {each.origin} images"
    ways = {"linked": report.linked, "copied": report.copied, "converted": report.converted}
    yield f"images {', '.join(f'{way}: {count}' for way, count in ways.items() if count)}"
    yield from (f"note: {note}" for note in report.notes)
    yield report.folder


def recognition_lines(found: "Sequence[Recognition]") -> Iterator[str]:
    """Yield a line for each defect of the demo."""
    for each in found:
        yield (
            f"{each.defect}: a plain classifier calls {each.painted_share:.0%} of the kept images by this name, "
            f"and {each.toy_share:.0%} of unseen toys with that damage"
        )
