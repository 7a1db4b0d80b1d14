"""The painted samples of a run, kept and rejected, with the files that their pictures are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from defectfill.io.files import damage_named
from defectfill.records.manifest import ManifestRow
from defectfill.runs.plan import plan_table
from defectfill.runs.review import read_review
from defectfill.runs.run import Run

MOST_SAMPLES = 10_000
"""Of a run whose samples are shown one by one; what is counted, is counted over all."""


@dataclass(frozen=True)
class Files:
    """The files of a painted sample."""

    image: Path
    drawn: Path
    """The drawn mask."""
    label: Path
    """The mask that the dataset gives as the label; of a rejected sample the drawn one."""
    planned: Path
    """The planned mask."""


@dataclass(frozen=True)
class PaintedSample:
    """A painted sample."""

    row: ManifestRow
    review: str
    """The decision that was applied to the dataset; empty for none."""
    note: str
    """A person's, with that decision."""
    source: Path
    files: Files | None
    """None where its image was not kept, or not on this machine."""


def painted_samples(run: Run) -> list[PaintedSample]:
    """Return the painted samples of the dataset in a run's folder, defect by defect in the order of the plan.

    Of each defect the first ones, MOST_SAMPLES in all.
    """
    most = max(MOST_SAMPLES // len(run.config.data.defects), 1)
    return [sample for defect in run.config.data.defects for sample in _of_defect(run, defect, most)]


def _of_defect(run: Run, defect: str, most: int) -> Iterator[PaintedSample]:
    """Yield the first painted samples of a defect: what was placed is painted in the plan's order."""
    plan = plan_table(run, defect, columns=["sample_id", "planned_mask_path", "reason"])
    placed = plan.filter(pc.equal(plan["reason"], "")).slice(0, most)
    planned = dict(zip(placed["sample_id"].to_pylist(), placed["planned_mask_path"].to_pylist(), strict=True))
    tables = (_rows(run, name, list(planned)) for name in ("manifest", "rejected"))
    rows = {row["sample_id"]: row for table in tables for row in table}
    folders, decisions = _shard_folders(run, defect), read_review(run).decisions
    for sample_id, path in planned.items():
        if sample_id in rows:
            note = decisions[sample_id].note if sample_id in decisions else ""
            yield _sample(run, rows[sample_id], run.folder / path, folders.get(sample_id), note)


def _rows(run: Run, table: str, sample_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of samples that are in a table of the dataset."""
    path = run.dataset / f"{table}.parquet"
    with damage_named(path, f"remove {run.dataset} and run again"):
        rows: list[dict[str, Any]] = pq.read_table(
            path, filters=pc.field("sample_id").isin(pa.array(sample_ids, pa.string()))
        ).to_pylist()
    return rows


def _shard_folders(run: Run, defect: str) -> dict[str, Path]:
    """Return the folder, in a shard, of the images and masks of each sample of a defect that was painted here."""
    shards = run.folder / "shards" / defect
    images = (path for inner in ("", "rejected/") for path in shards.glob(f"*/{inner}images/*/*.png"))
    return {path.stem: path.parents[2] for path in images if path.parent.name == defect}


def _sample(run: Run, row: dict[str, Any], planned: Path, shard: Path | None, note: str) -> PaintedSample:
    made = ManifestRow.model_validate(row)
    files = _files(run, made, planned, shard)
    whole = files is not None and all(path.is_file() for path in vars(files).values())
    review = row.get("review") or ""
    source = run.dataset / made.source_path
    return PaintedSample(made, review, note if review else "", source, files if whole else None)


def _files(run: Run, row: ManifestRow, planned: Path, shard: Path | None) -> Files | None:
    """Return where the files of a sample lie: in the dataset, or else in its shard."""
    if row.image_path:
        image, mask = run.dataset / row.image_path, run.dataset / row.mask_path
        return Files(image, run.dataset / row.drawn_mask_path, mask, run.dataset / row.planned_mask_path)
    if shard is None:
        return None
    name = f"{row.defect}/{row.sample_id}.png"
    return Files(shard / "images" / name, shard / "masks" / name, shard / "masks" / name, planned)
