"""The numbers of papers by their own habits, stamped for what they are."""

from dataclasses import replace

from defectfill.io.files import write_bytes
from defectfill.model.evaluation.arms import ARMS
from defectfill.model.evaluation.predictions import scores_of
from defectfill.operations.evaluation import Evaluator
from defectfill.records.evaluation import Scores

STAMP = "SELECTED ON TEST"


def anomalydiffusion(evaluator: Evaluator) -> dict[str, Scores]:
    """Return a defect's scores by AnomalyDiffusion's protocol (Hu et al., AAAI 2024), and write anomalydiffusion.md.

    A U-Net learns from synthetic images alone, one seed; of the steps that are looked at the best on the TEST images is
    kept; an image's score is the largest mean over 21 x 21 pixels. The network, the loss and the steps are those of
    `evaluate`, so this compares with papers in habit, not to the digit.
    """
    (part,) = evaluator.parts("synthetic")
    bench = replace(evaluator.bench, selected_on_test=True)
    _, found = bench.train_and_test(part, ARMS["synthetic"], "unet", 0)
    scores = {defect: scores_of(found, defect, 0.5) for defect in sorted({*found.defects} - {"good"})}
    write_bytes(evaluator.folder / "anomalydiffusion.md", "\n".join(protocol_lines(scores)).encode())
    return scores


def protocol_lines(scores: dict[str, Scores]) -> list[str]:
    """Return the scores as a table in Markdown, with the stamp."""
    head = ["defect", "image AUROC", "image AP", "image F1", "pixel AUROC", "pixel AP", "pixel F1", "AUPRO 0.3"]
    names = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "au_pro_30")
    lines = [f"**{STAMP}**: AnomalyDiffusion's protocol. Not a measure of use: see table.md for that.", ""]
    lines += [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for defect, each in scores.items():
        values = ["" if getattr(each, name) is None else f"{100 * getattr(each, name):.1f}" for name in names]
        lines.append(f"| {defect} | {' | '.join(values)} |")
    return [*lines, ""]
