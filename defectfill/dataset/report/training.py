"""What is known of the training of a run's adapters, for the report."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from defectfill.dataset.report.plots import loss_curves
from defectfill.runs.run import Run

TERMS = ("total", "defect", "object", "attention")
MOST_PREVIEWS = 8


@dataclass(frozen=True)
class Training:
    """One adapter."""

    name: str
    defects: tuple[str, ...]
    adapter_sha256: str
    versions: dict[str, str]
    losses: str
    """SVG."""
    previews: tuple[tuple[str, str], ...]
    """Steps and file in the folder of pictures, of the last ones."""


def training_records(run: Run) -> dict[Path, dict[str, Any]]:
    """Return training.json of the run's adapters that are on this machine, by their folders."""
    files = {run.adapter_folder(defect): None for defect in run.config.data.defects}
    return {
        folder: json.loads((folder / "training.json").read_bytes())
        for folder in files
        if (folder / "training.json").is_file()
    }


def trainings(run: Run, pictures: Path) -> list[Training]:
    """Return the trainings of the adapters that are on this machine, and copy their previews beside the pictures."""
    records = enumerate(training_records(run).items())
    return [_training(number, folder, record, pictures) for number, (folder, record) in records]


def _training(number: int, folder: Path, record: dict[str, Any], pictures: Path) -> Training:
    table = pq.read_table(folder / "losses.parquet").to_pydict()
    measured = {
        step: value for step, value in zip(table["step"], table["validation"], strict=True) if value is not None
    }
    previews = []
    for file in sorted((folder / "previews").glob("*.png"))[-MOST_PREVIEWS:]:
        name = f"preview-{number}-{file.name}"
        shutil.copyfile(file, pictures / name)
        previews.append((file.stem.lstrip("0") or "0", name))
    return Training(
        name=folder.name,
        defects=tuple(record["tokens"]),
        adapter_sha256=record["adapter_sha256"],
        versions=record["versions"],
        losses=loss_curves(table["step"], {name: table[name] for name in TERMS}, measured),
        previews=tuple(previews),
    )
