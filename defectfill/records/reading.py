"""The rows of a finished dataset, read from its folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from defectfill.io.errors import DataError
from defectfill.io.files import checked, damage_named
from defectfill.records.manifest import ManifestRow, Split

MANIFEST_FILE = "manifest.parquet"
BLOCK = 1024
"""Rows that are in memory at a time while a manifest is gone through."""
NAMED = 5
"""Files that are named of those in a folder that is no dataset's."""


def manifest_rows(folder: Path, split: Split | None = None) -> Iterator[ManifestRow]:
    """Yield the rows of the dataset in `folder`, of one split or of all, in the order of its manifest.

    Raises DataError where there is no dataset or its manifest is damaged, ValueError for an unknown split.
    """
    import pyarrow.parquet as pq

    if split not in (None, *get_args(Split)):
        raise ValueError(f"split: expected {' or '.join(get_args(Split))}, found {split!r}")
    check_is_dataset(folder)
    path = folder / MANIFEST_FILE
    with damage_named(path, f"remove {folder} and run again"), pq.ParquetFile(path) as file:
        for block in file.iter_batches(BLOCK):
            rows = (ManifestRow.model_validate(row) for row in checked(block).to_pylist())
            yield from (row for row in rows if split in (None, row.split))


def check_is_dataset(folder: Path) -> None:
    """Raise DataError where a folder holds no dataset."""
    if missing := _missing_dataset(folder):
        raise DataError(f"{folder}: expected a dataset folder with {MANIFEST_FILE}, found {missing}")


def _missing_dataset(folder: Path) -> str:
    """Return what is there instead of a dataset's folder; empty where that is there."""
    if not os.path.isdir(folder):  # unlike Path's, false of a path too long to be one
        return "a file" if os.path.exists(folder) else "nothing"
    if (folder / MANIFEST_FILE).is_file():
        return ""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") if names else "an empty folder"
