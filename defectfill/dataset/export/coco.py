"""COCO instances: a JSON file per split, with its images beside it."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from defectfill.dataset.export.job import Job
from defectfill.dataset.export.outlines import Part, parts_of, run_lengths
from defectfill.dataset.export.selection import Item

NEAR, FAR = 0.25, 0.5
"""Where in a pixel a polygon's edges are: the least far at which pycocotools reads the pixel, since rounding readers
take it for the next one from there on."""


class Annotations:
    """One JSON file, written annotation by annotation; of images what is in memory is a line each."""

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._images: list[str] = []
        self._count = 0
        categories = [
            {"id": number, "name": name, "supercategory": "defect"} for number, name in enumerate(classes, start=1)
        ]
        self._file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')

    def add_image(self, **values: Any) -> int:
        """Add an image, and return its id."""
        number = len(self._images) + 1
        self._images.append(json.dumps({"id": number, **values}))
        return number

    def add_annotation(self, **values: Any) -> None:
        """Add an annotation of an image."""
        self._file.write(",\n" if self._count else "\n")
        self._count += 1
        self._file.write(json.dumps({"id": self._count, **values}))

    def __enter__(self) -> "Annotations":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            self._file.write('],\n"images": [\n' + ",\n".join(self._images) + "]}\n")


def write_coco(job: Job) -> list[str]:
    """Write annotations/instances_<split>.json and the folders of the splits; return what is to be known.

    One annotation per connected part: a polygon, or runs where it has holes, which polygons cannot have. `iscrowd` is 0
    for both: evaluation by pycocotools passes over annotations with 1.
    """
    with_holes = parts = 0
    with ExitStack() as stack:
        files: dict[str, Annotations] = {}
        for item in job.items():
            split = item.row.split
            if split not in files:
                path = job.files.folder / "annotations" / f"instances_{split}.json"
                files[split] = stack.enter_context(Annotations(path, job.classes))
            image = files[split].add_image(**_image(job, item))
            for part in parts_of(job.files.mask(item.row)):
                category = job.classes.index(item.row.defect) + 1
                files[split].add_annotation(image_id=image, category_id=category, **_annotation(part))
                parts, with_holes = parts + 1, with_holes + part.has_holes
    return [f"{parts} annotations, one per connected part; {with_holes} have holes and are runs, the others polygons"]


def _image(job: Job, item: Item) -> dict[str, Any]:
    row = item.row
    path = job.files.place_image(row, f"{row.split}/{item.name}")
    return {
        "file_name": path.partition("/")[2],
        "width": row.width,
        "height": row.height,
        "defect": row.defect,
        "origin": row.origin,
        "sample_id": row.sample_id,
        "sampling_weight": row.sampling_weight,
    }


def _annotation(part: Part) -> dict[str, Any]:
    if part.has_holes:
        segmentation: Any = {"size": list(part.shape), "counts": run_lengths(part.mask().ravel(order="F")).tolist()}
    else:
        segmentation = [part.polygon(NEAR, FAR).ravel().tolist()]
    return {"segmentation": segmentation, "area": part.area, "bbox": list(part.box), "iscrowd": 0}
