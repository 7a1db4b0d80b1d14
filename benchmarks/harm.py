"""The verdict on datasets that are made harmful on purpose: python -m benchmarks.harm CONFIG WORK

CONFIG's dataset is finished. Copies of it are spoilt in WORK and evaluated by the config's own settings, by those arms
alone that a verdict is made of:

as it is
shifted    labels moved by SHIFT_PX
blurred    the defects blurred away, labels as they were
empty      no synthetic image at all

A row per copy and defect with the verdict; then one JSON line.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defectfill.config.evaluate import REFERENCE_ARM
from defectfill.config.run import load_config
from defectfill.io.files import new_folder, read_table, write_table
from defectfill.io.images import file_sha256, read_image, read_mask, write_png
from defectfill.model.evaluation.arms import mixed_arm
from defectfill.model.evaluation.verdict import ALONE
from defectfill.operations.evaluation import Evaluator
from defectfill.operations.prepare import prepare_run
from defectfill.records.evaluation import Evaluation
from defectfill.records.manifest import SCHEMA, ManifestRow
from defectfill.runs.run import Run

TRIALS = "evaluation/trials"
SHIFT_PX = 30
BLUR = 0.08
"""Of the shorter side: deviation of the Gaussian that defects are blurred by."""


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    run = prepare_run(load_config(arguments.config))
    results: dict[str, Evaluation] = {}
    before = run.folder
    for name, spoil in {"as it is": None, "shifted": shift, "blurred": blur, "empty": None}.items():
        folder = arguments.work / name.replace(" ", "_") / run.folder.name
        if not folder.exists():
            copy(run, folder, spoil, empty=name == "empty")
        for trial in (before / TRIALS).glob(f"{REFERENCE_ARM}-*"):  # the same for all
            shutil.copytree(trial, folder / TRIALS / trial.name, dirs_exist_ok=True)
        before = folder
        results[name] = evaluate(Run(run.record, folder))  # by the settings of today, not those of its run
        for defect, verdict in results[name].defects.items():
            print(f"{name:9} {verdict.verdict:20} {verdict.sentence}", flush=True)
            assert defect in verdict.sentence
    print(json.dumps({n: {d: v.verdict for d, v in each.defects.items()} for n, each in results.items()}))


def copy(run: Run, folder: Path, spoil: Callable[[Path, ManifestRow], None] | None, *, empty: bool) -> None:
    """Copy a run with its dataset, spoilt, whole or not at all."""
    with new_folder(folder) as partial:
        shutil.copytree(run.dataset, partial / "dataset")
        for name in ("run.json", "snapshot.parquet"):
            shutil.copy(run.folder / name, partial / name)
        rows = list(_spoilt_rows(partial / "dataset", spoil, empty=empty))
        write_table(partial / "dataset" / "manifest.parquet", rows, SCHEMA)


def _spoilt_rows(
    dataset: Path, spoil: Callable[[Path, ManifestRow], None] | None, *, empty: bool
) -> Iterator[dict[str, Any]]:
    """Spoil the images of a dataset, and yield the rows of its manifest with their new hashes."""
    for row in read_table(dataset / "manifest.parquet"):
        found = ManifestRow.model_validate(row)
        if found.origin == "synthetic":
            if empty:
                continue
            if spoil:
                spoil(dataset, found)
            files = {"image_sha256": found.image_path, "mask_sha256": found.mask_path}
            row |= {name: file_sha256(dataset / path) for name, path in files.items() if path}
        yield row


def shift(dataset: Path, row: ManifestRow) -> None:
    """Move the label of a row to the right, round the edge."""
    if row.mask_path:
        write_png(dataset / row.mask_path, np.roll(read_mask(dataset / row.mask_path), SHIFT_PX, axis=1))


def blur(dataset: Path, row: ManifestRow) -> None:
    """Blur what is in the label of a row into its surroundings."""
    if not row.mask_path:
        return
    image, mask = read_image(dataset / row.image_path), read_mask(dataset / row.mask_path)
    deviation = BLUR * min(mask.shape)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)[..., None].clip(0, 1)
    around = (~mask).astype(np.float32)
    filled = cv2.GaussianBlur(image.astype(np.float32) * around[..., None], (0, 0), deviation)
    filled = filled.reshape(image.shape) / cv2.GaussianBlur(around, (0, 0), deviation)[..., None].clip(min=1e-3)
    write_png(dataset / row.image_path, (image * (1 - soft) + filled * soft).round().astype(image.dtype))


def evaluate(run: Run) -> Evaluation:
    """Return the evaluation of a spoilt copy by the arms that a verdict is made of."""
    arms = (REFERENCE_ARM, mixed_arm(run.config.dataset.real_share), ALONE)
    settings = run.config.evaluate.model_copy(update={"arms": arms, "detectors": run.config.evaluate.detectors[:1]})
    config = run.config.model_copy(update={"evaluate": settings})
    evaluator = Evaluator(Run(run.record.model_copy(update={"config": config}), run.folder))
    for trial in evaluator.trials:
        evaluator.try_out(trial)
    return evaluator.conclude()


if __name__ == "__main__":
    main()
