"""The made-up washers: layout, seeds, and masks that tell the truth."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from defectfill.images import read_image, read_mask
from defectfill.toy import DEFECTS, VISIBLE_LEVELS, make_sample, write_category

every_defect = pytest.mark.parametrize("defect", DEFECTS)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def metal(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What is brighter than the ground."""
    grey = image.mean(axis=2)
    return np.asarray(grey > threshold_otsu(grey), dtype=bool)


def test_a_category_has_mvtec_layout(tmp_path: Path) -> None:
    folder = write_category(tmp_path / "data", seed=0, normals=2, test_normals=1, defective=1, size_px=64)
    assert folder == tmp_path / "data" / "washer"
    assert list(contents(tmp_path / "data")) == [
        "washer/ground_truth/hole/000_mask.png",
        "washer/ground_truth/scratch/000_mask.png",
        "washer/test/good/000.png",
        "washer/test/hole/000.png",
        "washer/test/scratch/000.png",
        "washer/train/good/000.png",
        "washer/train/good/001.png",
    ]
    assert read_image(folder / "train/good/000.png").shape == (64, 64, 3)
    assert read_mask(folder / "ground_truth/hole/000_mask.png").shape == (64, 64)


def test_more_pictures_leave_the_earlier_ones_as_they_are(tmp_path: Path) -> None:
    few = contents(write_category(tmp_path / "few", 3, normals=2, test_normals=1, defective=1, size_px=64))
    many = contents(write_category(tmp_path / "many", 3, normals=4, test_normals=2, defective=2, size_px=64))
    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many) == 14


def test_another_seed_makes_other_pictures() -> None:
    assert (make_sample((0, 0, 0)).image != make_sample((1, 0, 0)).image).any()


def test_a_category_that_is_there_is_left_alone(tmp_path: Path) -> None:
    note = tmp_path / "washer" / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    with pytest.raises(FileExistsError, match="washer"):
        write_category(tmp_path, seed=0, normals=1, test_normals=0, defective=0, size_px=64)
    assert contents(tmp_path) == {"washer/note.txt": b"mine"}


def test_a_normal_has_an_empty_mask() -> None:
    sample = make_sample((0, 0, 0))
    assert sample.image.dtype == np.uint8
    assert sample.image.shape == (256, 256, 3)
    assert sample.defect_mask.shape == (256, 256)
    assert not sample.defect_mask.any()


@every_defect
@pytest.mark.parametrize("size_px", [64, 256])
def test_the_mask_is_where_the_defect_shows(defect: str, size_px: int) -> None:
    for index in range(8):
        normal, damaged = (make_sample((7, index, 0), name, size_px) for name in ("good", defect))
        change = np.abs(damaged.image.astype(int) - normal.image).max(axis=2)
        inside = change[damaged.defect_mask]
        assert change[~damaged.defect_mask].max() <= VISIBLE_LEVELS
        assert (inside > VISIBLE_LEVELS).mean() > 0.8
        assert np.median(inside) > 2 * VISIBLE_LEVELS
        assert 0.001 < damaged.defect_mask.mean() < 0.03


@every_defect
def test_defects_lie_on_the_metal(defect: str) -> None:
    for index in range(8):
        normal, damaged = (make_sample((9, index, 0), name) for name in ("good", defect))
        reach = ndimage.binary_dilation(metal(normal.image), iterations=2)
        assert (damaged.defect_mask & reach).sum() >= 0.99 * damaged.defect_mask.sum()


def test_the_washer_stands_out_from_the_ground() -> None:
    for index in range(8):
        image = make_sample((11, index, 0)).image
        washer = metal(image)
        grey = image.mean(axis=2)
        ground = grey[~ndimage.binary_dilation(washer, iterations=4)]
        assert ndimage.label(washer)[1] == 1
        assert 0.2 < washer.mean() < 0.45
        assert np.percentile(grey[washer], 5) > np.percentile(ground, 99) + 30


def test_the_camera_is_neither_blown_out_nor_free_of_noise() -> None:
    image = make_sample((13, 0, 0)).image
    assert (image == 255).mean() < 0.02
    assert 0.3 < image[:20, :20, 1].std() < 10
