"""The last step: shards and real images become one self-contained dataset folder."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from defectfill.errors import DataError
from defectfill.files import new_folder, read_table, write_bytes, write_table
from defectfill.images import file_sha256, is_turned, read_image, read_mask, write_png
from defectfill.manifest import METADATA_SCHEMA, REJECTED_SCHEMA, SCHEMA, ManifestRow, metadata_row
from defectfill.plan import finished_shards, read_plan
from defectfill.progress import progress
from defectfill.run import Run
from defectfill.sheet import write_contact_sheet
from defectfill.snapshot import ImageRecord


def write_dataset(run: Run) -> Path:
    """The dataset's folder, made anew from the finished shards and the real images, and swapped in whole.

    A contact sheet follows, and last the mark that the run is finished. Raises DataError when a planned sample is
    in no shard, or a shard's file is no longer what was painted.
    """
    run.mark_unfinished()
    with new_folder(run.dataset, replace=True) as folder:
        real, image_path_of = _copy_real_images(run, folder)
        synthetic = _copy_shards(run, folder, image_path_of)
        kept = [row for row in synthetic if not row.reason]
        rejected = [row for row in synthetic if row.reason]
        rows = _with_weights([*real, *kept], run.config.dataset.real_share)
        write_table(folder / "rejected.parquet", [row.model_dump() for row in rejected], REJECTED_SCHEMA)
        write_table(folder / "metadata.parquet", [metadata_row(row) for row in rows], METADATA_SCHEMA)
        write_bytes(folder / "README.md", dataset_card(run, rows, rejected).encode())
        write_table(folder / "manifest.parquet", [row.model_dump(exclude={"reason"}) for row in rows], SCHEMA)
    write_contact_sheet(run)
    run.mark_finished()
    return run.dataset


def summary(dataset: Path) -> list[str]:
    """Lines for each defect: how many synthetic images were kept, how many rejected or never painted, and why."""
    kept = Counter(row["defect"] for row in read_table(dataset / "manifest.parquet") if row["origin"] == "synthetic")
    rejected = Counter((row["defect"], row["reason"]) for row in read_table(dataset / "rejected.parquet"))
    unplaced = [spec for spec in read_table(dataset.with_name("plan.parquet")) if spec["reason"]]
    lines = []
    for defect in sorted({*kept, *(defect for defect, _ in rejected)}):
        refused = [
            f"{count} rejected: {reason}" for (name, reason), count in sorted(rejected.items()) if name == defect
        ]
        lines.append(", ".join([f"{defect}: {kept[defect]} kept", *refused]))
        reasons = [spec["reason"] for spec in unplaced if spec["defect"] == defect]
        lines += [f"{defect}: {len(reasons)} found no place, the first because: {reasons[0]}"] if reasons else []
    return lines


def _copy_real_images(run: Run, folder: Path) -> tuple[list[ManifestRow], dict[str, str]]:
    """Rows of the real images, and where each source file of the snapshot lies in the dataset."""
    records = run.snapshot()
    rows = [_copy_real(run, record, folder) for record in progress(records, "copy real images")]
    return rows, {record.path: row.image_path for record, row in zip(records, rows, strict=True)}


def _copy_real(run: Run, record: ImageRecord, folder: Path) -> ManifestRow:
    """One real image and its mask. The image's file is copied byte for byte, unless EXIF turns it: then it is
    written upright, so that every reader sees it as its mask does. The mask is written as 0 and 255.
    """
    source = run.config.category_folder / record.path
    sample_id = f"real-{record.sha256[:16]}"
    turned = is_turned(source)
    image_path = f"images/{record.defect}/{sample_id}{'.png' if turned else source.suffix.lower()}"
    mask_path = f"masks/{record.defect}/{sample_id}.png" if record.mask_path else ""
    if turned:
        write_png(folder / image_path, read_image(source))
    else:
        _copy(source, folder / image_path)
    if mask_path:
        write_png(folder / mask_path, read_mask(run.config.category_folder / record.mask_path))
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
        image_sha256=file_sha256(folder / image_path),
        mask_sha256=file_sha256(folder / mask_path) if mask_path else "",
    )


def _copy_shards(run: Run, folder: Path, image_path_of: dict[str, str]) -> list[ManifestRow]:
    """Rows of all planned samples up to generate.count, in plan order, their files copied into the dataset."""
    painted: dict[str, tuple[Path, ManifestRow]] = {}
    for defect in run.config.data.defects:
        for shard in finished_shards(run, defect):
            shard_folder = run.shard_folder(shard)
            for values in read_table(shard_folder / "rows.parquet"):
                painted[values["sample_id"]] = shard_folder, ManifestRow.model_validate(values)
    rows = []
    for spec in read_plan(run):
        if spec.index >= run.config.generate.count or spec.reason:
            continue
        if spec.sample_id not in painted:
            raise DataError(
                f"{run.folder / 'shards'}: expected the planned sample {spec.sample_id}, found it in no shard"
            )
        shard_folder, row = painted[spec.sample_id]
        for path, sha256 in ((row.image_path, row.image_sha256), (row.mask_path, row.mask_sha256)):
            if file_sha256(shard_folder / path) != sha256:
                raise DataError(f"{shard_folder / path}: expected the file that was painted, found another content")
            _copy(shard_folder / path, folder / path)
        _copy(run.folder / row.planned_mask_path, folder / row.planned_mask_path)
        rows.append(row.model_copy(update={"source_path": image_path_of[row.source_path]}))
    return rows


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _with_weights(rows: Sequence[ManifestRow], real_share: float) -> list[ManifestRow]:
    """The rows with sampling weights: a sampler over train draws real references with `real_share` of each defect.

    Normals weigh 1, and the rows of a defect 1 on average; rows of the test split weigh 0. Where a defect has
    only one origin, its rows weigh 1.
    """
    counts = Counter((row.defect, row.origin) for row in rows if row.split == "train")

    def weight(row: ManifestRow) -> float:
        if row.split == "test":
            return 0.0
        real, synthetic = counts[row.defect, "real"], counts[row.defect, "synthetic"]
        if row.defect == "good" or not real or not synthetic:
            return 1.0
        share, count = (real_share, real) if row.origin == "real" else (1 - real_share, synthetic)
        return share * (real + synthetic) / count

    return [row.model_copy(update={"sampling_weight": weight(row)}) for row in rows]


def dataset_card(run: Run, rows: Sequence[ManifestRow], rejected: Sequence[ManifestRow]) -> str:
    """README.md of the dataset: what is in it, how it was made, how to read it."""
    config, record = run.config, run.record
    counts = Counter((row.defect, row.split, row.origin) for row in rows)
    table = [
        f"| {defect} | {split} | {origin} | {count} |" for (defect, split, origin), count in sorted(counts.items())
    ]
    reasons = Counter(row.reason for row in rejected)
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none"
    return f"""---
