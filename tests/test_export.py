"""Exports of every format: equal bytes, their images, the rows that come along, and what is refused."""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from conftest import CommandLine, contents
from nut_dataset import HEIGHT, WIDTH, export, ring, write_nut_dataset

from defectfill.dataset.export import Format
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import read_table, write_table
from defectfill.io.images import read_image, write_png
from defectfill.records.manifest import SCHEMA
from defectfill.runs.run import FINISHED_FILE, RUN_FILE

FORMATS = get_args(Format)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is not to be changed."""
    return write_nut_dataset(tmp_path_factory.mktemp("nut") / "dataset")


@pytest.mark.parametrize("format", FORMATS)
def test_equal_datasets_give_equal_exports_with_links_or_copies(dataset: Path, tmp_path: Path, format: Format) -> None:
    linked = export(dataset, tmp_path / "a/nut", format)
    copied = export(dataset, tmp_path / "b/nut", format, link=False)
    assert (linked.linked, linked.copied, linked.converted) == (9, 0, 1)
    assert (copied.linked, copied.copied, copied.converted) == (0, 9, 1)
    assert sum(each.images for each in linked.counts) == 10
    assert contents(tmp_path / "a/nut") == contents(tmp_path / "b/nut")
    assert os.stat(next((tmp_path / "a/nut").rglob("s1.png"))).st_nlink > 1


def test_images_are_copied_where_the_file_system_has_no_links(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    report = export(dataset, tmp_path, "coco")
    assert (report.linked, report.copied, report.converted) == (0, 9, 1)


def test_images_of_16_bits_come_as_8_with_white_at_255(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path, "coco")
    image = read_image(tmp_path / "train/n10.png")
    assert image.dtype == np.uint8
    assert (image[0] == 0).all()
    assert (image[1:] == 255).all()


def test_so_do_images_of_8_bits_in_files_of_16(dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    write_png(other / "images/good/n1.png", np.full((HEIGHT, WIDTH), 200, np.uint16))
    change_first(other, image_path="images/good/n1.png", white_level=255)
    export(other, tmp_path / "out", "coco")
    image = read_image(tmp_path / "out/train/n1.png")
    assert image.dtype == np.uint8
    assert (image == 200).all()


@pytest.mark.parametrize(
    ("suffix", "format", "expected"),
    [(".jfif", "coco", ".jpg"), (".tif", "coco", ".tif"), (".tif", "labelstudio", ".png"), (".bmp", "mvtec", ".bmp")],
)
def test_endings_that_a_reader_passes_over_or_cannot_show_are_changed(
    dataset: Path, tmp_path: Path, suffix: str, format: Format, expected: str
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    encoded = cv2.imencode(".jpg" if suffix == ".jfif" else suffix, np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1]
    (other / f"images/good/n1{suffix}").write_bytes(encoded.tobytes())
    change_first(other, image_path=f"images/good/n1{suffix}")
    export(other, tmp_path / "out", format)
    [path] = (tmp_path / "out").rglob("n1.*")
    assert path.suffix == expected
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)


def test_a_jpeg_that_its_reader_might_mend_is_never_linked(dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    cv2.imwrite(str(other / "images/good/n1.jpg"), np.zeros((HEIGHT, WIDTH), np.uint8))
    with (other / "images/good/n1.jpg").open("ab") as file:
        file.write(b"\0")
    change_first(other, image_path="images/good/n1.jpg")
    assert export(other, tmp_path / "out", "yolo-seg").copied == 1


def change_first(dataset: Path, **values: Any) -> None:
    """Change the first row, its image's hash put right."""
    from defectfill.io.images import file_sha256

    first, *rest = read_table(dataset / "manifest.parquet")
    first |= values
    if (dataset / first["image_path"]).is_file():
        first["image_sha256"] = file_sha256(dataset / first["image_path"])
    write_table(dataset / "manifest.parquet", [first, *rest], SCHEMA)


@pytest.mark.parametrize(
    ("real_share", "real", "synthetic"), [(0.5, 3, 3), (0.4, 2, 3), (0.2, 1, 4), (0.0, 0, 3), (1.0, 1, 0)]
)
def test_references_are_repeated_to_their_share(
    dataset: Path, tmp_path: Path, real_share: float, real: int, synthetic: int
) -> None:
    report = export(dataset, tmp_path, "coco", real_share=real_share)
    counts = {(each.split, each.defect, each.origin): each.images for each in report.counts}
    assert counts.get(("train", "hole", "real"), 0) == real
    assert counts.get(("train", "hole", "synthetic"), 0) == synthetic
    assert counts["test", "hole", "real"] == counts["train", "tiefe Kratzer ß", "synthetic"] == 1
    images = json.loads((tmp_path / "annotations/instances_train.json").read_bytes())["images"]
    found = Counter(image["origin"] for image in images if image["defect"] == "hole")
    assert found == Counter({"real": real, "synthetic": synthetic})
    assert len({image["file_name"] for image in images}) == len(images)


