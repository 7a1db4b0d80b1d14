"""The re-check of a finished dataset: every hash, size, mask value and count, from the files alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from defectfill.dataset.leakage import certificate_problems
from defectfill.io.errors import DataError
from defectfill.io.files import checked, schema_differences
from defectfill.io.images import ImageArray, file_sha256, read_image
from defectfill.io.progress import progress
from defectfill.painting.gates import REASONS
from defectfill.painting.label import changed_fraction, covered_fraction, intersection_over_union
from defectfill.painting.stitch import blend_region, unchanged_outside
from defectfill.painting.window import is_window_of
from defectfill.records.leakage import Certificate, read_certificate
from defectfill.records.manifest import (
    FILE_COLUMNS,
    LATER_COLUMNS,
    METADATA_SCHEMA,
    REJECTED_SCHEMA,
    RENAMED_COLUMNS,
    REVIEWED,
    SCHEMA,
    SPLIT_TABLES,
    TAKEN_OUT,
    ManifestRow,
    metadata_table,
)
from defectfill.records.reading import check_is_dataset


class VerifiedDataset(BaseModel):
    """A dataset that was found good."""

    model_config = ConfigDict(frozen=True)

    rows: int
    """Of the manifest."""
    rejected: int
    """Samples in rejected.parquet."""
    is_leaky: bool
    leakage: str
    """What the leakage certificate says, in a sentence."""


def verify_dataset(folder: Path) -> VerifiedDataset:
    """Check the dataset in `folder` and return how many rows were found good.

    Raises DataError where there is no dataset, or with one message per failure, each naming the row or the file: a
    missing or changed file, another size, a mask that is not single-channel 0 and 255 or is empty, pixels changed
    outside the drawn mask or the blend region, a label that misses some, files that no row lists or that lie outside
    of the folder, tables that contradict each other, a leakage certificate that is missing or does not fit the rows.
    """
    check_is_dataset(folder)
    tables = {
        "manifest.parquet": SCHEMA,
        "rejected.parquet": REJECTED_SCHEMA,
        "metadata.parquet": METADATA_SCHEMA,
        **dict.fromkeys(SPLIT_TABLES.values(), METADATA_SCHEMA),
    }
    problems: list[str] = []
    content = {name: _read(folder / name, schema, problems) for name, schema in tables.items()}
    if problems:
        raise DataError(problems)
    rows, rejected = (_validated(folder / name, content[name].to_pylist(), problems) for name in list(tables)[:2])
    for row in progress([*rows, *rejected], "verify"):
        problems += [f"{folder}: row {row.sample_id}: {problem}" for problem in _row_problems(folder, row)]
    problems += [f"{folder}: {problem}" for problem in _table_problems(folder, rows, rejected)]
    certificate = _certificate(folder, problems)
    problems += [f"{folder}: {problem}" for problem in certificate_problems(certificate, rows)]
    for split, name in ((None, "metadata.parquet"), *SPLIT_TABLES.items()):
        if not content[name].equals(metadata_table(content["manifest.parquet"], split)):
            of = f"the {split} rows" if split else "the rows"
            problems.append(f"{folder}: {name} does not hold {of} of manifest.parquet")
    if problems or certificate is None:
        raise DataError(problems)
    return VerifiedDataset(
        rows=len(rows), rejected=len(rejected), is_leaky=certificate.is_leaky, leakage=certificate.verdict
    )


def _certificate(folder: Path, problems: list[str]) -> Certificate | None:
    """Return the leakage certificate; one that cannot be read is added to `problems`."""
    try:
        return read_certificate(folder / "manifest.parquet")
    except ValidationError as error:
        problems.append(f"{folder}: the leakage certificate cannot be read: {error.errors()[0]['msg']}")
        return None


def _read(path: Path, schema: pa.Schema, problems: list[str]) -> pa.Table:
    """Return the table in a file; a missing, broken or differently typed one is added to `problems`."""
    try:
        found = pq.read_schema(path)
        later = [name for name in LATER_COLUMNS if name in schema.names and name not in found.names]
        if not found.equals(pa.schema([field for field in schema if field.name not in later])):
            differences = schema_differences(found, schema, RENAMED_COLUMNS)
            problems.append(f"{path}: expected the columns of a {path.stem} table, {differences}")
            return schema.empty_table()
        table = checked(pq.read_table(path))
        for name in later:
            table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
        return table
    except (OSError, pa.ArrowException) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return schema.empty_table()


def _validated(path: Path, table: Sequence[dict[str, Any]], problems: list[str]) -> list[ManifestRow]:
    """Return the rows as models; one that lacks a value is added to `problems`."""
    rows = []
    for number, values in enumerate(table):
        try:
            rows.append(ManifestRow.model_validate(values))
        except ValidationError as error:
            wrong = ", ".join(str(detail["loc"][0]) for detail in error.errors())
            problems.append(f"{path}: row {values.get('sample_id') or number}: no usable value in {wrong}")
    return rows


def _row_problems(folder: Path, row: ManifestRow) -> list[str]:
    """Return what is wrong with one row and its files, which a rejected one may lack."""
    files: dict[str, str | None] = {
        row.image_path: row.image_sha256,
        row.drawn_mask_path: None,
        row.planned_mask_path: row.planned_mask_sha256,
        row.mask_path: row.mask_sha256,
    }
    files.pop("", None)
    problems = [problem for path, sha256 in files.items() for problem in _file_problems(folder, path, sha256)]
    without_files = bool(row.reason) and not files
    problems += _contradictions(row, without_files=without_files)
    if problems or without_files:
        return problems
    try:
        pictures = {path: read_image(folder / path) for path in files}
    except DataError as error:
        return list(error.problems)
    for path, picture in pictures.items():
        height, width = picture.shape[:2]
        if (height, width) != (row.height, row.width):
            problems.append(f"{path}: expected {row.width} x {row.height} pixels, found {width} x {height}")
        if path == row.image_path and picture.dtype == np.uint8 and row.white_level != 255:
            problems.append(f"{path}: the white_level of an image of 8 bits is 255, found {row.white_level}")
        if path != row.image_path:
            problems += _mask_problems(path, picture, may_be_empty=bool(row.reason))
    if row.origin == "synthetic" and not problems:
        problems += _source_problems(folder, row, pictures)
        problems += _mask_figure_problems(row, pictures) if row.label_index == 1 else []
    return problems


def _contradictions(row: ManifestRow, *, without_files: bool) -> list[str]:
    """Return what in one row does not fit together."""
    problems = []
    if not row.image_path and not without_files:
        problems.append("it has no image")
    if bool(row.mask_path) != (row.label_index == 1) and not without_files:
        problems.append(f"label_index {row.label_index} does not fit its mask '{row.mask_path}'")
    if row.origin == "synthetic" and not without_files:
        needed = ["planned_mask_path", *(["drawn_mask_path"] if row.label_index == 1 else [])]
        problems += [f"a synthetic image without {name}" for name in needed if not getattr(row, name)]
    if (row.origin == "synthetic") != bool(row.source_path):
        problems.append(f"the source '{row.source_path}' does not fit the origin {row.origin}")
    if row.origin == "synthetic" and row.split != "train":
        problems.append(f"a synthetic image is in train, found {row.split}")
    if (row.defect == "good") != (row.label_index == 0):
        problems.append(f"label_index {row.label_index} does not fit the defect '{row.defect}'")
    if row.reason and row.reason not in (*REASONS, REVIEWED):
        problems.append(f"unknown reason '{row.reason}', known are {', '.join((*REASONS, REVIEWED))}")
    if (row.review in TAKEN_OUT) != (row.reason == REVIEWED) and row.reason in ("", REVIEWED):
        problems.append(f"the review '{row.review or ''}' does not fit the reason '{row.reason}'")
    return problems


def _file_problems(folder: Path, path: str, sha256: str | None) -> list[str]:
    """Return the problem of a missing file, one outside of the folder, or whose hash is not `sha256`, if not None."""
    file = folder / path
    if not file.is_file():
        return [f"{path} is missing"]
    if not file.resolve().is_relative_to(folder.resolve()):
        return [f"{path} is a link that leads out of the dataset"]
    if sha256 is not None and file_sha256(file) != sha256:
        return [f"{path} has changed: its hash is not the row's"]
    return []


def _mask_problems(path: str, values: ImageArray, *, may_be_empty: bool) -> list[str]:
    if values.shape[2] != 1 or values.dtype != np.uint8:
        return [f"{path}: expected a single-channel 8-bit mask, found {values.shape[2]} channels of {values.dtype}"]
    found = np.unique(values)
    if not set(found.tolist()) <= {0, 255}:
        return [f"{path}: expected the values 0 and 255, found {found[:5].tolist()}"]
    return [f"{path}: the mask is empty"] if found[-1] == 0 and not may_be_empty else []


def _mask_figure_problems(row: ManifestRow, pictures: Mapping[str, ImageArray]) -> list[str]:
    """Return the figures of a row that its planned and drawn masks do not give, and pixels that its label misses."""
    planned, drawn = (pictures[path][..., 0] > 0 for path in (row.planned_mask_path, row.drawn_mask_path))
    measured = {
        "mask_area_fraction": float(planned.mean()),
        "drawn_fraction": covered_fraction(planned, drawn),
        "off_mask_fraction": float((drawn & ~planned).sum() / max(drawn.sum(), 1)),
        "planned_iou": intersection_over_union(planned, drawn),
    }
    problems = [_differs(name, value, getattr(row, name)) for name, value in measured.items()]
    if row.mask_path != row.planned_mask_path and (drawn & ~(pictures[row.mask_path][..., 0] > 0)).any():
        problems.append(f"{row.mask_path}: the label does not hold the drawn mask")
    return [problem for problem in problems if problem]


def _differs(name: str, found: float, said: float | None) -> str:
    """Return the problem of a figure that is another than the row says, or nothing."""
    agrees = np.isclose(found, said or 0.0, rtol=1e-4, atol=1e-7)
    return "" if agrees else f"{name}: the files give {found:.6f}, the row says {said}"


def _source_problems(folder: Path, row: ManifestRow, pictures: dict[str, ImageArray]) -> list[str]:
    """Return problems where a synthetic image is not its source outside the drawn mask and the blend region."""
    if problems := _file_problems(folder, row.source_path, None):
        return [f"its source {problem}" for problem in problems]
    planned_mask = pictures[row.planned_mask_path][..., 0] > 0
    if row.window is None or not is_window_of(row.window, planned_mask):
        return [f"the window {row.window} is no square around the planned mask that fits the image"]
    left, top, right, bottom = row.window
    try:
        source = read_image(folder / row.source_path)
    except DataError as error:
        return list(error.problems)
    image = pictures[row.image_path]
    region, alpha = blend_region(planned_mask, (left, top, right, bottom))
    if not unchanged_outside(source, image, region, alpha > 0):
        return [f"{row.image_path} differs from its source {row.source_path} outside the blend region"]
    if row.label_index == 0:
        return []
    drawn = pictures[row.drawn_mask_path][..., 0] > 0
    if not unchanged_outside(source, image, region, drawn[region]):
        return [f"{row.image_path} differs from its source {row.source_path} outside the drawn mask"]
    problem = _differs("changed_fraction", changed_fraction(source, image, drawn), row.changed_fraction)
    return [problem] if problem else []


def _table_problems(
    folder: Path,
    rows: Sequence[ManifestRow],
    rejected: Sequence[ManifestRow],
) -> list[str]:
    """Return contradictions between the tables, and files that no row lists."""
    everything = [*rows, *rejected]
    counts = Counter(row.sample_id for row in everything)
    problems = [f"row {name}: the sample_id stands {count} times" for name, count in counts.items() if count > 1]
    normals = {row.image_path for row in rows if (row.origin, row.defect, row.split) == ("real", "good", "train")}
    problems += [
        f"row {row.sample_id}: its source {row.source_path} is no normal of the train split"
        for row in everything
        if row.origin == "synthetic" and row.source_path not in normals
    ]
    listed = {getattr(row, name) for row in everything for name in FILE_COLUMNS}
    for part in ("images", "masks", "planned_masks", "annotated_masks", "rejected"):
        files = (path for path in sorted((folder / part).rglob("*")) if path.is_file() and not _is_desktops(path))
        found = (path.relative_to(folder).as_posix() for path in files)
        problems += [f"{path} is listed in no row" for path in found if path not in listed]
    return problems


def _is_desktops(path: Path) -> bool:
    """Return whether a file is one that desktops leave in folders that are looked at."""
    return path.name == ".DS_Store" or path.name.startswith("._") or path.name.lower() in ("thumbs.db", "desktop.ini")
