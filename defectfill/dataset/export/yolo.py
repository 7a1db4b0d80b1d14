"""Ultralytics' formats: polygons for instance segmentation, masks of class numbers for semantic segmentation."""

import numpy as np
import yaml

from defectfill.dataset.export.job import Job
from defectfill.dataset.export.outlines import Part, parts_of
from defectfill.io.errors import DataError
from defectfill.io.files import write_bytes
from defectfill.io.images import write_png

NEAR, FAR = 0.05, 0.95
"""Where in a pixel a polygon's edges are: nearly all of it, and the same when ultralytics cuts decimals off."""
BACKGROUND = "background"
MOST_CLASSES = 254
"""Beside the background; 255 means ignore."""
IMAGENET_PREFIX = "n0"
"""Where the first class begins so, ultralytics takes all names for ImageNet's, and stops at one that is none."""

VALIDATION = "data.yaml validates on {split}: divide images/train to choose by images that are not trained on"


def write_yolo_seg(job: Job) -> list[str]:
    """Write images/<split>, labels/<split> with a polygon per connected part, and data.yaml; return notes.

    Raises DataError for a class name that ultralytics cannot take.
    """
    if job.classes and job.classes[0].startswith(IMAGENET_PREFIX):
        raise DataError(f"yolo-seg: expected a first class that does not begin with n0, found {job.classes[0]!r}")
    filled = 0
    for item in job.items():
        row = item.row
        job.files.place_image(row, f"images/{row.split}/{item.name}")
        lines = []
        for part in parts_of(job.files.mask(row)):
            lines.append(f"{job.classes.index(row.defect)} {_polygon(part, row.width, row.height)}\n")
            filled += part.has_holes
        write_bytes(job.files.folder / f"labels/{row.split}/{item.name}.txt", "".join(lines).encode())
    _write_yaml(job, dict(enumerate(job.classes)))
    return [f"the holes of {filled} parts are filled: this format has none", VALIDATION.format(split=job.splits[0])]


def _polygon(part: Part, width: int, height: int) -> str:
    """Return the outline as shares of width and height; more decimals than pixels, so that none moves."""
    return " ".join(f"{x / width:.8g} {y / height:.8g}" for x, y in part.polygon(NEAR, FAR))


def write_yolo_sem(job: Job) -> list[str]:
    """Write images/<split>, masks/<split> of class numbers with 0 for the background, and data.yaml; return notes.

    Raises DataError where the classes have no numbers or a name is taken.
    """
    if BACKGROUND in job.classes or len(job.classes) > MOST_CLASSES:
        wanted = f"at most {MOST_CLASSES} defects, none called {BACKGROUND}"
        raise DataError(f"yolo-sem: expected {wanted}, found {len(job.classes)}: {', '.join(job.classes[:9])}")
    for item in job.items():
        row = item.row
        job.files.place_image(row, f"images/{row.split}/{item.name}")
        number = job.classes.index(row.defect) + 1 if row.label_index else 0
        values = job.files.mask(row) * np.uint8(number)
        write_png(job.files.folder / f"masks/{row.split}/{item.name}.png", values)
    _write_yaml(job, dict(enumerate([BACKGROUND, *job.classes])), masks_dir="masks")
    return ["masks hold 0 for the background and a defect's number", VALIDATION.format(split=job.splits[0])]


def _write_yaml(job: Job, names: dict[int, str], **more: str) -> None:
    """Write data.yaml. It has no `path`, so its own folder is the root.

    Ultralytics asks for a validation part and keeps the best epoch by it, so that is never the test split if there is
    another.
    """
    content: dict[str, object] = {"train": f"images/{job.splits[0]}", "val": f"images/{job.splits[0]}"}
    if "test" in job.splits:
        content["test"] = "images/test"
    text = yaml.safe_dump({**content, **more, "names": names}, allow_unicode=True, sort_keys=False)
    write_bytes(job.files.folder / "data.yaml", text.encode())
