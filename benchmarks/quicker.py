"""The price of quicker painting: python -m benchmarks.quicker CONFIG [--samples 24]

For each defect of a config whose run has its plan and its adapters, the first samples are painted in full by the
config's own settings, then with early selection after several shares of the steps, and with other solvers in fewer
steps. From the same noise, so that one can see

winner    how often the candidate is chosen that is chosen in full
score     the mean over samples of the chosen one's score, by that of full
iou       mean intersection over union of drawn and planned mask of the chosen one
passed    share of samples that pass the gates
seconds   per sample, medians over batches

One table per defect, then one JSON line.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defectfill.config.generate import GenerateConfig
from defectfill.config.run import load_config
from defectfill.dataset.annotated import annotation_margin_px
from defectfill.io.images import read_image, read_mask
from defectfill.model.inpaint.painter import open_painter
from defectfill.operations.prepare import prepare_run
from defectfill.runs.plan import read_plan
from defectfill.runs.run import Run
from defectfill.synthesis.calibration import calibrated_gate
from defectfill.synthesis.detail import detail_gain
from defectfill.synthesis.reuse import BATCH_FILE
from defectfill.synthesis.synthesize import Sample, synthesize

WAYS: dict[str, dict[str, Any]] = {
    "full": {"selection": "full"},
    "early 0.1, 2 kept": {"selection": "early", "early_share": 0.1, "early_keep": 2},
    "early 0.2, 2 kept": {"selection": "early", "early_share": 0.2, "early_keep": 2},
    "early 0.2, 3 kept": {"selection": "early", "early_share": 0.2, "early_keep": 3},
    "early 0.4, 2 kept": {"selection": "early", "early_share": 0.4, "early_keep": 2},
    "dpm, 20 steps": {"solver": "dpm", "steps": 20},
    "dpm, 10 steps": {"solver": "dpm", "steps": 10},
    "unipc, 20 steps": {"solver": "unipc", "steps": 20},
    "unipc, 10 steps": {"solver": "unipc", "steps": 10},
    "ddim, 20 steps": {"solver": "ddim", "steps": 20},
    "ddim, 10 steps": {"solver": "ddim", "steps": 10},
    "balanced": {"choice": "balanced"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--samples", type=int, default=24)
    arguments = parser.parse_args()
    run = prepare_run(load_config(arguments.config))
    figures = {defect: compare(run, defect, arguments.samples) for defect in run.config.data.defects}
    print(json.dumps(figures))


def compare(run: Run, defect: str, count: int) -> dict[str, dict[str, float]]:
    """Print the table of one defect and return the figures in it."""
    print(f"{defect:20}{'winner':>9}{'score':>9}{'iou':>9}{'passed':>9}{'seconds':>9}")
    figures: dict[str, dict[str, float]] = {}
    full: list[Sample] = []
    for name, changes in WAYS.items():
        settings = run.config.generate.model_copy(update=changes)
        painted = list(_paint(run, defect, settings, count))
        samples = [sample for sample, _ in painted]
        full = full or samples
        pairs = list(zip(samples, full, strict=True))
        row = figures[name] = {
            "winner": statistics.mean(sample.chosen == whole.chosen for sample, whole in pairs),
            "score": statistics.mean(s.scores[s.chosen] for s in samples)
            / statistics.mean(s.scores[s.chosen] for s in full),
            "iou": statistics.mean(sample.planned_iou for sample in samples),
            "passed": statistics.mean(sample.reason is None for sample in samples),
            "seconds": statistics.median(seconds for _, seconds in painted),
        }
        print(f"{name:20}" + "".join(f"{value:9.3f}" for value in row.values()), flush=True)
    return figures


def _paint(run: Run, defect: str, settings: GenerateConfig, count: int) -> Iterator[tuple[Sample, float]]:
    """Yield samples of the plan, painted a batch at a time, each with the seconds that one took."""
    specs = [spec for spec in read_plan(run, defect) if not spec.reason][:count]
    config, batch = run.config, run.folder / BATCH_FILE
    painter = open_painter(config.base, settings, run.record.distance, run.adapter_folder(defect), batch)
    size = int(painter.settings.samples_per_batch)
    for start in range(0, len(specs), size):
        part = specs[start : start + size]
        scenes = [
            (read_image(config.category_folder / spec.source_path), read_mask(run.folder / spec.planned_mask_path))
            for spec in part
        ]
        began = time.perf_counter()
        samples = list(
            synthesize(
                part,
                scenes,
                painter,
                calibrated_gate(run.folder, defect),
                settings,
                config.base.resolution,
                detail_gain(run.folder, defect),
                annotation_margin_px(run.folder, defect),
            )
        )
        seconds = (time.perf_counter() - began) / len(part)
        yield from ((sample, seconds) for sample in samples)


if __name__ == "__main__":
    main()
