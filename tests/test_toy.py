"""The made-up categories: layout, seeds, and masks that tell the truth."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from defectfill.io.errors import ConfigError
from defectfill.io.images import read_image, read_mask
from defectfill.toy import CATEGORIES, DEFECTS, VISIBLE_LEVELS, Sample, make_sample, write_category

every_category = pytest.mark.parametrize("category", CATEGORIES)
every_defect = pytest.mark.parametrize("defect", DEFECTS)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def bright(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The brighter of object and ground."""
    grey = image.mean(axis=2)
    return np.asarray(grey > threshold_otsu(grey), dtype=bool)


def change(normal: Sample, damaged: Sample) -> NDArray[np.int_]:
    """Largest difference of the three channels, (H, W), 0 to 255."""
    return np.asarray(np.abs(damaged.image.astype(int) - normal.image).max(axis=2))


def test_a_category_has_mvtec_layout(tmp_path: Path) -> None:
    folder = write_category(tmp_path / "data", "cloth", seed=0, normals=2, test_normals=1, defective=1, size_px=64)
    assert folder == tmp_path / "data" / "cloth"
    assert list(contents(tmp_path / "data")) == [
        "cloth/ground_truth/hole/000_mask.png",
        "cloth/ground_truth/scratch/000_mask.png",
        "cloth/ground_truth/stain/000_mask.png",
        "cloth/test/good/000.png",
        "cloth/test/hole/000.png",
        "cloth/test/scratch/000.png",
        "cloth/test/stain/000.png",
        "cloth/train/good/000.png",
        "cloth/train/good/001.png",
    ]
    assert read_image(folder / "train/good/000.png").shape == (64, 64, 3)
    assert read_mask(folder / "ground_truth/hole/000_mask.png").shape == (64, 64)


@every_category
def test_more_pictures_and_defects_leave_the_earlier_ones_as_they_are(tmp_path: Path, category: str) -> None:
    few_folder = write_category(tmp_path / "few", category, 3, 2, 1, 1, size_px=64, defects=["stain"])
    few = contents(few_folder)
    many = contents(write_category(tmp_path / "many", category, 3, 4, 2, 2, size_px=64))
    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many) == 18


@every_category
def test_another_seed_makes_other_pictures(category: str) -> None:
    assert (make_sample((0, 0), category, size_px=64).image != make_sample((1, 0), category, size_px=64).image).any()


def test_a_category_that_is_there_is_left_alone(tmp_path: Path) -> None:
    note = tmp_path / "washer" / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    with pytest.raises(FileExistsError, match="washer"):
        write_category(tmp_path, "washer", seed=0, normals=1, test_normals=0, defective=0, size_px=64)
    assert contents(tmp_path) == {"washer/note.txt": b"mine"}


def test_unknown_names_are_told_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        write_category(tmp_path, "spring", 0, 1, 0, 0, defects=["hole", "dent"])
    assert told.value.problems == (
        f"category: expected one of {', '.join(CATEGORIES)}, found: spring",
        "defects: expected some of hole, scratch, stain, found: dent",
    )
    assert not list(tmp_path.iterdir())


@every_category
def test_a_normal_has_an_empty_mask(category: str) -> None:
    sample = make_sample((0, 0, 0), category)
    assert sample.image.dtype == np.uint8
    assert sample.image.shape == (256, 256, 3)
    assert sample.defect_mask.shape == (256, 256)
    assert not sample.defect_mask.any()


@every_category
@every_defect
@pytest.mark.parametrize(("size_px", "count"), [(64, 12), (128, 12), (256, 2)])
def test_the_mask_is_where_the_defect_shows(category: str, defect: str, size_px: int, count: int) -> None:
    for index in range(count):
        normal, damaged = (make_sample((7, index, 0), category, name, size_px) for name in ("good", defect))
        levels = change(normal, damaged)
        inside = levels[damaged.defect_mask]
        assert levels[~damaged.defect_mask].max() <= VISIBLE_LEVELS
        assert (inside > VISIBLE_LEVELS).mean() > 0.8
        assert np.median(inside) > 2 * VISIBLE_LEVELS
        assert np.percentile(inside, 90) > 20
        assert 0.001 < damaged.defect_mask.mean() < 0.05


@every_defect
@pytest.mark.parametrize("category", ["screw", "bottle", "cable"])
def test_defects_lie_on_the_face(category: str, defect: str) -> None:
    number = list(CATEGORIES).index(category)
    for index in range(6):
        face = CATEGORIES[category](np.random.default_rng([9, index, 0, number, 0]), 128).cover > 0.5
        mask = make_sample((9, index, 0), category, defect, 128).defect_mask
        reach = ndimage.binary_dilation(face, iterations=3)
        assert face.mean() < 0.7
        assert (mask & reach).sum() >= 0.95 * mask.sum()


@every_defect
@pytest.mark.parametrize("category", ["washer", "nut"])
def test_defects_lie_on_the_object(category: str, defect: str) -> None:
    for index in range(6):
        normal, damaged = (make_sample((9, index, 0), category, name, 128) for name in ("good", defect))
        found = bright(normal.image) if category == "washer" else ndimage.binary_fill_holes(~bright(normal.image))
        reach = ndimage.binary_dilation(found, iterations=3)
        assert (damaged.defect_mask & reach).sum() >= 0.95 * damaged.defect_mask.sum()


def test_the_washer_stands_out_from_the_ground() -> None:
    for index in range(12):
        image = make_sample((11, index, 0), "washer").image
        washer = bright(image)
        grey = image.mean(axis=2)
        ground = grey[~ndimage.binary_dilation(washer, iterations=4)]
        assert ndimage.label(washer)[1] <= 3  # a grain of dust may be bright
        assert 0.14 < washer.mean() < 0.45
        assert np.percentile(grey[washer], 5) > np.percentile(ground, 99) + 20


@every_category
def test_one_seed_shows_the_same_part_at_every_size(category: str) -> None:
    for index in range(3):
        small, large = (make_sample((13, index), category, size_px=size_px).image for size_px in (128, 384))
        shrunk = large.reshape(128, 3, 128, 3, 3).mean(axis=(1, 3))
        smooth = [ndimage.gaussian_filter(image.astype(float), (4, 4, 0)) for image in (small, shrunk)]
        assert np.abs(smooth[0] - smooth[1]).mean() < 6


@every_category
def test_pictures_of_a_category_differ_in_brightness_and_colour(category: str) -> None:
    means = np.array([make_sample((15, index), category, size_px=64).image.mean(axis=(0, 1)) for index in range(12)])
    assert means.mean(axis=1).std() > 4
    assert (means[:, 0] - means[:, 2]).std() > 2


@every_category
def test_the_camera_is_neither_blown_out_nor_free_of_noise(category: str) -> None:
    for index in range(6):
        image = make_sample((17, index, 0), category, size_px=128).image
        assert (image >= 248).mean() < 0.03
        assert (image[1:, :, 1].astype(int) - image[:-1, :, 1]).std() > 0.3
