"""A finished dataset in another format."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict

from defectfill.dataset.export import Format
from defectfill.dataset.export.anomalib import write_anomalib
from defectfill.dataset.export.coco import write_coco
from defectfill.dataset.export.files import Files, Way
from defectfill.dataset.export.job import Job
from defectfill.dataset.export.labelstudio import NOT_SHOWN, write_labelstudio
from defectfill.dataset.export.mvtec import write_mvtec
from defectfill.dataset.export.selection import Selection, select
from defectfill.dataset.export.yolo import write_yolo_seg, write_yolo_sem
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import new_folder, unwritable, write_bytes
from defectfill.io.images import file_sha256
from defectfill.records.manifest import Split
from defectfill.records.reading import MANIFEST_FILE, check_is_dataset
from defectfill.runs.run import FINISHED_FILE, RUN_FILE

WRITERS: dict[Format, Callable[[Job], list[str]]] = {
    "anomalib": write_anomalib,
    "mvtec": write_mvtec,
    "coco": write_coco,
    "yolo-seg": write_yolo_seg,
    "yolo-sem": write_yolo_sem,
    "labelstudio": write_labelstudio,
}
"""Format -> what writes it into the job's folder and returns what its readers should know."""


class ImageCount(BaseModel):
    """How many images of one kind were exported."""

    model_config = ConfigDict(frozen=True)

    split: str
    defect: str
    origin: str
    images: int


class ExportReport(BaseModel):
    """An export that was written."""

    model_config = ConfigDict(frozen=True)

    folder: str
    format: Format
    counts: tuple[ImageCount, ...]
    linked: int
    """Images that are hard links to the dataset's own files."""
    copied: int
    converted: int
    """Images that were written anew: 8 bits of 16, or PNG in place of what the consumer does not show."""
    notes: tuple[str, ...]
    """What this format cannot hold, and how it is read."""


def export_dataset(
    dataset: Path,
    out: Path,
    format: Format,
    *,
    split: Split | None = None,
    real_share: float | None = None,
    link: bool = True,
) -> ExportReport:
    """Write the images and masks of a finished dataset to the folder `out` in a format, and return a report.

    The folder appears whole or not at all; equal datasets and arguments give equal files. Rejected samples never come
    along. split: only `train` or `test`. real_share: real references are repeated until they are that share of the
    images of their defect to learn from. link: hard links where the file system has them, so that nothing is stored
    twice, and whoever writes into such a file changes the dataset.

    Raises ConfigError for arguments that cannot be, DataError where the dataset is unfinished or damaged, where `out`
    is not an empty folder, or where the format cannot hold a name.
    """
    out = out.resolve()
    _check_arguments(format, split, real_share)
    _check_folders(dataset, out)
    selection = select(dataset, split, real_share)
    with new_folder(out, replace=True) as folder:
        files = Files(dataset, folder, link=link, converted=NOT_SHOWN if format == "labelstudio" else ())
        notes = WRITERS[format](Job(selection, files, out))
        report = _report(out, format, selection, files.ways, notes)
        write_bytes(folder / "README.md", _readme(report, selection).encode())
    return report


def _check_arguments(format: str, split: str | None, real_share: float | None) -> None:
    if format not in WRITERS:
        raise ConfigError(f"--format: expected {', '.join(WRITERS)}, found {format!r}")
    if split not in (None, *get_args(Split)):
        raise ConfigError(f"--split: expected {' or '.join(get_args(Split))}, found {split!r}")
    if format == "labelstudio" and real_share is not None:
        raise ConfigError("--real-share: expected none for labelstudio, where every image is looked at once")


def _check_folders(dataset: Path, out: Path) -> None:
    check_is_dataset(dataset)
    run = dataset.resolve().parent
    if (run / RUN_FILE).is_file() and not (run / FINISHED_FILE).is_file():
        raise DataError(f"{dataset}: expected the dataset of a finished run, found an unfinished one; run again")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"--out: expected an empty folder or none, found {'files' if out.is_dir() else 'a file'} at {out}"
        )
    if dataset.resolve() in (out, *out.parents):
        raise DataError(f"--out: expected a folder outside of the dataset, found {out}")
    if folder := unwritable(out.parent):
        raise ConfigError(f"--out: {folder} is not a folder that can be written to")


def _report(out: Path, format: Format, selection: Selection, ways: Counter[Way], notes: list[str]) -> ExportReport:
    counts = tuple(
        ImageCount(split=split, defect=defect, origin=origin, images=images)
        for (defect, split, origin), images in sorted(selection.images.items(), key=lambda each: each[0][1::-1])
        if images
    )
    return ExportReport(
        folder=str(out),
        format=format,
        counts=counts,
        linked=ways["linked"],
        copied=ways["copied"],
        converted=ways["converted"],
        notes=tuple(notes),
    )


def _readme(report: ExportReport, selection: Selection) -> str:
    """Return what lies in the folder, from where, and what its format cannot hold."""
    counts = "\n".join(f"| {each.split} | {each.defect} | {each.origin} | {each.images} |" for each in report.counts)
    notes = "\n".join(f"- {note[0].upper()}{note[1:]}." for note in report.notes)
    return f"""# {selection.category}, for {report.format}

Written by `defectfill export` from the dataset whose manifest.parquet has the SHA-256
`{file_sha256(selection.dataset / MANIFEST_FILE)}`. Synthetic images are in train alone; test holds real ones that
nothing was learnt from.

| split | defect | origin | images |
| --- | --- | --- | --- |
{counts}

{notes}
"""
