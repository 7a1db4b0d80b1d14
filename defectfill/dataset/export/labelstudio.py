"""Label Studio: tasks with predictions as brush strokes, and the labelling interface that shows them."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from defectfill.dataset.export.job import Job
from defectfill.dataset.export.outlines import parts_of, run_lengths
from defectfill.dataset.export.selection import Item
from defectfill.io.errors import ConfigError
from defectfill.io.files import write_bytes

NOT_SHOWN = (".tif", ".tiff")
"""Endings of images that browsers do not show."""
ROOT_VARIABLES = ("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", "LOCAL_FILES_DOCUMENT_ROOT")
"""Where Label Studio's server is told below which folder it may serve files of its machine."""

INTERFACE = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="label" toName="image">
{labels}
  </BrushLabels>
</View>
"""

WORD_BITS, LENGTH_BITS = 8, (4, 8, 12, 16)
"""Of a value, and of a run's length minus one in each of the four sizes that its format can choose from."""


def write_labelstudio(job: Job) -> list[str]:
    """Write images/, tasks.json for the import and interface.xml for the labelling setup; return notes.

    A normal is a task without a prediction. Raises ConfigError where the server cannot serve the folder.
    """
    root = _document_root(job.out)
    with (job.files.folder / "tasks.json").open("w", encoding="utf-8") as file:
        for number, item in enumerate(job.items()):
            file.write((",\n" if number else "[\n") + json.dumps(_task(job, item, root)))
        file.write("\n]\n")
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in job.classes)
    write_bytes(job.files.folder / "interface.xml", INTERFACE.format(labels=labels).encode())
    return [
        f"start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and {ROOT_VARIABLES[0]} as the folder "
        f"in which {job.out.relative_to(root).as_posix()} lies, add that as local storage, then import tasks.json"
    ]


def _document_root(out: Path) -> Path:
    """Return the folder that paths of images are relative to: the server's, if the environment tells it."""
    named = next(filter(None, map(os.environ.get, ROOT_VARIABLES)), None)
    root = Path(named).resolve() if named else out.parent
    if root not in out.parents:
        raise ConfigError(f"--out: expected a folder below {root}, from where Label Studio serves files, found {out}")
    return root


def _task(job: Job, item: Item, root: Path) -> dict[str, Any]:
    row = item.row
    path = job.files.place_image(row, f"images/{item.name}")
    data = {
        "image": f"/data/local-files/?d={quote((job.out / path).relative_to(root).as_posix())}",
        **{name: getattr(row, name) for name in ("sample_id", "defect", "split", "origin")},
    }
    regions = [
        {
            "id": f"{item.name}-{number}",
            "from_name": "label",
            "to_name": "image",
            "type": "brushlabels",
            "original_width": row.width,
            "original_height": row.height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": list(brush_runs(part.mask())), "brushlabels": [row.defect]},
        }
        for number, part in enumerate(parts_of(job.files.mask(row)))
    ]
    return {"data": data, "predictions": [{"model_version": "defectfill", "result": regions}] if regions else []}


def brush_runs(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask [H, W] as Label Studio's brush has it: 0 and 255 in four channels, run-length encoded.

    The bits are those of thi.ng's rle-pack: 32 for the count of values, 5 for the bits of a value minus one, 4 for each
    of four sizes minus one; then for every run a one, 2 bits for which size, the length minus one, the value.
    """
    longest = 1 << LENGTH_BITS[-1]
    bits = [f"{4 * mask.size:032b}{WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for number, length in enumerate((4 * run_lengths(mask.ravel())).tolist()):
        value = f"{255 * (number % 2):0{WORD_BITS}b}"
        for start in range(0, length, longest):
            last = min(length - start, longest) - 1
            which = next(index for index, size in enumerate(LENGTH_BITS) if last < 1 << size)
            bits.append(f"1{which:02b}{last:0{LENGTH_BITS[which]}b}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
