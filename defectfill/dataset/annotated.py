"""Labels as people would have drawn them: the drawn masks, grown as far as the references' masks reach too far."""

import statistics
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from defectfill.io.images import file_sha256, read_mask, write_png
from defectfill.painting.label import annotation_margin, grown
from defectfill.records.snapshot import read_defect, read_picture, references_of
from defectfill.runs.run import Run


@lru_cache(maxsize=32)
def annotation_margin_px(run_folder: Path, defect: str) -> int:
    """Return by how many pixels the masks of a defect's references reach beyond what one sees: the median, rounded."""
    run = Run.at(run_folder)
    folder, references = run.config.category_folder, references_of(run.snapshot(), defect)
    margins = (annotation_margin(read_picture(folder, each), read_defect(folder, each)) for each in references)
    return round(statistics.median(margins))


def write_annotated(run: Run, folder: Path, rows: Iterable[pa.Table]) -> None:
    """Write, for the kept samples among `rows`, the drawn masks in the dataset's folder anew, grown by the margin."""
    for table in rows:
        kept = table.filter(pc.and_(pc.equal(table["reason"], ""), pc.equal(table["label_index"], 1)))
        for row in kept.select(["defect", "mask_path"]).to_pylist():
            drawn = read_mask(folder / row["mask_path"])
            write_png(folder / _path(row["mask_path"]), grown(drawn, annotation_margin_px(run.folder, row["defect"])))


def annotated_labels(folder: Path, mask_paths: Iterable[str]) -> tuple[pa.Array, pa.Array]:
    """Return paths and hashes of what `write_annotated` made of drawn masks in the dataset's folder."""
    paths = [_path(path) if path else "" for path in mask_paths]
    hashes = [file_sha256(folder / path) if path else "" for path in paths]
    return pa.array(paths, pa.string()), pa.array(hashes, pa.string())


def _path(mask_path: str) -> str:
    return f"annotated_{mask_path}"
