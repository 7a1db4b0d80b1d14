"""The snapshot: every real image of a run with its role, as ingest found it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from defectfill.errors import DataError
from defectfill.files import read_table, write_table

Role = Literal["normal", "reference", "held_out", "test_normal"]


class ImageRecord(BaseModel):
    """One real image, what is known of its files, and what it may be used for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Relative to the category's folder, with forward slashes; so is mask_path."""
    role: Role
    defect: str
    """`good` for normals."""
    split: Literal["train", "test"]
    width: int
    height: int
    """Pixels, upright."""
    channels: int
    bit_depth: int
    """8 or 16 per channel."""
    sha256: str
    """Of the file."""
    content_sha256: str
    """Of the pixels."""
    mask_path: str = ""
    """Empty for normals."""
    mask_sha256: str = ""
    mask_area_px: int = 0
    group: str = ""
    """The physical part, from `groups.csv`; empty without that file."""


def write_snapshot(records: Iterable[ImageRecord], path: Path) -> None:
    """Writes `records` to the parquet file `path`, whole or not at all; equal records give equal bytes."""
    import pyarrow as pa

    whole = {"width": pa.int32(), "height": pa.int32(), "channels": pa.int8(), "bit_depth": pa.int8()}
    whole["mask_area_px"] = pa.int64()
    schema = pa.schema([(name, whole.get(name, pa.string())) for name in ImageRecord.model_fields])
    write_table(path, [record.model_dump() for record in records], schema)


def read_snapshot(path: Path) -> tuple[ImageRecord, ...]:
    """The records `write_snapshot` wrote to `path`; DataError where the file is missing or something else."""
    import pyarrow as pa

    try:
        return tuple(ImageRecord.model_validate(row) for row in read_table(path))
    except (OSError, pa.ArrowException, ValidationError) as error:
        found = " ".join(str(error).split())
        raise DataError(f"{path}: expected a snapshot of the real images, found: {found}") from error
