"""The worth of each loss term: python -m benchmarks.ablation CONFIG WORK [--seeds 3]

Trains, paints and judges a toy config with all terms of the loss, without each of them, and without any training.
Every seed makes a toy category of its own with references of its own. WORK keeps what is done: a killed run goes on.
Prints a table in Markdown, mean and standard deviation over seeds:

recognized  share of kept images that a plain classifier calls by their defect's name (see defectfill.demo)
distance    squared maximum mean discrepancy (polynomial kernel of degree 3, as in KID, times 100) between the
            classifier's features of kept images and of toys with that damage that nobody has learnt from
IoU         of drawn and planned mask
kept        share of planned samples that were not rejected
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from defectfill.adapters.train import train_adapter
from defectfill.config.run import RunConfig, load_config
from defectfill.config.train import LossWeights
from defectfill.dataset.writer import write_dataset
from defectfill.demo import make_toy_category, painted_windows, recognized, toy_windows, train_recognizer
from defectfill.io.files import read_table
from defectfill.model.base.base import load_base
from defectfill.model.evaluation.kid import cubic_kernel, squared_mmd
from defectfill.model.evaluation.recognition import Recognizer
from defectfill.operations.lock import locked
from defectfill.operations.prepare import start_run
from defectfill.painting.window import Window
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.synthesis.shards import inpaint_shard

VARIANTS: dict[str, dict[str, Any]] = {
    "all terms": {"weights": LossWeights()},
    "without L_def": {"weights": LossWeights(defect=0)},
    "without L_obj": {"weights": LossWeights(object=0)},
    "without L_attn": {"weights": LossWeights(attention=0)},
    "untrained": {"weights": LossWeights(defect=0, object=0, attention=0), "steps": 1},
}
"""Row of the table -> what it changes of the config's `train`."""


@dataclass(frozen=True)
class Figures:
    """One run's row of the table."""

    recognized: float
    distance: float
    iou: float
    kept: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    toy = load_config(arguments.config)
    recognizer = train_recognizer(load_base(toy.base), toy)
    figures: dict[str, list[Figures]] = {name: [] for name in VARIANTS}
    for seed in range(arguments.seeds):
        for name, changes in VARIANTS.items():
            config = variant(toy, arguments.work.resolve(), seed, train=changes)
            make_toy_category(config)
            figures[name].append(judge(run_without_server(config), recognizer))
            print(f"seed {seed}, {name}: {figures[name][-1]}", flush=True)
    print("\n".join(_table(figures)))


def variant(
    toy: RunConfig, work: Path, seed: int, *, train: dict[str, Any], data: dict[str, Any] | None = None
) -> RunConfig:
    """Return the config with another seed, folders of its own in `work`, and changes of its `train` and `data`."""
    folder = work / f"seed-{seed}"
    return toy.model_copy(
        update={
            "seed": seed,
            "data": toy.data.model_copy(update={"root": folder / "data", **(data or {})}),
            "train": toy.train.model_copy(update=train),
            "output": toy.output.model_copy(update={"root": folder / "out"}),
        }
    )


def run_without_server(config: RunConfig) -> Run:
    """Run a config to the end, by the flow's steps without Prefect, and return the run."""
    with locked(config):
        run = start_run(config)
        if not run.is_finished():
            for defect in config.data.defects:
                train_adapter(run, defect)
            for shard in plan_samples(run):
                inpaint_shard(run, shard)
            write_dataset(run)
    return run


def judge(run: Run, recognizer: Recognizer) -> Figures:
    """Return the figures of a finished run, means over its defects."""
    config = run.config
    painted = {defect: list(painted_windows(config, run.dataset, defect)) for defect in config.data.defects}
    rows = [row for row in read_table(run.dataset / "manifest.parquet") if row["origin"] == "synthetic"]
    planned = config.generate.count * len(config.data.defects)
    return Figures(
        recognized=float(np.mean(list(recognized(recognizer, painted).values()))),
        distance=float(np.mean(list(_distances(run, recognizer, painted)))),
        iou=float(np.mean([row["planned_iou"] for row in rows])) if rows else float("nan"),
        kept=len(rows) / planned,
    )


def _distances(run: Run, recognizer: Recognizer, painted: dict[str, list[Window]]) -> Iterator[float]:
    for defect, windows in painted.items():
        real = list(toy_windows(run.config, defect, 48, first=1000))
        if len(windows) > 1:
            yield 100 * kernel_distance(recognizer.features(windows), recognizer.features(real))


def kernel_distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy of features [N, F] and [M, F], as in KID."""
    one, other = (features.double().cpu().numpy() for features in (ours, theirs))
    return squared_mmd(cubic_kernel(one, one), cubic_kernel(other, other), cubic_kernel(one, other))


def _table(figures: dict[str, list[Figures]]) -> Iterator[str]:
    names = [field.name for field in fields(Figures)]
    yield f"| | {' | '.join(names)} |"
    yield "| --- " * (len(names) + 1) + "|"
    for variant, runs in figures.items():
        values = [[getattr(run, name) for run in runs] for name in names]
        yield f"| {variant} | {' | '.join(f'{np.mean(each):.2f} ± {np.std(each):.2f}' for each in values)} |"


if __name__ == "__main__":
    main()
