"""The last step: shards and real images become one self-contained dataset folder."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from defectfill.dataset.annotated import annotated_labels, write_annotated
from defectfill.dataset.card import dataset_card
from defectfill.dataset.contact_sheet import write_contact_sheet
from defectfill.dataset.leakage import certify
from defectfill.dataset.report.build import REPORT_FOLDER, write_report
from defectfill.dataset.reviewed import path_in_shard, reviewed
from defectfill.io.errors import DataError
from defectfill.io.files import damage_named, in_blocks, new_folder, new_table, remove_folder, write_bytes
from defectfill.io.images import file_sha256, is_turned, read_image, write_png
from defectfill.io.progress import progress
from defectfill.io.white_level import FULL
from defectfill.records.leakage import METADATA_KEY
from defectfill.records.manifest import (
    FILE_COLUMNS,
    METADATA_SCHEMA,
    REJECTED_SCHEMA,
    SCHEMA,
    SPLIT_TABLES,
    ManifestRow,
    count_rows,
    metadata_table,
    sampling_weights,
)
from defectfill.records.snapshot import ImageRecord, ingested, read_defect
from defectfill.runs.plan import plan_table
from defectfill.runs.review import read_review
from defectfill.runs.run import Run
from defectfill.runs.shards import ROWS_FILE, TRIED, finished_shards, is_hopeless, shard_rows
from defectfill.runs.timings import timed
from defectfill.runs.verdict import add_verdict, read_verdict

BLOCK = 8192
"""Rows that are written together."""


def write_dataset(run: Run, *, filled: bool = True) -> Path:
    """Make the dataset's folder anew from the finished shards and the real images, swap it in whole and return it.

    A contact sheet follows, the report where it is wanted, and last the mark that the run is finished, unless more is
    to be painted for it: not `filled`. Raises DataError when a planned sample of a filled one is in no shard, or a
    shard's file is no longer what was painted.
    """
    with timed(run, "merge"), new_folder(run.dataset, replace=True) as folder:
        real, image_path_of = _copy_real_images(run, folder)
        _copy_shards(run, folder, filled=filled)
        if run.config.dataset.label == "annotated":
            write_annotated(run, folder, (rows for _, rows in _finished_rows(run, filled=filled)))
        certificate = certify(run, real, (rows for _, rows in _finished_rows(run, filled=filled)))
        metadata = {METADATA_KEY: certificate.model_dump_json().encode()}
        merge_rows(run, folder, real, image_path_of, metadata, filled=filled)
        add_verdict(folder / "manifest.parquet", read_verdict(run, folder))
        write_bytes(folder / "README.md", dataset_card(run, folder).encode())
        run.mark_unfinished()  # all is there; a merge that fails leaves the dataset before it as it was
    write_contact_sheet(run)
    if run.config.report:
        write_report(run)
    elif (run.folder / REPORT_FOLDER).exists():  # of an earlier dataset
        remove_folder(run.folder / REPORT_FOLDER)
    if filled:
        run.mark_finished()
    return run.dataset


def merge_rows(
    run: Run,
    folder: Path,
    real: Sequence[ManifestRow],
    image_path_of: Mapping[str, str],
    file_metadata: Mapping[bytes, bytes] | None = None,
    *,
    filled: bool = True,
) -> None:
    """Write manifest.parquet, rejected.parquet and the tables of metadata of real images and finished shards.

    image_path_of: where each source file of the snapshot lies in the dataset. file_metadata: of manifest.parquet.
    Raises DataError when a planned sample of a filled dataset is in no shard.
    """
    known = pa.Table.from_pylist([row.model_dump() for row in real], schema=REJECTED_SCHEMA)
    painted = in_blocks((rows for _, rows in _finished_rows(run, filled=filled)), BLOCK)
    counts: Counter[tuple[str, str, str]] = Counter()
    merged = folder / ".merged.parquet"
    with new_table(folder / "rejected.parquet", REJECTED_SCHEMA) as rejected, new_table(merged, SCHEMA) as kept:
        for rows in chain([known], (_as_in_dataset(run, folder, rows, image_path_of) for rows in painted)):
            good = pc.equal(rows["reason"], "")
            rejected.write_table(rows.filter(pc.invert(good)))
            kept.write_table(rows.filter(good).select(SCHEMA.names))
            counts += count_rows(rows.filter(good))
    schema: pa.Schema = SCHEMA.with_metadata(file_metadata)
    weights = sampling_weights(counts, run.config.dataset.real_share)
    with (
        pq.ParquetFile(merged) as source,
        new_table(folder / "metadata.parquet", METADATA_SCHEMA) as metadata,
        new_table(folder / SPLIT_TABLES["train"], METADATA_SCHEMA) as train,
        new_table(folder / SPLIT_TABLES["test"], METADATA_SCHEMA) as test,
        new_table(folder / "manifest.parquet", schema) as manifest,
    ):
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group)
            keys = zip(*(rows[name].to_pylist() for name in ("defect", "split", "origin")), strict=True)
            column = pa.array([weights[key] for key in keys], pa.float32())
            rows = rows.set_column(SCHEMA.names.index("sampling_weight"), SCHEMA.field("sampling_weight"), column)
            manifest.write_table(rows)
            metadata.write_table(metadata_table(rows))
            for split, table in (("train", train), ("test", test)):
                table.write_table(metadata_table(rows, split))
    merged.unlink()


def _finished_rows(run: Run, *, filled: bool) -> Iterator[tuple[Path, pa.Table]]:
    """Yield the folder of every finished shard with its rows, in the plan's order, until generate.count are kept.

    The rows are as the review has them. One that was taken out counts as kept unless another is to be painted for it.
    Of a hopeless defect those of the first TRIED samples, however many were painted before that was known.
    """
    review = read_review(run)
    replaced = set(review.replaced)
    for defect in run.config.data.defects:
        plan = plan_table(run, defect, columns=["sample_id", "reason"])
        expected = plan.filter(pc.equal(plan["reason"], ""))["sample_id"].to_pylist()
        expected = expected[:TRIED] if is_hopeless(run, defect) else expected
        seen, left = 0, run.config.generate.count
        for shard in finished_shards(run, defect):
            rows = shard_rows(run, shard)
            columns = zip(*(rows[name].to_pylist() for name in ("sample_id", "defect", "reason")), strict=True)
            own = [(row, sample_id, reason) for row, (sample_id, of, reason) in enumerate(columns) if of == defect]
            own = own[: len(expected) - seen]
            if [sample_id for _, sample_id, _ in own] != expected[seen : seen + len(own)]:
                break
            seen += len(own)
            kept = [row for row, sample_id, reason in own if not reason and sample_id not in replaced]
            last = kept[left - 1] if len(kept) >= left else max((row for row, _, _ in own), default=-1)
            yield run.shard_folder(shard), reviewed(rows.slice(0, last + 1), review)
            left -= len(kept)
            if left <= 0 or seen == len(expected):
                break
        if filled and left > 0 and seen < len(expected):
            folder = run.folder / "shards" / defect
            expected_sample = f"expected the planned sample {expected[seen]}, found it in no shard"
            raise DataError(f"{folder}: {expected_sample}; remove {folder} and run again")


def _as_in_dataset(run: Run, folder: Path, rows: pa.Table, image_path_of: Mapping[str, str]) -> pa.Table:
    """Return rows of shards with the paths of their files in the dataset, and with the label that is asked for."""
    sources = pa.array([image_path_of[path] for path in rows["source_path"].to_pylist()], pa.string())
    changed, kept = {"source_path": sources}, pc.equal(rows["reason"], "")
    defective = pc.and_(kept, pc.equal(rows["label_index"], 1))
    labels: dict[str, Any] = {}
    if run.config.dataset.label == "planned":
        labels = {name: rows[f"planned_{name}"] for name in ("mask_path", "mask_sha256")}
    elif run.config.dataset.label == "annotated":
        drawn = pc.if_else(defective, rows["mask_path"], "").to_pylist()
        labels = dict(zip(("mask_path", "mask_sha256"), annotated_labels(folder, drawn), strict=True))
    changed |= {name: pc.if_else(defective, label, rows[name]) for name, label in labels.items()}
    if not run.config.dataset.rejected_images:
        paths = {name: changed.get(name, rows[name]) for name in FILE_COLUMNS}
        changed |= {name: pc.if_else(kept, column, "") for name, column in paths.items()}
    for name, column in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _copy_real_images(run: Run, folder: Path) -> tuple[list[ManifestRow], dict[str, str]]:
    """Return rows of the real images, and where each source file of the snapshot lies in the dataset."""
    records = run.snapshot()
    rows = [_copy_real(run, record, folder) for record in progress(records, "copy real images")]
    return rows, {record.path: row.image_path for record, row in zip(records, rows, strict=True)}


def _copy_real(run: Run, record: ImageRecord, folder: Path) -> ManifestRow:
    """Copy one real image and its mask and return their row.

    The image's file is copied byte for byte, unless EXIF turns it: then it is written upright, so that every reader
    sees it as its mask does. The mask is written as 0 and 255.
    """
    source = ingested(run.config.category_folder / record.path, record.sha256)
    sample_id = f"real-{record.sha256[:16]}"
    turned = is_turned(source)
    image_path = f"images/{record.defect}/{sample_id}{'.png' if turned else source.suffix.lower()}"
    mask_path = f"masks/{record.defect}/{sample_id}.png" if record.mask_path else ""
    if turned:
        write_png(folder / image_path, read_image(source))
    else:
        _copy(source, folder / image_path)
    mask = read_defect(run.config.category_folder, record) if mask_path else None
    return ManifestRow(
        sample_id=sample_id,
        image_path=image_path,
        mask_path=mask_path,
        label_index=int(record.defect != "good"),
        category=run.config.category,
        defect=record.defect,
        split=record.split,
        origin="real",
        width=record.width,
        height=record.height,
        white_level=(record.white_level or FULL) if record.bit_depth == 16 else 255,
        image_sha256=file_sha256(folder / image_path),
        mask_sha256=write_png(folder / mask_path, mask) if mask is not None else "",
    )


def _copy_shards(run: Run, folder: Path, *, filled: bool) -> None:
    """Copy the files of the finished shards into the dataset, after a check that they are what was painted."""
    sources = {record.path for record in run.snapshot()}
    for shard_folder, rows in _finished_rows(run, filled=filled):
        with damage_named(shard_folder / ROWS_FILE, f"remove {shard_folder} and run again"):
            for row in rows.to_pylist():
                if ManifestRow.model_validate(row).source_path not in sources:
                    raise ValueError(f"row {row['sample_id']}: unknown source {row['source_path']}")
        if not run.config.dataset.rejected_images:
            rows = rows.filter(pc.equal(rows["reason"], ""))
        for row in rows.select(["image_path", "image_sha256", "mask_path", "mask_sha256", "reason"]).to_pylist():
            files = {row["image_path"]: row["image_sha256"], row["mask_path"]: row["mask_sha256"]}
            for path, sha256 in files.items():
                if path:
                    painted = shard_folder / path_in_shard(path, row["reason"])
                    _copy_checked(painted, folder / path, sha256, remove=shard_folder)
        planned = (rows[name].to_pylist() for name in ("planned_mask_path", "planned_mask_sha256"))
        for path, sha256 in dict(zip(*planned, strict=True)).items():
            _copy_checked(run.folder / path, folder / path, sha256, remove=run.plan_path)


def _copy_checked(source: Path, target: Path, sha256: str, remove: Path) -> None:
    """Copy a file that an earlier step wrote; remove: what is to be removed for it to be written anew."""
    with damage_named(source, f"remove {remove} and run again"):
        if not source.is_file() or file_sha256(source) != sha256:
            raise ValueError("no file, or another content than was written")
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
