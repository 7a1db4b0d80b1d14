"""The plan and the tables of a dataset, of more rows than are held together; no masks, no images."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import contents

from benchmarks.scale import RowPlanner, painted_row, write_shard
from defectfill.config.run import load_config
from defectfill.dataset.writer import merge_rows
from defectfill.io.files import read_table
from defectfill.operations.prepare import start_run
from defectfill.records.manifest import ManifestRow
from defectfill.records.plan import Shard
from defectfill.runs.plan import count_planned, read_plan
from defectfill.runs.planner import BLOCK, Planner, plan_samples
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards

MANY = BLOCK + 2000
SOURCE = {"train/good/000.png": "images/good/000.png"}
REAL = [
    ManifestRow(
        sample_id=f"real-{split}",
        image_path=f"images/hole/{split}.png",
        label_index=1,
        category="washer",
        defect="hole",
        split=split,
        origin="real",
        width=160,
        height=160,
        image_sha256="0" * 64,
    )
    for split in ("train", "test")
]


def open_planner(run: Run, defect: str, first: int) -> Planner:
    return RowPlanner(run, defect)


def run_of(config: Path, count: int, shard_size: int = 16) -> Run:
    """The toy run with its first step done, for so many samples of each defect."""
    kept = [line for line in config.read_text().splitlines() if not line.startswith("generate:")]
    config.write_text("\n".join([*kept, f"generate: {{count: {count}, shard_size: {shard_size}}}\n"]))
    return start_run(load_config(config))


def test_a_part_of_the_plan_is_read_as_it_was_planned(toy_config: Path) -> None:
    run = run_of(toy_config, MANY)
    plan_samples(run, open_planner)
    assert count_planned(run) == {"hole": MANY, "scratch": MANY}
    for start, stop in ((0, 3), (BLOCK - 2, BLOCK + 2), (MANY - 2, MANY)):
        assert read_plan(run, "scratch", start, stop) == RowPlanner(run, "scratch").plan(range(start, stop))
    assert [spec.index for spec in read_plan(run, "hole", MANY - 1, MANY + 5)] == [MANY - 1]
    assert len(read_plan(run, "hole")) == MANY
    assert read_plan(run, "hole", MANY) == read_plan(run, "stain", 0, 1) == []


def test_a_plan_that_grows_has_the_bytes_of_one_made_at_once(toy_config: Path) -> None:
    for count in (5, BLOCK + 5, MANY):
        run = run_of(toy_config, count)
        plan_samples(run, open_planner)
    grown = run.plan_path.read_bytes()
    run.plan_path.unlink()
    plan_samples(run, open_planner)
    assert run.plan_path.read_bytes() == grown


def test_shards_are_in_order_beyond_a_million(toy_config: Path) -> None:
    run = run_of(toy_config, 1)
    shards = [Shard("hole", start, start + 16) for start in (999_968, 999_984, 1_000_000)]
    for shard in shards:
        run.shard_folder(shard).mkdir(parents=True)
    assert finished_shards(run, "hole") == shards


def merged(config: Path, shard_size: int) -> Path:
    """The folder of the tables of a run whose samples are painted in shards of a size, and each tenth rejected."""
    run = run_of(config, MANY, shard_size)
    painted = painted_row(run)
    while shards := plan_samples(run, open_planner):
        for shard in shards:
            write_shard(run, shard, painted, rejected_each=10)
    folder = config.parent / f"merged-{shard_size}"
    merge_rows(run, folder, REAL, SOURCE)
    shutil.rmtree(run.folder)
    return folder


def test_merged_tables_hold_each_row_once_in_order_with_its_weight(toy_config: Path) -> None:
    folder = merged(toy_config, 500)
    kept, rejected, small = (read_table(folder / f"{name}.parquet") for name in ("manifest", "rejected", "metadata"))
    assert Counter(row["defect"] for row in kept[len(REAL) :]) == {"hole": MANY, "scratch": MANY}
    for defect in ("hole", "scratch"):
        indices = [
            [int(row["sample_id"].split("-")[1]) for row in rows if row["sample_id"].startswith(defect)]
            for rows in (kept, rejected)
        ]
        assert indices[0] == [index for index in range(indices[0][-1] + 1) if index % 10]
        assert indices[1] == list(range(0, indices[0][-1], 10))
    assert all(row["source_path"] == SOURCE["train/good/000.png"] for row in kept[len(REAL) :] + rejected)
    weights = [row["sampling_weight"] for row in kept]
    assert weights[:2] == [(MANY + 1) / 2, 0]
    assert sum(weights[2 : MANY + 2]) == pytest.approx(weights[0])
    assert set(weights[MANY + 2 :]) == {1}
    assert [row["file_name"] for row in small] == [row["image_path"] for row in kept]
    assert [row["sampling_weight"] for row in small] == weights
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.parquet",
        "metadata.parquet",
        "rejected.parquet",
    ]


def test_merged_tables_have_the_same_bytes_whatever_the_size_of_shards(toy_config: Path) -> None:
    assert contents(merged(toy_config, 500)) == contents(merged(toy_config, 30))
