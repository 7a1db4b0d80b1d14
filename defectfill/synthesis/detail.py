"""How much detail is put back onto what is pasted."""

import statistics
from functools import lru_cache
from pathlib import Path

from defectfill.painting.detail import detail_ratio
from defectfill.painting.window import window_box
from defectfill.records.snapshot import read_defect, read_picture, references_of
from defectfill.runs.run import Run

MOST_GAIN = 1.5
"""Grain that is made stronger than this looks like noise, however much structure the references have."""


@lru_cache(maxsize=8)
def detail_gain(run_folder: Path, defect: str) -> float:
    """Return the factor by which the source's own detail is added to a defect of the run in `run_folder`.

    By generate.detail: 0, 1, or the median of what the references have over their surroundings, at most MOST_GAIN.
    """
    run = Run.at(run_folder)
    config, folder = run.config, run.config.category_folder
    if config.generate.detail != "reference":
        return 1.0 if config.generate.detail == "source" else 0.0
    ratios = []
    for record in references_of(run.snapshot(), defect):
        mask = read_defect(folder, record)
        box = window_box(mask, config.window, config.latent_side)
        side = config.generate.painted_side(box[2] - box[0], config.base.resolution)
        ratios.append(detail_ratio(read_picture(folder, record), mask, box, side))
    found = [ratio for ratio in ratios if ratio is not None]
    return min(statistics.median(found), MOST_GAIN) if found else 1.0
