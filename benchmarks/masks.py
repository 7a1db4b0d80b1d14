"""python -m benchmarks.masks CONFIG [COUNT]: masks per second on one core, and the memory on the way.

Masks are planned for every defect of the config as a run plans them, on at most as many normals as SCENES; nothing
is written. A table, then one JSON line.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil

from defectfill.config.run import load_config
from defectfill.ingest.ingest import ingest
from defectfill.io.images import read_image
from defectfill.masks.category import CategoryMasks
from mask_sampling import PlacementError

SCENES = 8
MIB = 2**20


def main() -> None:
    """Print seconds for references, scenes and masks, and the resident memory after a tenth and after all."""
    config = load_config(Path(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    records = ingest(config)
    normals = [config.category_folder / record.path for record in records if record.role == "normal"][:SCENES]
    process = psutil.Process()
    for defect in config.data.defects:
        times = [time.perf_counter()]
        masks = CategoryMasks(config, records, defect)
        times.append(time.perf_counter())
        scenes = [masks.scene(read_image(path)) for path in normals]
        times.append(time.perf_counter())
        resident, refused = [], 0
        for index in range(count):
            try:
                masks.sample(scenes[index % len(scenes)], index)
            except PlacementError:
                refused += 1
            if index in (count // 10, count - 1):
                resident.append(process.memory_info().rss / MIB)
        times.append(time.perf_counter())
        learning, finding, sampling = (later - earlier for earlier, later in pairwise(times))
        height, width = scenes[0].allowed.shape
        result = {
            "defect": defect,
            "image": f"{width} x {height}",
            "masks": count,
            "not placed": refused,
            "references s": round(learning, 2),
            "scenes s": round(finding, 2),
            "masks s": round(sampling, 2),
            "ms per mask": round(1000 * sampling / count, 1),
            "MiB after a tenth": round(resident[0]),
            "MiB at the end": round(resident[-1]),
        }
        for name, value in result.items():
            print(f"{name:>18}  {value}")
        print(json.dumps(result))


if __name__ == "__main__":
    main()
