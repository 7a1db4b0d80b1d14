"""A finished dataset, to be read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from defectfill.records.leakage import Certificate, read_certificate
from defectfill.records.manifest import Split

if TYPE_CHECKING:
    from pandas import DataFrame


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