task_categories: [image-segmentation]
tags: [synthetic, anomaly-detection, defectfill]
configs:
- config_name: default
  data_files:
  - split: train
    path: [metadata.parquet, "images/**", "masks/**"]
---
# {config.category}: real and synthetic defects

| defect | split | origin | images |
| --- | --- | --- | --- |
{os.linesep.join(table)}

Rejected and kept apart in `rejected.parquet`: {refused}.

- `manifest.parquet` has one row per image with its mask, hashes and how it was made; `metadata.parquet` is the
  small table that Hugging Face's imagefolder reads. The column `split` says what may be trained on.
- Masks of synthetic images are the pixels that were really drawn; where the defect was asked for is in
  `planned_masks/`. Outside a narrow rim around the planned mask, every pixel is the source photograph's own.
- Draw training images by `sampling_weight`: real references then keep {config.dataset.real_share:.0%} of the draws
  of their defect.
- Painted by {record.base.model} ({record.base.revision[:12]}) with one DefectFill adapter per defect,
  {config.generate.steps} DDIM steps, guidance {config.generate.guidance_scale:g}, the least reconstructed of
  {config.generate.candidates} candidates, seed {config.seed}.
- The images derive from the photographs they were painted on and inherit their licence.

Check it at any time: `defectfill verify <this folder>`.
"""