def test_rejected_samples_never_come_along(dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    rows = read_table(other / "manifest.parquet")
    write_table(other / "manifest.parquet", [row for row in rows if row["sample_id"] != "s1"], SCHEMA)
    for format in FORMATS:
        export(other, tmp_path / format, format)
        assert not list((tmp_path / format).rglob("s1[._]*"))


def no_folder(dataset: Path) -> str:
    shutil.rmtree(dataset)
    return "expected a dataset folder with manifest.parquet, found nothing"


def unfinished(dataset: Path) -> str:
    (dataset.parent / RUN_FILE).write_text("{}")
    assert not (dataset.parent / FINISHED_FILE).exists()
    return "expected the dataset of a finished run, found an unfinished one"


def damaged_table(dataset: Path) -> str:
    (dataset / "manifest.parquet").write_bytes(b"PAR1")
    return "manifest.parquet: expected what a step of the run wrote"


def lost_image(dataset: Path) -> str:
    (dataset / "images/hole/s1.png").unlink()
    return "s1.png: expected a readable file"


def changed_mask(dataset: Path) -> str:
    write_png(dataset / "masks/hole/s1.png", ring())
    return "s1.png: expected the file of its row, found another"


def names_that_clash(dataset: Path) -> str:
    change_first(dataset, sample_id="S1")
    return "row s1: expected a name of its own for s1, found another of it"


def defects_that_clash(dataset: Path) -> str:
    change_first(dataset, defect="Hole")
    return "defects 'Hole' and 'hole': expected names that differ in more than case"


@pytest.mark.parametrize(
    "damage", [no_folder, unfinished, damaged_table, lost_image, changed_mask, names_that_clash, defects_that_clash]
)
def test_what_is_no_good_dataset_is_refused_and_leaves_nothing(
    dataset: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    expected = damage(other)
    with pytest.raises(DataError) as caught:
        export(other, tmp_path / "out", "anomalib")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"dataset", RUN_FILE}


@pytest.mark.parametrize(
    ("format", "name", "expected"),
    [
        ("yolo-seg", "n0", "yolo-seg: expected a first class that does not begin with n0"),
        ("yolo-sem", "background", "yolo-sem: expected at most 254 defects, none called background"),
    ],
)
def test_class_names_that_a_format_cannot_hold_are_refused(
    dataset: Path, tmp_path: Path, format: Format, name: str, expected: str
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    rows = [row | {"defect": name} for row in read_table(other / "manifest.parquet") if row["label_index"]]
    write_table(other / "manifest.parquet", rows, SCHEMA)
    with pytest.raises(DataError, match=expected):
        export(other, tmp_path / "out", format)


def test_label_studio_serves_no_folder_outside_of_its_root(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path / "served"))
    with pytest.raises(ConfigError, match="--out: expected a folder below"):
        export(dataset, tmp_path / "out", "labelstudio")
    export(dataset, tmp_path / "served/deep/out", "labelstudio", split="test")
    tasks = json.loads((tmp_path / "served/deep/out/tasks.json").read_bytes())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=deep/out/images/n2.png"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format", "voc", "--out", "new"], "--format: expected anomalib, mvtec, coco"),
        (["--format", "coco", "--out", "new", "--split", "val"], "--split: expected train or test, found 'val'"),
        (["--format", "coco", "--out", "new", "--real-share", "2"], "--real-share: expected a share between 0 and 1"),
        (["--format", "labelstudio", "--out", "new", "--real-share", "0.5"], "--real-share: expected none for"),
        (["--format", "coco", "--out", "full"], "--out: expected an empty folder or none, found files at"),
        (["--format", "coco", "--out", "full/file"], "--out: expected an empty folder or none, found a file at"),
        (
            ["--format", "coco", "--out", "s3://bucket/out"],
            "--out: expected a folder of this machine, found s3://bucket",
        ),
        (["--format", "coco", "--out", "/proc/coco"], "--out: /proc is not a folder that can be written to"),
        (["--format", "coco", "--out", "full/file/coco"], "--out: "),
        (["--format", "coco", "--out", "dataset/coco"], "--out: expected a folder outside of the dataset, found"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_line: CommandLine,
    arguments: list[str],
    expected: str,
) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    monkeypatch.chdir(tmp_path)
    ended = command_line("export", "dataset", *arguments)
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith(expected)
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_it_wrote(dataset: Path, tmp_path: Path, command_line: CommandLine) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ended = command_line("export", dataset, "--format", "mvtec", "--out", out)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert "train hole: 3 synthetic images" in lines
    assert "images linked: 9, converted: 1" in lines
    assert lines[-1] == str(out)
