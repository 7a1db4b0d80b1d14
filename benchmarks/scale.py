"""The bookkeeping at scale: python -m benchmarks.scale [--rows 1000000] [--samples 2000]

rows      planned, divided into shards, looked through for rejected ones and merged into a dataset's tables; without
          masks, paintings and images. The shards' own tables are made beforehand; seconds
samples   through the steps after training, with real masks on toys and a painter that fills them with grey; seconds of
          processor time per painted sample, rejected ones included, and the resident memory after a tenth and after all

Two tables, then one JSON line.
"""

import argparse
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil

import defectfill.dataset.writer
import defectfill.io.images
import defectfill.runs.plan
import defectfill.synthesis.shards
from defectfill.config.base import BUNDLED_BASES
from defectfill.config.run import RunConfig
from defectfill.dataset.writer import merge_rows, write_dataset
from defectfill.io.files import write_bytes, write_rows
from defectfill.io.images import file_sha256
from defectfill.model.lora import ADAPTER_FILE
from defectfill.operations.prepare import start_run
from defectfill.painting.painter import FlatPainter, Painting
from defectfill.painting.window import Window
from defectfill.records.manifest import SHARD_SCHEMA, ManifestRow
from defectfill.records.plan import SampleSpec, Shard
from defectfill.runs.defect_planner import DefectPlanner
from defectfill.runs.plan import identity_of
from defectfill.runs.planner import Planner, plan_samples
from defectfill.runs.run import Run
from defectfill.runs.shards import ROWS_FILE
from defectfill.synthesis.shards import inpaint_shard
from defectfill.toy import write_category

MIB = 2**20
DEFECTS = ("hole", "scratch")


@dataclass(frozen=True)
class RowPlanner:
    """A planner of rows that name masks that are not there."""

    run: Run
    defect: str

    def plan(self, indices: range) -> list[SampleSpec]:
        return [
            SampleSpec(
                **(identity := identity_of(self.run.config, self.defect, index)),
                source_path=f"train/good/{index % 24:03d}.png",
                source_sha256="0" * 64,
                planned_mask_path=f"planned_masks/{self.defect}/{identity['sample_id']}.png",
                window=(0, 0, 96, 96),
                latent_cells=2.0,
                mask_sampler="reference",
                mask_like=("000",),
                mask_area_fraction=0.25,
            )
            for index in indices
        ]


@dataclass
class Clock:
    """Processor seconds within functions, by their names."""

    seconds: Counter[str] = field(default_factory=Counter)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.thread_time() - start

        return wrapped


