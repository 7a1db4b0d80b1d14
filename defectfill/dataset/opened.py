"""A finished dataset, to be read."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from defectfill.io.errors import DataError
from defectfill.records.leakage import Certificate, read_certificate

if TYPE_CHECKING:
    from pandas import DataFrame

Split = Literal["train", "test"]

NAMED = 5
"""Files that are named of those in a folder that is no dataset's."""


@dataclass(frozen=True)
class Dataset:
    """A finished dataset in a folder."""

    folder: Path

    @cached_property
    def manifest(self) -> "DataFrame":
        """A row per image, real and synthetic; the columns are those of records.manifest."""
        return self._table("manifest")

    @cached_property
    def rejected(self) -> "DataFrame":
        """A row per painted sample that a gate kept out, with its `reason`."""
        return self._table("rejected")

    @cached_property
    def leakage(self) -> Certificate | None:
        """What of the test split reached the synthetic images; None where the dataset says nothing of it."""
        return read_certificate(self.folder / "manifest.parquet")

    def images(self, split: Split | None = None) -> list[Path]:
        """Return the image files of `train` or `test`, or all of them, in the order of the manifest."""
        return [self.folder / path for path in self._rows(split)["image_path"]]

    def masks(self, split: Split | None = None) -> list[Path | None]:
        """Return the mask file of each of these images; None for a normal."""
        return [self.folder / path if path else None for path in self._rows(split)["mask_path"]]

    def _rows(self, split: Split | None) -> "DataFrame":
        if split not in (None, *get_args(Split)):
            raise ValueError(f"split: expected {' or '.join(get_args(Split))}, found {split!r}")
        return self.manifest if split is None else self.manifest[self.manifest["split"] == split]

    def _table(self, name: str) -> "DataFrame":
        import pandas as pd

        return pd.read_parquet(self.folder / f"{name}.parquet")


def check_is_dataset(folder: Path) -> None:
    """Raise DataError where a folder holds no dataset."""
    if missing := _missing_dataset(folder):
        raise DataError(f"{folder}: expected a dataset folder with manifest.parquet, found {missing}")


def _missing_dataset(folder: Path) -> str:
    """Return what is there instead of a dataset's folder; empty where that is there."""
    if not os.path.isdir(folder):  # unlike Path's, false of a path too long to be one
        return "a file" if os.path.exists(folder) else "nothing"
    if (folder / "manifest.parquet").is_file():
        return ""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") if names else "an empty folder"
