"""The files of a finished adapter: whether they are there, and whether they are what was trained."""

import json
from collections.abc import Sequence
from pathlib import Path

from defectfill.io.files import damage_named
from defectfill.io.images import file_sha256
from defectfill.model.lora import ADAPTER_FILE
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.run import Run

TRAINING_FILE = "training.json"
"""In the folder of an adapter, once it is whole."""


def is_trained(run: Run, defect: str, records: Sequence[ImageRecord] | None = None) -> bool:
    """Return whether the adapter of `defect` is there, whole; records as in Run.adapter_folder."""
    return (run.adapter_folder(defect, records) / TRAINING_FILE).is_file()


def adapter_sha256(run: Run, defect: str) -> str:
    """Return the SHA-256 of the finished adapter's weights.

    Raises DataError where they are no longer those that were trained.
    """
    folder = run.adapter_folder(defect)
    sha256 = adapter_sha256_in(folder)
    with damage_named(folder / ADAPTER_FILE, _remedy(folder)):
        if not (folder / ADAPTER_FILE).is_file() or file_sha256(folder / ADAPTER_FILE) != sha256:
            raise ValueError("no file, or another content than training.json tells of")
    return sha256


def adapter_sha256_in(folder: Path) -> str:
    """Return the SHA-256 of the weights by training.json in an adapter's folder; DataError where it cannot be read."""
    with damage_named(folder / TRAINING_FILE, _remedy(folder)):
        return str(json.loads((folder / TRAINING_FILE).read_bytes())["adapter_sha256"])


def _remedy(folder: Path) -> str:
    return f"remove {folder} and run again"
