"""A detector that learns from a dataset and is tested on what was held out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOY_CONFIG, contents, put_stand_in_adapter

from defectfill.config.run import load_config
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import read_table, write_table
from defectfill.io.images import read_mask, write_png
from defectfill.model.evaluation.detector import DetectorSettings, divide, train_detector
from defectfill.operations.prepare import start_run
from defectfill.painting.painter import FlatPainter
from defectfill.records.manifest import SCHEMA, ManifestRow
from defectfill.runs.planner import plan_samples
from defectfill.synthesis.shards import inpaint_shard
from defectfill.toy import write_category

QUICK = DetectorSettings(epochs=8, side=64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Path:
    """Write a dataset of toys with holes, painted in grey."""
    root = tmp_path_factory.mktemp("detector")
    write_category(root / "data", "washer", 1, normals=12, test_normals=8, defective=10, size_px=96, defects=("hole",))
    text = TOY_CONFIG.format(root=root, base=base_folder).replace("[hole, scratch]", "[hole]")
    (root / "toy.yaml").write_text(text.replace("count: 5", "count: 24").replace("count: 2}", "count: 3}"))
    run = start_run(load_config(root / "toy.yaml"))
    put_stand_in_adapter(run, "hole", base_folder)
    while shards := plan_samples(run):
        for shard in shards:
            inpaint_shard(run, shard, FlatPainter())
    return write_dataset(run)


def rows(dataset: Path) -> list[ManifestRow]:
    return [ManifestRow.model_validate(row) for row in read_table(dataset / "manifest.parquet")]


def test_it_learns_and_reports_the_same_again(dataset: Path, tmp_path: Path) -> None:
    report = train_detector(dataset, tmp_path / "one", QUICK)
    assert report["test"].keys() == {"hole"}
    assert report["test"]["hole"]["images"] == 7
    assert report["test"]["hole"]["image_auroc"] > 0.7
    assert report["test"]["hole"]["pixel_ap"] > 0.05
    assert json.loads((tmp_path / "one" / "report.json").read_bytes()) == report
    train_detector(dataset, tmp_path / "two", QUICK)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.server
def test_the_flow_writes_beside_the_dataset(dataset: Path, server: dict[str, str]) -> None:
    command = (
        "import sys; from flows.detector import train_detector; print(train_detector(sys.argv[1], epochs=1, side=64))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command, str(dataset)],
        env=server,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    output = Path(done.stdout.strip().splitlines()[-1])
    assert output == dataset.with_name("detector-1-64-0")
    assert json.loads((output / "report.json").read_bytes())["images"]["test"] > 0


def test_no_source_and_no_test_image_is_on_both_sides(dataset: Path) -> None:
    parts = divide(rows(dataset), QUICK)
    origins = [{row.source_path or row.image_path for row in part} for part in parts]
    assert not origins[0] & origins[1]
    assert all(row.split == "train" for part in parts for row in part)
    assert len(parts[0]) + len(parts[1]) == sum(row.split == "train" for row in rows(dataset))
    assert all(any(row.label_index for row in part) for part in parts)


def test_what_the_test_images_are_decides_nothing_that_is_learnt(dataset: Path, tmp_path: Path) -> None:
    quick = DetectorSettings(epochs=1, side=64)
    train_detector(dataset, tmp_path / "one", quick)
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    for row in rows(other):
        if row.split == "test" and row.mask_path:
            write_png(other / row.mask_path, ~read_mask(other / row.mask_path))
    train_detector(other, tmp_path / "two", quick)
    weights = [contents(tmp_path / name)["detector.safetensors"] for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_a_dataset_without_defects_to_learn_is_refused(dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    kept = [row for row in read_table(other / "manifest.parquet") if row["split"] == "test" or not row["label_index"]]
    write_table(other / "manifest.parquet", kept, SCHEMA)
    with pytest.raises(DataError, match="expected anomalous images of the train split to learn from"):
        train_detector(other, tmp_path / "out", QUICK)


@pytest.mark.parametrize("settings", [DetectorSettings(epochs=0), DetectorSettings(side=16)])
def test_settings_that_cannot_be_trained_with_are_refused(
    dataset: Path, tmp_path: Path, settings: DetectorSettings
) -> None:
    with pytest.raises(ConfigError, match="expected epochs of at least 1 and a side of at least 32"):
        train_detector(dataset, tmp_path / "out", settings)
