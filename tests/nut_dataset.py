"""What the tests of exports share: a small dataset of two defects."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectfill.dataset.export import Format
from defectfill.dataset.export.export import ExportReport, export_dataset
from defectfill.io.files import write_table
from defectfill.io.hashing import derive_seed
from defectfill.io.images import write_png
from defectfill.records.manifest import SCHEMA, ManifestRow

HEIGHT, WIDTH = 20, 31
Mask = NDArray[np.bool_]


def two_parts() -> Mask:
    """Return a mask of a bar and a diagonal line, one pixel wide, that ends at the image's edge."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[2:5, 3:12] = True
    mask[range(10, 20), range(21, 31)] = True
    return mask


def ring() -> Mask:
    """Return a mask with a hole, in which an island lies."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[4:15, 6:20] = True
    mask[6:13, 8:18] = False
    mask[8:10, 11:13] = True
    return mask


def write_row(
    folder: Path, name: str, defect: str, origin: str, split: str, mask: Mask | None, **more: Any
) -> dict[str, Any]:
    """Write an image, noise of its own unless `pixels` says otherwise, with its mask, and return its row."""
    noise = np.random.default_rng(derive_seed(name)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels = more.pop("pixels", noise)
    paths = {"image": f"images/{defect}/{name}.png", "mask": f"masks/{defect}/{name}.png" if mask is not None else ""}
    row = {
        "sample_id": name,
        "image_path": paths["image"],
        "image_sha256": write_png(folder / paths["image"], pixels),
        "mask_path": paths["mask"],
        "mask_sha256": write_png(folder / paths["mask"], mask) if mask is not None else "",
        "label_index": int(mask is not None),
        "category": "nut",
        "defect": defect,
        "split": split,
        "origin": origin,
        "width": WIDTH,
        "height": HEIGHT,
    }
    return ManifestRow.model_validate(row | more).model_dump()


def write_nut_dataset(folder: Path) -> Path:
    """Write a dataset of two defects, one with a name that is no file name everywhere, and return its folder."""
    deep = np.full((HEIGHT, WIDTH, 1), 4095, dtype=np.uint16)
    deep[0] = 0
    rows = [
        write_row(folder, "n1", "good", "real", "train", None),
        write_row(folder, "n10", "good", "real", "train", None, pixels=deep, white_level=4095),
        write_row(folder, "n2", "good", "real", "test", None),
        write_row(folder, "r1", "hole", "real", "train", ring()),
        write_row(folder, "s1", "hole", "synthetic", "train", two_parts()),
        write_row(folder, "s10", "hole", "synthetic", "train", ring()[::-1]),
        write_row(folder, "s2", "hole", "synthetic", "train", two_parts()[:, ::-1]),
        write_row(folder, "t1", "hole", "real", "test", two_parts()[::-1]),
        write_row(folder, "u1", "tiefe Kratzer ß", "synthetic", "train", two_parts()),
        write_row(folder, "u2", "tiefe Kratzer ß", "real", "test", ring()),
    ]
    write_table(folder / "manifest.parquet", rows, SCHEMA)
    return folder


def export(dataset: Path, out: Path, format: Format, **more: Any) -> ExportReport:
    return export_dataset(dataset, out, format, **more)
