"""A dataset as a torch Dataset, and the sampler that keeps the share of real references."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from defectfill.data import DefectDataset, real_share_sampler
from defectfill.io.errors import DataError
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.records.manifest import ManifestRow
from defectfill.runs.run import Run


def row(**values: object) -> ManifestRow:
    """Return a row of the train split, a synthetic hole unless told otherwise."""
    known = {"sample_id": "a", "image_path": "a.png", "label_index": 1, "category": "nut", "defect": "hole"}
    known |= {"split": "train", "origin": "synthetic", "width": 4, "height": 3, "image_sha256": ""}
    return ManifestRow.model_validate(known | values)


def test_an_item_is_what_its_files_hold(finished: Run) -> None:
    dataset = DefectDataset(finished.dataset)
    assert {each.split for each in dataset.rows} == {"train"}
    assert len(dataset) == len(dataset.rows) > 0
    for number in (0, len(dataset) - 1):
        each, item = dataset.rows[number], dataset[number]
        pixels = read_image(finished.dataset / each.image_path)
        np.testing.assert_array_equal((item["image"] * 255).round().byte().permute(1, 2, 0), pixels)
        expected = read_mask(finished.dataset / each.mask_path) if each.mask_path else np.zeros(pixels.shape[:2], bool)
        np.testing.assert_array_equal(item["mask"][0] == 1, expected)
        assert (item["label"], item["defect"], item["weight"]) == (each.label_index, each.defect, each.sampling_weight)


def test_batches_have_the_side_that_is_asked_for(finished: Run) -> None:
    batch = next(iter(DataLoader(DefectDataset(finished.dataset, "test", side=48), batch_size=3)))
    assert batch["image"].shape == (3, 3, 48, 48)
    assert batch["mask"].shape == (3, 1, 48, 48)
    assert batch["mask"].unique().tolist() in ([0.0], [0.0, 1.0])
    assert len(batch["defect"]) == 3
    assert batch["label"].tolist() == [int(defect != "good") for defect in batch["defect"]]


def test_a_defect_that_the_mirrored_border_shows_again_is_labelled_there_too(tmp_path: Path) -> None:
    pixels = np.full((40, 80), 50, np.uint8)
    pixels[4:10, 30:50] = 200
    write_png(tmp_path / "a.png", pixels)
    write_png(tmp_path / "m.png", pixels > 100)
    item = DefectDataset(tmp_path, side=80, rows=[row(mask_path="m.png", width=80, height=40)])[0]
    bright = item["image"][0] > 0.5
    assert bright.sum() == 240
    assert torch.equal(bright, item["mask"][0] == 1)


@pytest.mark.parametrize(
    ("pixels", "white_level", "expected"),
    [
        (np.full((3, 4), 4095, np.uint16), 4095, 1.0),
        (np.full((3, 4, 1), 32768, np.uint16), 65535, 0.5),
        (np.full((3, 4, 4), 51, np.uint8), 255, 0.2),
    ],
    ids=["grey of 12 bits", "grey of 16 bits", "colour with alpha"],
)
def test_every_kind_of_image_comes_as_three_channels_by_its_white(
    tmp_path: Path, pixels: np.ndarray, white_level: int, expected: float
) -> None:
    write_png(tmp_path / "a.png", pixels)
    item = DefectDataset(tmp_path, rows=[row(white_level=white_level)])[0]
    assert item["image"].shape == (3, 3, 4)
    assert item["image"].dtype == item["mask"].dtype == torch.float32
    torch.testing.assert_close(item["image"], torch.full((3, 3, 4), expected), atol=1e-4, rtol=0)
    assert not item["mask"].any()


@pytest.fixture
def mixed(tmp_path: Path) -> DefectDataset:
    """Return rows of two real and eight synthetic holes, one real stain, nine normals and a test image."""
    groups = [("hole", "real", 2), ("hole", "synthetic", 8), ("stain", "real", 1), ("good", "real", 9)]
    rows = [
        row(defect=defect, origin=origin, label_index=int(defect != "good"), sampling_weight=1)
        for defect, origin, count in groups
        for _ in range(count)
    ]
    return DefectDataset(tmp_path, rows=[*rows, row(split="test", origin="real")])


@pytest.mark.parametrize("real_share", [0.0, 0.25, 1.0])
def test_real_references_keep_their_share_of_a_defects_draws(mixed: DefectDataset, real_share: float) -> None:
    drawn = [mixed.rows[index] for index in real_share_sampler(mixed, real_share, 20_000, seed=1)]
    counts = Counter((each.defect, each.origin) for each in drawn)
    holes = counts["hole", "real"] + counts["hole", "synthetic"]
    assert {each.split for each in drawn} == {"train"}
    assert counts["hole", "real"] / holes == pytest.approx(real_share, abs=0.02)
    assert holes / 20_000 == pytest.approx(10 / 20, abs=0.02)
    assert counts["stain", "real"] / 20_000 == pytest.approx(1 / 20, abs=0.01)


def test_normals_get_the_share_that_is_asked_for(mixed: DefectDataset) -> None:
    drawn = [mixed.rows[index] for index in real_share_sampler(mixed, 0.5, 20_000, seed=1, normal_share=0.8)]
    assert sum(each.defect == "good" for each in drawn) / 20_000 == pytest.approx(0.8, abs=0.02)


def test_a_seed_gives_the_same_passes_and_every_pass_another_draw(mixed: DefectDataset) -> None:
    one, two = (real_share_sampler(mixed, None, 50, seed=3) for _ in range(2))
    passes = [list(one), list(one)]
    assert passes == [list(two), list(two)]
    assert passes[0] != passes[1]
    assert passes[0] != list(real_share_sampler(mixed, None, 50, seed=4))


def test_what_cannot_be_drawn_is_refused(mixed: DefectDataset, finished: Run) -> None:
    for shares in ({"real_share": 1.5}, {"real_share": 0.5, "normal_share": -1.0}):
        with pytest.raises(ValueError, match="expected a share between 0 and 1"):
            real_share_sampler(mixed, draws=4, seed=0, **shares)
    with pytest.raises(ValueError, match="expected rows of the train split to draw, found none of"):
        real_share_sampler(DefectDataset(finished.dataset, "test"), 0.5, 4, seed=0)


def test_folders_and_splits_that_there_are_none_of_are_refused(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a dataset folder with manifest\.parquet, found an empty folder"):
        DefectDataset(tmp_path)
    with pytest.raises(ValueError, match="split: expected train or test, found 'val'"):
        DefectDataset(finished.dataset, "val")  # type: ignore[arg-type]
    shutil.copy(finished.dataset / "README.md", tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"manifest\.parquet: expected what a step of the run wrote"):
        DefectDataset(tmp_path)
