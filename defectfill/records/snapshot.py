"""The snapshot: every real image of a run with its role, as ingest found it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from defectfill.config.types import FolderName
from defectfill.io.errors import DataError
from defectfill.io.files import InnerPath, damage_named, read_table, write_table
from defectfill.io.images import ImageArray, file_sha256, read_mask
from defectfill.io.white_level import read_stretched
from defectfill.records.arrow import Int8, Int64, arrow_schema

Role = Literal["normal", "reference", "held_out", "test_normal"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ImageRecord(BaseModel):
    """One real image, what is known of its files, and what it may be used for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[InnerPath, Field(min_length=1)]
    """Relative to the category's folder, with forward slashes; so is mask_path."""
    role: Role
    defect: FolderName
    """`good` for normals."""
    split: Literal["train", "test"]
    width: int
    height: int
    """Pixels, upright."""
    channels: Int8
    bit_depth: Int8
    """8 or 16 per channel."""
    sha256: Sha256
    """Of the file."""
    content_sha256: Sha256
    """Of the pixels."""
    mask_path: InnerPath = ""
    """Empty for normals."""
    mask_sha256: str = ""
    mask_area_px: Int64 = 0
    group: str = ""
    """The physical part, from `groups.csv`; empty without that file."""
    white_level: int = 0
    """The value of white in an image of 16 bits; 0: the largest that its bits can be."""
    perceptual_hash: str = ""
    """Of what the image looks like, see `near_duplicates`; empty in snapshots of earlier versions."""


def write_snapshot(records: Iterable[ImageRecord], path: Path) -> None:
    """Write `records` to the parquet file `path`, whole or not at all; equal records give equal bytes."""
    write_table(path, [record.model_dump() for record in records], arrow_schema(ImageRecord))


def read_snapshot(path: Path) -> tuple[ImageRecord, ...]:
    """Return the records that `write_snapshot` wrote to `path`; DataError where that is missing or damaged."""
    with damage_named(path, "remove it and run again"):
        records = tuple(ImageRecord.model_validate(row) for row in read_table(path))
        if len({record.path for record in records}) < max(len(records), 1):
            raise ValueError("an image twice, or none at all")
    return records


def ingested(path: Path, sha256: str) -> Path:
    """Return the path of a real image or mask; DataError where its content is not the one that was ingested."""
    if file_sha256(path) != sha256:
        raise DataError(f"{path}: expected the file that was ingested, found another content; run again")
    return path


def read_picture(folder: Path, record: ImageRecord) -> ImageArray:
    """Return a real image [H, W, C] of the category in `folder`, white at the largest value of its type.

    Raises DataError where it was changed since it was ingested.
    """
    return read_stretched(ingested(folder / record.path, record.sha256), record.white_level)


def read_defect(folder: Path, record: ImageRecord) -> NDArray[np.bool_]:
    """Return the mask [H, W] of a real defect of the category in `folder`; DataError as of `read_picture`."""
    return read_mask(ingested(folder / record.mask_path, record.mask_sha256))


def white_level_in(records: Sequence[ImageRecord]) -> int:
    """Return the white level of those that are painted on, which is one for all of 16 bits; 0 where there is none."""
    return max((record.white_level for record in records), default=0)


def references_of(records: Sequence[ImageRecord], defect: str) -> list[ImageRecord]:
    """Return the real images of `defect` that may be learnt from."""
    return [record for record in records if record.role == "reference" and record.defect == defect]