@dataclass(frozen=True)
class TimedPainter:
    """The grey painter, on a clock."""

    clock: Clock

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        fill = self.clock.timed("painting", lambda *job: next(FlatPainter().paint(*([each] for each in job))))
        yield from map(fill, windows, seeds, prompts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=2_000)
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        write_category(Path(folder), "washer", 0, normals=24, test_normals=6, defective=12, defects=DEFECTS)
        if arguments.rows:
            figures |= measure_rows(toy_run(Path(folder), "rows", arguments.rows // len(DEFECTS)))
        if arguments.samples:
            figures |= measure_samples(toy_run(Path(folder), "samples", arguments.samples // len(DEFECTS)))
    print(json.dumps(figures))


def toy_run(folder: Path, name: str, count: int) -> Run:
    """Return a run with its first step done, and with files instead of its adapters."""
    run = start_run(
        RunConfig.model_validate(
            {
                "category": "washer",
                "object_name": "washer",
                "data": {"root": folder, "defects": DEFECTS, "references": {"count": 6}},
                "base": {"model": str(BUNDLED_BASES / "mini"), "resolution": 128, "device": "cpu"},
                "generate": {"count": count},
                "gates": {"tolerance": 20, "max_off_mask_fraction": 1},
                "output": {"root": folder / name},
                "report": False,
            }
        )
    )
    for defect in DEFECTS:
        adapter = run.adapter_folder(defect)
        write_bytes(adapter / ADAPTER_FILE, b"")
        facts = {"adapter_sha256": file_sha256(adapter / ADAPTER_FILE)}
        write_bytes(adapter / "training.json", json.dumps(facts).encode())
    return run


def measure_rows(run: Run) -> dict[str, float]:
    """Return the seconds that the steps over rows take, and the most memory that was resident till then."""
    watch = Watch()
    shards, painted, written = plan_samples(run, _open_planner), painted_row(run), 0
    watch.note("plan")
    while shards:
        for shard in shards:
            write_shard(run, shard, painted)
        written += len(shards)
        watch.skip()
        shards = plan_samples(run, _open_planner)
        watch.note("look for rejected")
    merge_rows(run, run.folder / "merged", [], {"train/good/000.png": "images/good/000.png"})
    watch.note("merge")
    rows = run.config.generate.count * len(DEFECTS)
    figures = {
        **watch.seconds,
        "total": sum(watch.seconds.values()),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(f"{rows:,} rows, {written:,} shards, seconds")
    for name, value in figures.items():
        print(f"  {name:20}{value:9.2f}")
    return {f"rows_{name.replace(' ', '_')}": value for name, value in figures.items()}


def _open_planner(run: Run, defect: str, first: int) -> Planner:
    return RowPlanner(run, defect)


class Watch:
    """A stopwatch: seconds between notes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.skip()

    def skip(self) -> None:
        self.start = time.perf_counter()

    def note(self, name: str) -> None:
        self.seconds[name] = time.perf_counter() - self.start
        self.skip()


def painted_row(run: Run) -> dict[str, Any]:
    """Return the row of a painted sample."""
    row = ManifestRow(
        sample_id="",
        image_path="images/hole/x.png",
        mask_path="masks/hole/x.png",
        drawn_mask_path="masks/hole/x.png",
        label_index=1,
        category="washer",
        defect="hole",
        split="train",
        origin="synthetic",
        width=160,
        height=160,
        image_sha256="0" * 64,
        mask_sha256="0" * 64,
        source_path="train/good/000.png",
        source_sha256="0" * 64,
        window=(0, 0, 96, 96),
        background_intact=True,
        base_model=run.record.base.model,
        base_revision=run.record.base.revision,
        adapter_sha256="0" * 64,
        prompt="A washer with sks",
        candidate_scores=(0.5,) * 8,
    )
    return row.model_dump()


def write_shard(
    run: Run, shard: Shard, painted: dict[str, Any], is_rejected: Callable[[int], bool] = lambda index: False
) -> None:
    """Write the table of a shard: rows alike but for their names, some of which are rejected, by their index."""
    rows = [
        {
            **painted,
            "sample_id": identity_of(run.config, shard.defect, index)["sample_id"],
            "defect": shard.defect,
            "reason": "mask_lost" if is_rejected(index) else "",
        }
        for index in range(shard.start, shard.stop)
    ]
    write_rows(run.shard_folder(shard) / ROWS_FILE, rows, SHARD_SCHEMA)


def measure_samples(run: Run) -> dict[str, float]:
    """Return processor milliseconds per painted sample, by what they go into, and the memory on the way."""
    clock, process = Clock(), psutil.Process()
    image_functions = {"write_png": "PNG encoding", "read_image": "decoding", "read_mask": "decoding"}
    for function, name in image_functions.items():
        timed = clock.timed(name, getattr(defectfill.io.images, function))
        for module in (defectfill.runs.plan, defectfill.synthesis.shards, defectfill.dataset.writer):
            setattr(module, function, timed)

    def open_planner(run: Run, defect: str, first: int) -> DefectPlanner:
        planner: Any = clock.timed("masks", DefectPlanner)(run, defect, first)
        masks = planner.masks
        sampler = SimpleNamespace(sample=clock.timed("masks", masks.sampler.sample))
        planner.masks = SimpleNamespace(scene=clock.timed("masks", masks.scene), sampler=sampler, names=masks.names)
        return cast(DefectPlanner, planner)

    painter, resident, count, start = TimedPainter(clock), [], 0, time.process_time()
    while shards := plan_samples(run, open_planner):
        for number, shard in enumerate(shards):
            inpaint_shard(run, shard, painter)
            count += shard.stop - shard.start
            if number in (len(shards) // 10, len(shards) - 1):
                resident.append(process.memory_info().rss / MIB)
    write_dataset(run)
    total = time.process_time() - start
    rest = total - sum(clock.seconds.values())
    figures = {name: 1000 * seconds / count for name, seconds in [*clock.seconds.items(), ("rest", rest)]}
    print(f"{count:,} samples, ms of processor time each")
    for name, value in figures.items():
        print(f"  {name:20}{value:9.2f}")
    print(f"  MiB after a tenth and after all: {resident[0]:.0f}, {resident[-1]:.0f}")
    memory = {"tenth_mib": resident[0], "end_mib": resident[-1]}
    return {f"samples_{name.replace(' ', '_')}": value for name, value in {**figures, **memory}.items()}


if __name__ == "__main__":
    main()
