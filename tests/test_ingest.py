"""Real images: found, checked whole, divided."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import config_for, references
from nut_category import CRACKS, HEIGHT, HOLES, WIDTH, save_image, save_mask, write_groups
from PIL import Image

from defectfill.config.run import RunConfig
from defectfill.ingest.find import find_images
from defectfill.ingest.ingest import data_digest, ingest
from defectfill.io.errors import DataError
from defectfill.io.images import content_sha256, file_sha256, read_image, write_png


def problems_of(config: RunConfig) -> tuple[str, ...]:
    """The problems ingest reports, each a line that says what was expected and what was found."""
    with pytest.raises(DataError) as caught:
        ingest(config)
    for problem in caught.value.problems:
        assert problem.startswith(str(config.data.root))
        assert "expected" in problem
        assert "found" in problem
        assert "\n" not in problem
    return caught.value.problems


def only_problem(config: RunConfig, path: Path) -> str:
    """The one problem there is, which starts with `path`."""
    (problem,) = problems_of(config)
    assert problem.startswith(f"{path}: ")
    return problem


def test_images_are_found_by_ending_and_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.tiff", "c.jpeg", ".hidden.png", "notes.txt", "._a.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.tiff", "b.PNG", "c.jpeg"]
    assert find_images(tmp_path / "missing") == ()


def test_every_image_gets_a_record_in_order(nut: Path) -> None:
    records = ingest(config_for(nut.parent, ["hole", "crack"]))
    folders = [record.path.rsplit("/", 1)[0] for record in records]
    assert folders == ["train/good"] * 4 + ["test/good"] * 2 + ["test/hole"] * HOLES + ["test/crack"] * CRACKS
    for folder in set(folders):
        names = [record.path for record in records if record.path.startswith(f"{folder}/")]
        assert names == sorted(names)
    assert Counter((record.role, record.split) for record in records) == {
        ("normal", "train"): 4,
        ("test_normal", "test"): 2,
        ("reference", "train"): 3,
        ("held_out", "test"): 6,
    }


def test_a_record_tells_what_is_in_the_files(nut: Path) -> None:
    records = {record.path: record for record in ingest(config_for(nut.parent))}
    hole, normal = records["test/hole/000.png"], records["train/good/000.png"]
    assert (hole.width, hole.height, hole.channels, hole.bit_depth) == (WIDTH, HEIGHT, 3, 8)
    assert hole.defect == "hole"
    assert hole.sha256 == file_sha256(nut / hole.path)
    assert hole.content_sha256 == content_sha256(read_image(nut / hole.path))
    assert hole.mask_path == "ground_truth/hole/000_mask.png"
    assert hole.mask_sha256 == file_sha256(nut / hole.mask_path)
    assert hole.mask_area_px == 18
    assert (normal.defect, normal.mask_path, normal.mask_sha256, normal.mask_area_px) == ("good", "", "", 0)
    assert {record.group for record in records.values()} == {""}


def test_test_good_may_be_missing(nut: Path) -> None:
    for path in (nut / "test/good").iterdir():
        path.unlink()
    (nut / "test/good").rmdir()
    assert not [record for record in ingest(config_for(nut.parent)) if record.role == "test_normal"]


def test_formats_can_be_mixed(nut: Path) -> None:
    Image.open(nut / "test/hole/000.png").save(nut / "test/hole/000.JPG")
    (nut / "test/hole/000.png").unlink()
    Image.open(nut / "ground_truth/hole/001_mask.png").save(nut / "ground_truth/hole/001_mask.bmp")
    (nut / "ground_truth/hole/001_mask.png").unlink()
    Image.fromarray(np.full((9, 9), 50_000, np.uint16)).save(nut / "train/good/deep.tif")
    records = {record.path: record for record in ingest(config_for(nut.parent))}
    assert records["test/hole/000.JPG"].mask_area_px == 18
    assert records["test/hole/001.png"].mask_path == "ground_truth/hole/001_mask.bmp"
    assert (records["train/good/deep.tif"].bit_depth, records["train/good/deep.tif"].channels) == (16, 1)


def test_a_mask_matches_its_image_upright(nut: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image, mask = nut / "test/hole/000.png", nut / "ground_truth/hole/000_mask.png"
    Image.open(image).save(image, exif=exif)
    problem = only_problem(config_for(nut.parent), mask)
    assert f"{HEIGHT} x {WIDTH}" in problem
    assert f"{WIDTH} x {HEIGHT}" in problem
    save_mask(mask, np.eye(WIDTH, HEIGHT, dtype=np.bool_))
    record = next(record for record in ingest(config_for(nut.parent)) if record.path == "test/hole/000.png")
    assert (record.width, record.height) == (HEIGHT, WIDTH)


def test_a_missing_category_names_the_folders_there_are(nut: Path) -> None:
    config = config_for(nut.parent, category="bolt")
    assert "nut" in only_problem(config, nut.parent / "bolt")
    with pytest.raises(DataError, match="bolt"):
        data_digest(config)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    assert "root" in only_problem(config_for(tmp_path / "root"), tmp_path / "root" / "nut")


def test_missing_folders_are_told_at_once_with_those_there_are(nut: Path) -> None:
    (nut / "train/good").rename(nut / "train/ok")
    missing = problems_of(config_for(nut.parent, ["hole", "dent"]))
    found = {problem.split(": ")[0]: problem for problem in missing}
    assert set(found) == {str(nut / "train/good"), str(nut / "test/dent"), str(nut / "ground_truth/dent")}
    assert "ok" in found[str(nut / "train/good")]
    assert "crack, good, hole" in found[str(nut / "test/dent")]
    with pytest.raises(DataError) as caught:
        data_digest(config_for(nut.parent, ["hole", "dent"]))
    assert caught.value.problems == missing


@pytest.mark.parametrize("folder", ["train/good", "test/crack"])
def test_an_empty_folder_is_named(nut: Path, folder: str) -> None:
    for path in (nut / folder).iterdir():
        path.rename(path.with_suffix(".gif"))
    problems = problems_of(config_for(nut.parent, ["hole", "crack"]))
    assert problems[0].startswith(f"{nut / folder}: ")
    assert ".png" in problems[0]


def test_an_unreadable_image_and_mask_are_named(nut: Path) -> None:
    (nut / "train/good/000.png").write_text("no image")
    mask = nut / "ground_truth/hole/002_mask.png"
    mask.write_bytes(mask.read_bytes()[:60])
    problems = problems_of(config_for(nut.parent))
    assert [problem.split(": ")[0] for problem in problems] == [str(nut / "train/good/000.png"), str(mask)]


def test_an_image_without_mask_is_named(nut: Path) -> None:
    (nut / "ground_truth/hole/001_mask.png").unlink()
    problem = only_problem(config_for(nut.parent), nut / "test/hole/001.png")
    assert "ground_truth/hole/001_mask.png" in problem


def test_a_mask_without_image_is_named(nut: Path) -> None:
    save_mask(nut / "ground_truth/hole/099_mask.png")
    problem = only_problem(config_for(nut.parent), nut / "ground_truth/hole/099_mask.png")
    assert "test/hole/099" in problem


def test_a_mask_not_named_as_one_is_named(nut: Path) -> None:
    (nut / "ground_truth/hole/001_mask.png").rename(nut / "ground_truth/hole/001.png")
    problems = problems_of(config_for(nut.parent))
    assert [problem.split(": ")[0] for problem in problems] == [
        str(nut / "test/hole/001.png"),
        str(nut / "ground_truth/hole/001.png"),
    ]
    assert "_mask" in problems[1]


@pytest.mark.parametrize("name", ["train/good/001.bmp", "test/hole/001.jpg", "ground_truth/hole/001_mask.tif"])
def test_two_files_of_the_same_stem_are_named(nut: Path, name: str) -> None:
    path = nut / name
    save_mask(path) if path.stem.endswith("_mask") else save_image(path, 99)
    first, second = sorted([path.name, f"{path.stem}.png"])
    assert first in only_problem(config_for(nut.parent), path.with_name(second))


def test_a_mask_of_another_size_is_named(nut: Path) -> None:
    mask = nut / "ground_truth/hole/003_mask.png"
    save_mask(mask, np.eye(HEIGHT, WIDTH + 1, dtype=np.bool_))
    problem = only_problem(config_for(nut.parent), mask)
    assert f"{WIDTH} x {HEIGHT}" in problem
    assert f"{WIDTH + 1} x {HEIGHT}" in problem


@pytest.mark.parametrize(("value", "word"), [(False, "no pixel"), (True, "every pixel")])
def test_an_empty_or_full_mask_is_named(nut: Path, value: bool, word: str) -> None:
    mask = nut / "ground_truth/hole/003_mask.png"
    save_mask(mask, np.full((HEIGHT, WIDTH), value))
    assert word in only_problem(config_for(nut.parent), mask)


def test_of_a_mask_that_is_drawn_in_alpha_alone_it_is_said(nut: Path) -> None:
    mask = nut / "ground_truth/hole/003_mask.png"
    drawn = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    drawn[2:5, 2:5, 3] = 255
    write_png(mask, drawn)
    assert only_problem(config_for(nut.parent), mask).endswith("does not count: draw the defect in white")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train/good/001.png", "train/good/002.png"),
        ("train/good/001.png", "test/good/000.png"),
        ("train/good/001.png", "test/hole/000.png"),
        ("test/good/001.png", "test/hole/000.png"),
        ("test/hole/001.png", "test/hole/002.png"),
        ("test/hole/001.png", "test/crack/000.png"),
    ],
)
def test_the_same_pixels_in_two_files_are_named(nut: Path, first: str, second: str) -> None:
    Image.open(nut / first).save(nut / second, compress_level=1)
    assert first in only_problem(config_for(nut.parent, ["hole", "crack"]), nut / second)


def test_all_problems_are_told_at_once(nut: Path) -> None:
    (nut / "train/good/001.png").write_bytes(b"")
    (nut / "ground_truth/hole/000_mask.png").unlink()
    save_mask(nut / "ground_truth/hole/001_mask.png", np.zeros((HEIGHT, WIDTH), np.bool_))
    save_mask(nut / "ground_truth/hole/002_mask.png", np.eye(4, dtype=np.bool_))
    save_mask(nut / "ground_truth/hole/nothing_mask.png")
    save_image(nut / "test/hole/005.png", 0)
    write_groups(nut, drop="train/good/003.png")
    named = [problem.split(": ")[0] for problem in problems_of(config_for(nut.parent))]
    assert sorted(named) == sorted(
        str(nut / name)
        for name in (
            "train/good/001.png",
            "test/hole/000.png",
            "ground_truth/hole/001_mask.png",
            "ground_truth/hole/002_mask.png",
            "ground_truth/hole/nothing_mask.png",
            "test/hole/005.png",
            "train/good/003.png",
        )
    )


REAL = [
    ("hazelnut", ["hole"]),
    ("concrete", ["crack"]),
    ("screw", ["scratch_neck", "thread_top"]),
    ("magnetic_tile", ["blowhole"]),
    ("magnetic_tile", ["break", "blowhole"]),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("category", "defects"), REAL)
def test_real_categories_are_ingested(real_data: Path, category: str, defects: list[str]) -> None:
    records = ingest(config_for(real_data, defects, category=category))
    for record in records:
        with Image.open(real_data / category / record.path) as image:
            assert content_sha256(read_image(real_data / category / record.path)) == content_sha256(
                np.asarray(image).reshape(record.height, record.width, record.channels)
            )
        if record.mask_path:
            with Image.open(real_data / category / record.mask_path) as mask:
                assert record.mask_area_px == np.count_nonzero(np.asarray(mask))
    for defect in defects:
        assert references(records, defect)


def test_a_file_name_that_is_not_utf8_is_told(nut: Path) -> None:
    (nut / "train/good/000.png").rename(nut / "train/good/\udcff.png")
    with pytest.raises(DataError, match=r"good/\\udcff.png': expected a file name in UTF-8"):
        data_digest(config_for(nut.parent))


@pytest.mark.parametrize("target", ["gone.png", "000.png"])
def test_a_link_to_nothing_is_a_missing_image(nut: Path, target: str) -> None:
    path = nut / "train/good/000.png"
    path.unlink()
    path.symlink_to(target)
    only_problem(config_for(nut.parent), path)
