"""The plan and the tables of a dataset, of more rows than are held together; no masks, no images."""

import math
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents

from benchmarks.scale import RowPlanner, painted_row, write_shard
from defectfill.config.run import load_config
from defectfill.dataset.writer import merge_rows
from defectfill.io.files import read_table
from defectfill.operations.prepare import start_run
from defectfill.records.manifest import ManifestRow
from defectfill.records.plan import Shard
from defectfill.runs import planner
from defectfill.runs.plan import placed_samples, read_plan
from defectfill.runs.planner import BLOCK, UNPROVEN, Planner, plan_samples
from defectfill.runs.run import Run
from defectfill.runs.shards import (
    HOPELESS_RATE,
    TRIED,
    Outcome,
    are_hopeless,
    finished_shards,
    is_hopeless,
    sample_outcomes,
)

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


def run_of(config: Path, count: int, shard_size: int = 16, max_attempts: int = 2) -> Run:
    """The toy run with its first step done, for so many samples of each defect."""
    kept = [line for line in config.read_text().splitlines() if not line.startswith("generate:")]
    generate = f"count: {count}, shard_size: {shard_size}, max_attempts: {max_attempts}"
    config.write_text("\n".join([*kept, f"generate: {{{generate}}}\n"]))
    return start_run(load_config(config))


def test_a_part_of_the_plan_is_read_as_it_was_planned(toy_config: Path) -> None:
    run = run_of(toy_config, MANY)
    plan_samples(run, open_planner)
    assert all(placed_samples(run, defect).sum() == MANY for defect in ("hole", "scratch"))
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
            write_shard(run, shard, painted, lambda index: index % 10 == 0)
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
        "testmetadata.parquet",
        "trainmetadata.parquet",
    ]


def test_merged_tables_have_the_same_bytes_whatever_the_size_of_shards(toy_config: Path) -> None:
    assert contents(merged(toy_config, 500)) == contents(merged(toy_config, 30))


def is_rejected(share: float, index: int) -> bool:
    return bool(np.random.default_rng(index).random() < share)


def paint_rounds(run: Run, share: float, painted_of_round: float = 1.0) -> int:
    """Return the rounds a run takes in which a share of the samples is rejected; each is cut off after some shards."""
    painted, rounds = painted_row(run), 0
    while shards := plan_samples(run, open_planner):
        rounds += 1
        for shard in shards[: math.ceil(painted_of_round * len(shards))]:
            write_shard(run, shard, painted, partial(is_rejected, share))
    return rounds


def tables_of(run: Run) -> dict[str, bytes]:
    """The bytes of a run's tables; the run is removed."""
    folder = run.folder.parent / "merged"
    merge_rows(run, folder, REAL, SOURCE)
    tables = contents(folder)
    shutil.rmtree(folder)
    shutil.rmtree(run.folder)
    return tables


@pytest.mark.parametrize(("share", "count"), [(2 / 3, 100), (0.9, 20)])
def test_rejected_samples_are_replaced_in_two_more_rounds_and_the_tables_do_not_tell(
    toy_config: Path, monkeypatch: pytest.MonkeyPatch, share: float, count: int
) -> None:
    run = run_of(toy_config, count, max_attempts=30)
    assert paint_rounds(run, share) <= 3
    planned = {defect: len(placed_samples(run, defect)) for defect in ("hole", "scratch")}
    assert all(each <= 1.5 * count / (1 - share) for each in planned.values())
    tables = tables_of(run)
    run = run_of(toy_config, count, max_attempts=30)
    assert paint_rounds(run, share, painted_of_round=0.4) > 3
    assert tables_of(run) == tables
    monkeypatch.setattr(planner, "paintings_needed", lambda kept, rejected, count: count - kept)
    run = run_of(toy_config, count, max_attempts=30)
    assert paint_rounds(run, share) > 6
    assert tables_of(run) == tables


def test_a_count_that_is_raised_takes_what_was_painted_beyond_the_lower_one(toy_config: Path) -> None:
    for count in (30, 31, 60):
        grown = run_of(toy_config, count, max_attempts=30)
        paint_rounds(grown, 0.6)
    tables = tables_of(grown)
    run = run_of(toy_config, 60, max_attempts=30)
    paint_rounds(run, 0.6)
    assert tables_of(run) == tables


