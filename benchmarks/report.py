"""The report at scale: python -m benchmarks.report RUN [--samples 5000] [--keep FOLDER]

The samples of a small finished run, the demo's for instance, over and over under other names, half of them rejected:
seconds to build the report of so many, and the size of its page and of its folder.

A table, then one JSON line.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from defectfill.dataset.report.build import write_report
from defectfill.io.files import read_table, write_table
from defectfill.painting.gates import REASONS
from defectfill.records.manifest import FILE_COLUMNS, REJECTED_SCHEMA
from defectfill.records.manifest import SCHEMA as MANIFEST_SCHEMA
from defectfill.records.plan import SCHEMA as PLAN_SCHEMA
from defectfill.runs.plan import identity_of
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards

MIB = 2**20


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--keep", type=Path, help="where the report is to stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = multiplied(Run.at(arguments.run), Path(folder), arguments.samples)
        start, used = time.monotonic(), time.process_time()
        page = write_report(run, arguments.keep)
        found = {
            "samples": arguments.samples,
            "seconds": round(time.monotonic() - start, 1),
            "processor_seconds": round(time.process_time() - used, 1),
            "page_mib": round(page.stat().st_size / MIB, 1),
            "folder_mib": round(sum(path.stat().st_size for path in page.parent.rglob("*")) / MIB, 1),
        }
    for name, value in found.items():
        print(f"{name:20}{value:>10}")
    print(json.dumps(found))


def multiplied(run: Run, output: Path, count: int, rejected_share: float = 0.5) -> Run:
    """Return a run below `output` with so many samples over all defects, made of those that a small run kept.

    Each has files of its own, by links. A share of them counts as rejected, for one reason after the other.
    """
    folder = output / run.config.category / "runs" / run.folder.name
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("report", "compare-*"))
    shutil.copytree(run.category_output / "adapters", folder.parents[1] / "adapters")
    copy, defects = Run.at(folder), run.config.data.defects
    rows = read_table(run.dataset / "manifest.parquet")
    kept = [row for row in rows if row["origin"] == "real"]
    rejected: list[dict[str, Any]] = []
    plan: list[dict[str, Any]] = []
    for number, defect in enumerate(defects):
        own = [row for row in rows if row["origin"] == "synthetic" and row["defect"] == defect]
        wanted = count // len(defects) + (number < count % len(defects))
        for index, row in enumerate(_renamed(copy, own, defect, wanted)):
            plan.append(_planned(row, index))
            if int((index + 1) * rejected_share) == int(index * rejected_share):
                kept.append(row)
            else:
                rejected.append(_reject(copy, row, REASONS[len(rejected) % len(REASONS)]))
    write_table(copy.dataset / "manifest.parquet", kept, MANIFEST_SCHEMA)
    write_table(copy.dataset / "rejected.parquet", rejected, REJECTED_SCHEMA)
    write_table(copy.plan_path, plan, PLAN_SCHEMA)
    return copy


def _renamed(run: Run, rows: Sequence[dict[str, Any]], defect: str, count: int) -> Iterator[dict[str, Any]]:
    """Yield so many rows with ids of their own, and link their files under names of their own."""
    for index, row in enumerate(islice(cycle(rows), count)):
        identity = identity_of(run.config, defect, index)
        paths = {name: _link(run.dataset, row[name], f"{identity['sample_id']}.png") for name in FILE_COLUMNS}
        yield {**row, **paths, "sample_id": identity["sample_id"]}


def _link(root: Path, path: str, name: str) -> str:
    """Link a file under another name in its folder, unless that is there, and return its path."""
    source = root / path
    if not source.with_name(name).exists():
        os.link(source, source.with_name(name))
    return f"{path.rpartition('/')[0]}/{name}"


def _planned(row: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the row of the plan that a sample's row came from."""
    fields = {name: row[name] for name in PLAN_SCHEMA.names if name in row}
    return {**fields, "index": index, "mask_like": [], "reason": ""}


def _reject(run: Run, row: dict[str, Any], reason: str) -> dict[str, Any]:
    """Link the files of a sample to where those of rejected ones lie, and return its row."""
    defect, name = row["defect"], f"{row['sample_id']}.png"
    shard = run.shard_folder(finished_shards(run, defect)[0]) / "rejected"
    folders = {"image_path": shard / "images" / defect, "mask_path": shard / "masks" / defect}
    for column, folder in {**folders, "planned_mask_path": run.folder / "planned_masks" / defect}.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        os.link(run.dataset / row[column], folder / name)
    return {**row, **dict.fromkeys(FILE_COLUMNS, ""), "reason": reason}


if __name__ == "__main__":
    main()
