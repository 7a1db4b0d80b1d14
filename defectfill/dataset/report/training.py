"""What is known of the training of a run's adapters, for the report."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from defectfill.dataset.report.plots import loss_curves
from defectfill.io.files import damage_named, read_table
from defectfill.records.losses import LOSSES
from defectfill.runs.run import Run

MOST_PREVIEWS = 8


class TrainingRecord(BaseModel):
    """The part of training.json that the report tells of."""

    model_config = ConfigDict(frozen=True)

    tokens: dict[str, str]
    """By the defects that the adapter has learnt."""
    adapter_sha256: str
    versions: dict[str, str]


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


def training_records(run: Run) -> dict[Path, TrainingRecord]:
    """Return training.json of the run's adapters that are on this machine, by their folders; DataError for damage."""
    folders = dict.fromkeys(run.adapter_folder(defect) for defect in run.config.data.defects)
    found: dict[Path, TrainingRecord] = {}
    for path in (folder / "training.json" for folder in folders):
        if path.is_file():
            with damage_named(path, f"remove {path.parent} and run again"):
                found[path.parent] = TrainingRecord.model_validate_json(path.read_bytes())
    return found


def trainings(run: Run, pictures: Path) -> list[Training]:
    """Return the trainings of the adapters that are on this machine, and copy their previews beside the pictures."""
    records = enumerate(training_records(run).items())
    return [_training(number, folder, record, pictures) for number, (folder, record) in records]


def _training(number: int, folder: Path, record: TrainingRecord, pictures: Path) -> Training:
    with damage_named(folder / "losses.parquet", f"remove {folder} and run again"):
        rows = read_table(folder / "losses.parquet")
    steps, terms = [row["step"] for row in rows], {name: [row[name] for row in rows] for name in LOSSES}
    measured = {row["step"]: row["validation"] for row in rows if row["validation"] is not None}
    previews = []
    for file in sorted((folder / "previews").glob("*.png"))[-MOST_PREVIEWS:]:
        name = f"preview-{number}-{file.name}"
        shutil.copyfile(file, pictures / name)
        previews.append((file.stem.lstrip("0") or "0", name))
    return Training(
        name=folder.name,
        defects=tuple(record.tokens),
        adapter_sha256=record.adapter_sha256,
        versions=record.versions,
        losses=loss_curves(steps, terms, measured),
        previews=tuple(previews),
    )