def test_a_plan_ends_at_max_attempts_whatever_is_rejected(toy_config: Path) -> None:
    run = run_of(toy_config, 10, max_attempts=4)
    assert paint_rounds(run, 1.0) <= 3
    assert [len(placed_samples(run, defect)) for defect in ("hole", "scratch")] == [40, 40]
    assert len(read_table_of(run)) == 80


@pytest.mark.parametrize("painted_of_round", [0.2, 1.0])
def test_a_hopeless_defect_stops_being_painted_and_the_tables_do_not_tell_when(
    toy_config: Path, painted_of_round: float
) -> None:
    run = run_of(toy_config, 300, max_attempts=30)
    paint_rounds(run, 0.95, painted_of_round)
    for defect in ("hole", "scratch"):
        outcomes = sample_outcomes(run, defect)
        assert TRIED <= np.count_nonzero(outcomes) <= UNPROVEN
        assert 300 <= len(outcomes) < 300 + TRIED
        assert is_hopeless(run, defect)
    merge_rows(run, run.folder / "merged", REAL, SOURCE)
    manifest, rejected = (read_table(run.folder / "merged" / f"{name}.parquet") for name in ("manifest", "rejected"))
    kept = [index for index in range(TRIED) if not is_rejected(0.95, index)]
    assert 0 < len(kept) < HOPELESS_RATE * TRIED
    for defect in ("hole", "scratch"):
        ids = [row["sample_id"] for row in manifest + rejected if row["sample_id"].startswith(defect)]
        assert sorted(int(each.split("-")[1]) for each in ids) == list(range(TRIED))
        assert ids[: len(kept)] == [each for each in ids if int(each.split("-")[1]) in kept]


@pytest.mark.parametrize(
    ("outcomes", "hopeless"),
    [
        ([], False),
        ([Outcome.REJECTED] * TRIED, True),
        ([Outcome.REJECTED] * (TRIED - 1), False),
        ([Outcome.REJECTED] * (TRIED - 1) + [Outcome.PENDING], False),
        ([Outcome.REJECTED] * (TRIED - 1) + [Outcome.UNPLACED], False),
        ([Outcome.UNPLACED] * 9 + [Outcome.REJECTED] * TRIED + [Outcome.PENDING], True),
        ([Outcome.KEPT] * 2 + [Outcome.REJECTED] * (TRIED - 2) + [Outcome.KEPT] * TRIED, True),
        ([Outcome.KEPT] * 3 + [Outcome.REJECTED] * (TRIED - 3), False),
        ([Outcome.KEPT] * 2 + [Outcome.REPLACED] + [Outcome.REJECTED] * (TRIED - 3), False),
    ],
)
def test_hopeless_is_of_whose_first_samples_the_gates_kept_hardly_any(outcomes: list[Outcome], hopeless: bool) -> None:
    assert are_hopeless(np.array(outcomes, np.int8)) is hopeless


def read_table_of(run: Run) -> list[dict[str, Any]]:
    merge_rows(run, run.folder / "merged", REAL, SOURCE)
    return read_table(run.folder / "merged" / "rejected.parquet")


@pytest.mark.parametrize(
    ("kept", "rejected", "count", "needed"),
    [(0, 0, 50, 50), (50, 0, 50, 0), (60, 9, 50, 0), (40, 0, 50, 10), (0, 5, 5, 55), (33, 67, 100, 239)],
)
def test_as_many_are_painted_next_as_will_likely_do(kept: int, rejected: int, count: int, needed: int) -> None:
    assert planner.paintings_needed(kept, rejected, count) == needed


def test_a_gap_is_painted_again_though_enough_are_kept_behind_it(toy_config: Path) -> None:
    paint_rounds(run_of(toy_config, 60, shard_size=10, max_attempts=30), 0.5)
    run = run_of(toy_config, 20, shard_size=10, max_attempts=30)
    assert plan_samples(run, open_planner) == []
    shutil.rmtree(run.shard_folder(Shard("hole", 10, 20)))
    assert plan_samples(run, open_planner) == [Shard("hole", 10, 20)]
