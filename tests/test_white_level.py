"""Cameras of 10, 12 and 14 bits in files of 16."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import config_for, contents
from numpy.typing import NDArray

from defectfill.adapters.files import TRAINING_FILE
from defectfill.config.run import load_config
from defectfill.dataset.contact_sheet import LEAST_TILE_PX
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.ingest.ingest import data_digest, ingest
from defectfill.io.errors import DataError
from defectfill.io.files import read_table, write_table
from defectfill.io.images import file_sha256, read_image, read_mask, write_png
from defectfill.io.white_level import FULL, on_levels, stretched, unstretched, white_level_of
from defectfill.model.evaluation.data import DefectDataset
from defectfill.model.lora import ADAPTER_FILE
from defectfill.operations.prepare import start_run
from defectfill.operations.status import _setting_changes
from defectfill.painting.painter import FlatPainter
from defectfill.painting.tiles import GAP_PX, caption_line_px, title_px
from defectfill.records.manifest import SCHEMA
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.synthesis.shards import inpaint_shard


@pytest.mark.parametrize("white", [255, 1023, 4095, 5000, 16383, 65534])
def test_a_stretched_image_comes_back_exactly_with_its_alpha(white: int) -> None:
    colours = np.arange(white + 1, dtype=np.uint16).reshape(1, -1, 1).repeat(3, axis=2)
    image = np.concatenate([colours, np.full_like(colours[..., :1], FULL)], axis=2)
    wide = stretched(image, white)
    assert (wide[0, 0, 0], wide[0, -1, 0], wide[0, 0, 3]) == (0, FULL, FULL)
    np.testing.assert_array_equal(unstretched(wide, white), image)


def test_a_value_between_two_levels_of_a_camera_counts_as_the_one_that_is_written() -> None:
    wide = np.arange(FULL + 1, dtype=np.uint16).reshape(1, -1, 1)
    read_again = on_levels(wide, 4095)
    assert len(np.unique(read_again)) == 4096
    assert np.abs(read_again.astype(int) - wide).max() <= 8
    np.testing.assert_array_equal(unstretched(read_again, 4095), unstretched(wide, 4095))
    np.testing.assert_array_equal(on_levels(read_again, 4095), read_again)
    assert on_levels(wide, 0) is wide


def test_an_image_of_8_bits_or_without_a_white_level_is_left_alone() -> None:
    assert stretched(byte := np.zeros((2, 2, 3), np.uint8), 4095) is byte
    assert stretched(deep := np.zeros((2, 2, 1), np.uint16), 0) is deep


@pytest.mark.parametrize(("largest", "white"), [(0, 1023), (1023, 1023), (1024, 4095), (4096, 16383), (16384, FULL)])
def test_white_is_that_of_the_first_camera_that_can_give_the_value(largest: int, white: int) -> None:
    assert white_level_of(largest) == white


def deepen(root: Path, factor: int) -> Path:
    """Make all images below `root` grey images of 16 bits, each value times a factor."""
    for path in (path for path in root.rglob("*.png") if "ground_truth" not in path.parts):
        write_png(path, read_image(path)[..., :1].astype(np.uint16) * np.uint16(factor))
    return root


def brighten(path: Path, value: int) -> None:
    image = read_image(path)
    image[0, 0] = value
    write_png(path, image)


def levels(root: Path, **data: Any) -> set[int]:
    return {record.white_level for record in ingest(config_for(root, category="washer", **data))}


@pytest.fixture
def washers(tmp_path: Path, toy_data: Path) -> Path:
    return Path(shutil.copytree(toy_data, tmp_path / "data"))


def test_white_is_found_by_normals_and_references_and_what_is_held_out_and_brighter_is_refused(washers: Path) -> None:
    assert levels(washers) == {0}  # 8 bits
    deepen(washers, 3)
    assert levels(washers) == {1023}
    records = ingest(config_for(washers, category="washer"))
    paths = {record.role: washers / "washer" / record.path for record in records}
    brighten(paths["held_out"], 3_000)
    with pytest.raises(DataError, match=r"expected values up to 1023, the white of all .* those of 4095"):
        levels(washers)
    assert levels(washers, white_level=4095) == {4095}
    brighten(paths["reference"], 3_000)
    assert levels(washers) == {4095}
    brighten(paths["normal"], 30_000)
    assert levels(washers) == {0}


def test_a_white_that_is_asked_for_is_taken_and_what_is_above_is_told(washers: Path) -> None:
    deepen(washers, 16)
    assert levels(washers, white_level=5000) == {5000}
    assert levels(washers, white_level=FULL) == {0}
    with pytest.raises(DataError, match=r"000\.png: expected values up to data\.white_level, 2000, found") as caught:
        levels(washers, white_level=2000)
    assert len(caught.value.problems) > 1


def test_the_digest_of_the_data_counts_white_only_where_it_is_not_the_depths_own(washers: Path) -> None:
    def digests() -> list[str]:
        asked: list[Any] = ["auto", 4095, FULL]
        return [data_digest(config_for(washers, category="washer", white_level=white)) for white in asked]

    assert len(set(digests())) == 1
    deepen(washers, 16)
    auto, twelve_bits, full = digests()
    assert auto == twelve_bits != full


def paint_without_a_model(config_path: Path) -> Run:
    """Return a finished run whose samples are painted by FlatPainter, with a stand-in for the adapter."""
    run = start_run(load_config(config_path))
    folder = run.adapter_folder("hole")
    folder.mkdir(parents=True)
    (folder / ADAPTER_FILE).write_bytes(b"no weights")
    (folder / TRAINING_FILE).write_text(json.dumps({"adapter_sha256": file_sha256(folder / ADAPTER_FILE)}))
    while shards := plan_samples(run):
        for shard in shards:
            inpaint_shard(run, shard, FlatPainter())
    write_dataset(run)
    return run


def test_what_is_made_of_12_bits_is_what_is_made_of_16_in_the_range_of_its_camera(
    toy_config: Path, toy_data: Path
) -> None:
    toy_config.write_text(toy_config.read_text().replace("defects: [hole, scratch]", "defects: [hole]"))
    made: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
    seen: dict[int, tuple[set[int], list[Any]]] = {}
    for factor in (257, 16):
        shutil.rmtree(toy_config.parent / "data")
        deepen(Path(shutil.copytree(toy_data, toy_config.parent / "data")), factor)
        run = paint_without_a_model(toy_config)
        verify_dataset(run.dataset)
        (first, *_) = sorted((run.dataset / "images/hole").glob("hole-*.png"))
        mask, sheet = read_mask(run.dataset / "masks/hole" / first.name), read_image(run.folder / "contact_sheet.png")
        made[factor] = read_image(first), mask, sheet
        dataset = DefectDataset(run.dataset, split=None, side=32)
        seen[factor] = {row.white_level for row in dataset.rows}, [item["image"] for item in dataset]
    (wide, wide_mask, wide_sheet), (narrow, narrow_mask, narrow_sheet) = made[257], made[16]
    assert narrow.max() <= 4095
    assert (
        "- White is 4095 of 65535 in images of 16 bits.\n- The images derive" in (run.dataset / "README.md").read_text()
    )
    np.testing.assert_array_equal(narrow_mask, wide_mask)
    np.testing.assert_allclose(narrow / 4095, wide / FULL, atol=0.005)
    results_end = 3 * (title_px(LEAST_TILE_PX) + LEAST_TILE_PX + GAP_PX) - GAP_PX
    figures = np.s_[results_end : results_end + 4 * caption_line_px(LEAST_TILE_PX)]
    apart = np.abs(narrow_sheet.astype(int) - wide_sheet.astype(int)) > 2
    assert np.delete(apart, figures, axis=0).mean() < 1e-4  # 12 bits round otherwise than 16 do
    assert seen[16][0] == {4095}
    assert seen[257][0] == {FULL}
    for narrow_image, wide_image in zip(seen[16][1], seen[257][1], strict=True):
        np.testing.assert_allclose(narrow_image, wide_image, atol=0.005)


def test_images_that_have_no_white_of_their_own_keep_their_keys(finished: Run) -> None:
    config = finished.config
    explicit = config.model_copy(update={"data": config.data.model_copy(update={"white_level": 4095})})
    record = finished.record.model_copy(update={"config": explicit})
    (change,) = _setting_changes(finished, Run(record, finished.folder))
    assert (change.key, change.before, change.now) == ("data.white_level", "auto", "4095")
    assert record.key == finished.record.key
    assert record.adapter_key("hole", finished.snapshot()) == finished.adapter_folder("hole").name.rpartition("-")[2]
    assert "white" not in contents(finished.dataset)["README.md"].decode()


def test_verify_tells_a_white_that_an_image_of_8_bits_cannot_have(finished: Run, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(finished.dataset, tmp_path / "dataset"))
    first, *rest = read_table(dataset / "manifest.parquet")
    write_table(dataset / "manifest.parquet", [{**first, "white_level": 4095}, *rest], SCHEMA)
    with pytest.raises(DataError, match="the white_level of an image of 8 bits is 255, found 4095"):
        verify_dataset(dataset)
