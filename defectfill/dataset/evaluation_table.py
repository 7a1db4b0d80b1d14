"""An evaluation as a page of tables in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from defectfill.io.markdown import plain
from defectfill.records.evaluation import ArmFigures, Evaluation

COLUMNS = {
    "pixel AP": "pixel_ap",
    "pixel F1": "pixel_f1_max",
    "pixel AUROC": "pixel_auroc",
    "AUPRO 0.3": "au_pro_30",
    "AUPRO 0.05": "au_pro_05",
    "image AUROC": "image_auroc",
    "image AP": "image_ap",
    "image F1": "image_f1_max",
    "found": "recall",
}
"""Heading -> metric."""


def evaluation_table(evaluation: Evaluation) -> str:
    """Return the verdicts and all figures of an evaluation, a table per defect and detector."""
    settings = evaluation.settings
    lines = [f"# {plain(evaluation.category)}: does the dataset help?", ""]
    lines += [f"- {plain(each.sentence)}." for each in evaluation.defects.values()]
    lines += [f"- {plain(note.rstrip('.'))}." for note in evaluation.notes]
    lines += ["", *_how(evaluation)]
    for defect in evaluation.defects:
        for detector, what in evaluation.detectors.items():
            figures = [each for each in evaluation.figures if (each.defect, each.detector) == (defect, detector)]
            if figures:
                images, normals = figures[0].scores.images, figures[0].scores.normals
                lines += ["", f"## {plain(defect)}: {what}", "", f"{images} images with it and {normals} normals.", ""]
                lines += _figures(figures, int(str(settings["seeds"])))
    lines += _subsets(evaluation)
    if evaluation.fidelity_table:
        lines += ["", "## Alike and unlike", "", *_head(*evaluation.fidelity_table[0])]
        lines += [_row(*each.values()) for each in evaluation.fidelity_table]
    return "\n".join(lines) + "\n"


def _how(evaluation: Evaluation) -> Iterator[str]:
    settings = evaluation.settings
    yield (
        f"Every arm: {settings['seeds']} seeds of {settings['steps']} steps with {settings['batch_size']} crops of "
        f"{settings['crop_px']} px, half of them the same normals; images at {evaluation.image_px} px. "
    )
    yield (
        "Tested on held-out real images alone; the step that is tested, and the threshold of `found`, are chosen on "
        "references held back."
    )
    yield (
        "Intervals: paired bootstrap over images (groups, where there are), widened for their number, with Student's t "
        "over the seeds, 95 %. The best arm is the best on these very images, hence flattered."
    )


def _figures(figures: Sequence[ArmFigures], seeds: int) -> Iterator[str]:
    yield from _head("arm", *COLUMNS, "false alarms in 1000", "over the seeds", "pixel AP over real_augmented")
    for each in figures:
        scores = each.scores.model_dump()
        learnt = "" if each.learnt == seeds else f" ({seeds - each.learnt} of {seeds} not trained)"
        alarms = "" if each.scores.false_alarms is None else f"{each.scores.false_alarms:.0f}"
        values = ["" if scores[name] is None else f"{scores[name]:.3f}" for name in COLUMNS.values()]
        difference = str(each.difference) if each.difference else ""
        yield _row(f"{each.arm}{learnt}", *values, alarms, f"{each.spread:.3f}", difference)


def _subsets(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.subsets:
        return
    yield from ("", "## By size and by distance from the border", "")
    yield from _head("defect", "by", "part", "images", "pixel AP of real_augmented", "of the dataset's mix")
    for each in evaluation.subsets:
        figures = ("" if value is None else f"{value:.3f}" for value in (each.reference, each.mixed))
        yield _row(each.defect, each.by, each.part, str(each.images), *figures)


def _head(*names: str) -> Iterable[str]:
    return (_row(*names), _row(*("---" for _ in names)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(plain, cells))} |"
