"""How fast a dataset is exported, and in how much memory: python -m benchmarks.export [--rows 10000] [--side 512]

Writes a dataset of that many rows, a tenth of them real, three in four anomalous, with images of noise and masks of
blobs, then exports it in every format, each in a process of its own, to the same file system. Prints

seconds   until the folder is there
cpu s     of these, what the process computed: of use on a machine that does something else as well
MiB       the most memory of the process

and ends in one JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
from scipy import ndimage

from defectfill.dataset.export import Format
from defectfill.io.files import write_table
from defectfill.io.images import write_png
from defectfill.io.progress import progress
from defectfill.records.manifest import SCHEMA, ManifestRow

PICTURES = 40
"""Different images and masks; the others are links to them, which are read and hashed like any."""
EXPORT = """
import resource, sys, time
from pathlib import Path
from defectfill.dataset.export.export import export_dataset
start, used = time.perf_counter(), time.process_time()
export_dataset(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - start, time.process_time() - used, memory)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=512)
    arguments = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as work:
        write_dataset(Path(work) / "dataset", arguments.rows, arguments.side)
        print(f"{'format':12} {'seconds':>8} {'cpu s':>8} {'MiB':>6}   ({arguments.rows} rows of {arguments.side} px)")
        for format in get_args(Format):
            command = [sys.executable, "-c", EXPORT, f"{work}/dataset", f"{work}/{format}", format]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, computed, memory = map(float, done.stdout.split())
            measured[format] = {"seconds": round(seconds, 1), "cpu_s": round(computed, 1), "mib": round(memory)}
            print(f"{format:12} {seconds:8.1f} {computed:8.1f} {memory:6.0f}", flush=True)
    print(json.dumps({"rows": arguments.rows, "side": arguments.side, **measured}))


def write_dataset(folder: Path, count: int, side: int) -> None:
    """Write a dataset of `count` rows whose images are `side` pixels square."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(min(PICTURES, count)):
        smooth = ndimage.gaussian_filter(rng.normal(size=(side, side, 3)), (2, 2, 0))
        pixels = np.clip(128 + 200 * smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        field = ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 16)
        mask = field > np.quantile(field, 0.985)
        paths = folder / f"images/{number}.png", folder / f"masks/{number}.png"
        pictures.append((write_png(paths[0], pixels), write_png(paths[1], mask)))
    rows = [row(folder, number, side, *pictures[number % len(pictures)]) for number in progress(range(count), "rows")]
    write_table(folder / "manifest.parquet", rows, SCHEMA)


def row(folder: Path, number: int, side: int, image_sha256: str, mask_sha256: str) -> dict[str, object]:
    """Link the files of one row and return it."""
    picture, is_normal = number % PICTURES, number % 4 == 0
    for kind in ("images", "masks"):
        target = folder / kind / f"row-{number}.png"
        os.link(folder / kind / f"{picture}.png", target)
    return ManifestRow(
        sample_id=f"row-{number}",
        image_path=f"images/row-{number}.png",
        image_sha256=image_sha256,
        mask_path="" if is_normal else f"masks/row-{number}.png",
        mask_sha256="" if is_normal else mask_sha256,
        label_index=int(not is_normal),
        category="noise",
        defect="good" if is_normal else ("hole", "scratch")[number % 2],
        split="test" if number % 20 == 1 else "train",
        origin="real" if is_normal or number % 10 == 1 else "synthetic",
        width=side,
        height=side,
    ).model_dump()


if __name__ == "__main__":
    main()
