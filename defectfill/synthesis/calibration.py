"""Gates of a run: what the references of each defect allow."""

from functools import lru_cache
from pathlib import Path

from defectfill.painting.gates import Gate
from defectfill.painting.label import visible_fraction
from defectfill.painting.measures import measure_sample
from defectfill.painting.window import window_box
from defectfill.records.snapshot import read_defect, read_picture, references_of
from defectfill.runs.run import Run


@lru_cache(maxsize=8)
def calibrated_gate(run_folder: Path, defect: str) -> Gate:
    """Return the gate of a defect of the run in `run_folder`, calibrated on its references; kept in the process."""
    run = Run.at(run_folder)
    folder, measured, visible = run.config.category_folder, [], []
    for record in references_of(run.snapshot(), defect):
        mask = read_defect(folder, record)
        image, box = read_picture(folder, record), window_box(mask, run.config.window, run.config.latent_side)
        measured.append(measure_sample(image, mask, mask, box))
        visible.append(visible_fraction(image, mask))
    return Gate.calibrated(measured, run.config.gates, run.config.generate.painter, visible)
