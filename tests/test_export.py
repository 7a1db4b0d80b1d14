"""Exports, read back by those whose formats they are, or by strict readers of what is published about them."""

import csv
import errno
import json
import os
import runpy
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
import supervision
import yaml
from conftest import contents
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools.coco import COCO

from defectfill.cli import main
from defectfill.dataset.export import Format
from defectfill.dataset.export.export import ExportReport, export_dataset
from defectfill.dataset.export.labelstudio import brush_runs
from defectfill.dataset.export.outlines import parts_of, run_lengths
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import read_table, write_table
from defectfill.io.hashing import derive_seed
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.records.manifest import SCHEMA, ManifestRow
from defectfill.records.reading import manifest_rows
from defectfill.runs.run import FINISHED_FILE, RUN_FILE

HEIGHT, WIDTH = 20, 31
FORMATS = get_args(Format)
Mask = NDArray[np.bool_]


def two_parts() -> Mask:
    """Return a mask of a bar and a diagonal line, one pixel wide, that ends at the image's edge."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[2:5, 3:12] = True
    mask[range(10, 20), range(21, 31)] = True
    return mask


def ring() -> Mask:
    """Return a mask with a hole, in which an island lies."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[4:15, 6:20] = True
    mask[6:13, 8:18] = False
    mask[8:10, 11:13] = True
    return mask


def write_row(
    folder: Path, name: str, defect: str, origin: str, split: str, mask: Mask | None, **more: Any
) -> dict[str, Any]:
    """Write an image, noise of its own unless `pixels` says otherwise, with its mask, and return its row."""
    noise = np.random.default_rng(derive_seed(name)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels = more.pop("pixels", noise)
    paths = {"image": f"images/{defect}/{name}.png", "mask": f"masks/{defect}/{name}.png" if mask is not None else ""}
    row = {
        "sample_id": name,
        "image_path": paths["image"],
        "image_sha256": write_png(folder / paths["image"], pixels),
        "mask_path": paths["mask"],
        "mask_sha256": write_png(folder / paths["mask"], mask) if mask is not None else "",
        "label_index": int(mask is not None),
        "category": "nut",
        "defect": defect,
        "split": split,
        "origin": origin,
        "width": WIDTH,
        "height": HEIGHT,
    }
    return ManifestRow.model_validate(row | more).model_dump()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset of two defects, one with a name that is no file name everywhere; not to be changed."""
    folder = tmp_path_factory.mktemp("nut") / "dataset"
    deep = np.full((HEIGHT, WIDTH, 1), 4095, dtype=np.uint16)
    deep[0] = 0
    rows = [
        write_row(folder, "n1", "good", "real", "train", None),
        write_row(folder, "n10", "good", "real", "train", None, pixels=deep, white_level=4095),
        write_row(folder, "n2", "good", "real", "test", None),
        write_row(folder, "r1", "hole", "real", "train", ring()),
        write_row(folder, "s1", "hole", "synthetic", "train", two_parts()),
        write_row(folder, "s10", "hole", "synthetic", "train", ring()[::-1]),
        write_row(folder, "s2", "hole", "synthetic", "train", two_parts()[:, ::-1]),
        write_row(folder, "t1", "hole", "real", "test", two_parts()[::-1]),
        write_row(folder, "u1", "tiefe Kratzer ß", "synthetic", "train", two_parts()),
        write_row(folder, "u2", "tiefe Kratzer ß", "real", "test", ring()),
    ]
    write_table(folder / "manifest.parquet", rows, SCHEMA)
    return folder


def rows_of(dataset: Path, split: str) -> dict[str, ManifestRow]:
    """Return the rows of a split by their sample ids."""
    return {row.sample_id: row for row in manifest_rows(dataset) if row.split == split}


def mask_of(dataset: Path, row: ManifestRow) -> Mask:
    return read_mask(dataset / row.mask_path) if row.mask_path else np.zeros((HEIGHT, WIDTH), dtype=bool)


def filled(mask: Mask) -> Mask:
    """Return a mask without its holes."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED) > 0


def rim_right_and_below(mask: Mask) -> Mask:
    """Return a mask with the pixels right of it and below."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2, 2), np.uint8), anchor=(1, 1)) > 0


def export(dataset: Path, out: Path, format: Format, **more: Any) -> ExportReport:
    return export_dataset(dataset, out, format, **more)


def test_coco_is_read_by_pycocotools(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = export(dataset, tmp_path / "out", "coco")
    assert report.notes == ("14 annotations, one per connected part; 3 have holes and are runs, the others polygons",)
    for split in ("train", "test"):
        coco = COCO(tmp_path / "out/annotations" / f"instances_{split}.json")
        rows = rows_of(dataset, split)
        images = {image["sample_id"]: image for image in coco.loadImgs(coco.getImgIds())}
        assert images.keys() == rows.keys()
        for name, image in images.items():
            found = np.zeros((HEIGHT, WIDTH), dtype=bool)
            for annotation in coco.loadAnns(coco.getAnnIds(image["id"], iscrowd=False)):
                part = coco.annToMask(annotation) > 0
                assert (part.sum(), list(cv2.boundingRect(part.astype(np.uint8)))) == (
                    annotation["area"],
                    annotation["bbox"],
                )
                assert coco.loadCats(annotation["category_id"])[0]["name"] == rows[name].defect
                assert not (found & part).any()
                found |= part
            np.testing.assert_array_equal(found, mask_of(dataset, rows[name]))
            assert read_image(tmp_path / "out" / split / image["file_name"]).shape[:2] == (HEIGHT, WIDTH)
    capsys.readouterr()


@pytest.mark.parametrize("format", ["coco", "yolo-seg"])
def test_supervision_reads_what_is_there_to_a_pixel_at_the_rim(dataset: Path, tmp_path: Path, format: Format) -> None:
    """It rounds the points of polygons."""
    export(dataset, tmp_path, format, split="train")
    if format == "coco":
        paths = tmp_path / "train", tmp_path / "annotations/instances_train.json"
        read = supervision.DetectionDataset.from_coco(*map(str, paths), force_masks=True)
    else:
        paths = tmp_path / "images/train", tmp_path / "labels/train", tmp_path / "data.yaml"
        read = supervision.DetectionDataset.from_yolo(*map(str, paths), force_masks=True)
    assert read.classes == ["hole", "tiefe Kratzer ß"]
    rows = rows_of(dataset, "train")
    assert len(read) == len(rows)
    for path, _, detections in read:
        row = rows[Path(path).stem]
        expected = mask_of(dataset, row) if format == "coco" else filled(mask_of(dataset, row))
        found = np.zeros_like(expected) if detections.mask is None else detections.mask.any(axis=0)
        assert (found >= expected).all()
        assert (found <= rim_right_and_below(expected)).all()
        assert {read.classes[each] for each in detections.class_id} <= {row.defect}
        assert (len(detections) > 0) == (row.label_index == 1)


def yolo(out: Path, kind: str) -> tuple[dict[str, Any], dict[str, dict[str, Path]]]:
    """Return data.yaml, and for each of its splits the files of `kind` by their images' stems, as ultralytics pairs."""
    data = yaml.safe_load((out / "data.yaml").read_text("utf-8"))
    paired: dict[str, dict[str, Path]] = {}
    for split in {"train", "val", "test"} & data.keys():
        images = sorted((out / data[split]).iterdir())
        parents = [f"{path.parent}/".replace("/images/", f"/{kind}/") for path in images]
        suffix = ".txt" if kind == "labels" else ".png"
        paired[split] = {
            path.stem: Path(parent, path.stem + suffix) for path, parent in zip(images, parents, strict=True)
        }
    return data, paired


def test_yolo_seg_labels_give_the_masks_without_their_holes(dataset: Path, tmp_path: Path) -> None:
    report = export(dataset, tmp_path, "yolo-seg")
    assert report.notes[0] == "the holes of 3 parts are filled: this format has none"
    data, paired = yolo(tmp_path, "labels")
    assert data["names"] == {0: "hole", 1: "tiefe Kratzer ß"}
    assert data["val"] == data["train"]
    for split in ("train", "test"):
        rows = rows_of(dataset, split)
        assert paired[split].keys() == rows.keys()
        for name, path in paired[split].items():
            found = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            for line in path.read_text().splitlines():
                number, *values = line.split()
                assert data["names"][int(number)] == rows[name].defect
                points = np.array(values, dtype=np.float32).reshape(-1, 2)
                assert 0 <= points.min() <= points.max() <= 1
                cv2.fillPoly(found, [(points * (WIDTH, HEIGHT)).astype(np.int32)], 1)
            np.testing.assert_array_equal(found > 0, filled(mask_of(dataset, rows[name])))


def test_yolo_sem_masks_hold_the_numbers_of_the_classes_and_never_255(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path, "yolo-sem")
    data, paired = yolo(tmp_path, "masks")
    assert data["names"] == {0: "background", 1: "hole", 2: "tiefe Kratzer ß"}
    assert data["masks_dir"] == "masks"
    for split in ("train", "test"):
        rows = rows_of(dataset, split)
        assert paired[split].keys() == rows.keys()
        for name, path in paired[split].items():
            values = read_image(path)[..., 0]
            expected = mask_of(dataset, rows[name])
            np.testing.assert_array_equal(values > 0, expected)
            assert {data["names"][value] for value in np.unique(values[expected]).tolist()} <= {rows[name].defect}


def test_anomalib_gets_masks_in_the_order_of_the_images_and_tables_that_it_takes(dataset: Path, tmp_path: Path) -> None:
    """By the rules of its Folder and Tabular: sorted paths are paired, a mask's stem holds its image's."""
    export(dataset, tmp_path, "anomalib")
    defects = [
        path for split in ("test", "train") for path in (tmp_path / split).rglob("*.*") if path.parent.name != "good"
    ]
    masks = sorted((tmp_path / "masks").rglob("*.*"))
    assert [path.relative_to(tmp_path / "masks") for path in masks] == [
        path.relative_to(tmp_path) for path in sorted(defects)
    ]
    tables = {}
    for name in ("samples.csv", "supervised.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert not [row for row in tables["samples.csv"] if (row["label_index"], row["split"]) == ("1", "train")]
    everything = {**rows_of(dataset, "train"), **rows_of(dataset, "test")}
    assert {Path(row["image_path"]).stem for row in tables["supervised.csv"]} == everything.keys()
    assert len(tables["samples.csv"]) == 5
    for row in tables["supervised.csv"]:
        known = everything[Path(row["image_path"]).stem]
        assert (row["split"], int(row["label_index"]), row["label"]) == (known.split, known.label_index, known.defect)
        assert (tmp_path / row["image_path"]).is_file()
        if known.label_index:
            np.testing.assert_array_equal(read_mask(tmp_path / row["mask_path"]), mask_of(dataset, known))
        assert bool(row["mask_path"]) == bool(known.label_index)


class StandInDataset:
    """What anomalib's AnomalibDataset asks of a table of samples, and does with it."""

    def __init__(self, augmentations: object = None) -> None:
        self.augmentations = augmentations

    @property
    def samples(self) -> pd.DataFrame:
        return self._samples

    @samples.setter
    def samples(self, samples: pd.DataFrame) -> None:
        assert {"image_path", "split", "label_index", "mask_path"} <= set(samples.columns)
        assert samples["image_path"].map(lambda path: Path(path).exists()).all()
        self._samples = samples.sort_values(by="image_path", ignore_index=True)


class StandInModule:
    """The arguments that anomalib's AnomalibDataModule takes, and the order in which it sets itself up."""

    def __init__(
        self,
        train_batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        val_split_mode: str | None = None,
        val_split_ratio: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.validation = val_split_mode, val_split_ratio, seed

    def setup(self) -> None:
        self._setup(None)
        self._create_test_split()

    def _setup(self, stage: str | None) -> None:
        raise NotImplementedError

    def _create_test_split(self) -> None:
        raise AssertionError("it would move images between the splits")


def test_the_data_module_for_anomalib_learns_from_defects_and_tests_on_what_was_held_out(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anomalib = ModuleType("anomalib.data")
    anomalib.AnomalibDataset, anomalib.AnomalibDataModule = StandInDataset, StandInModule  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anomalib.data", anomalib)
    export(dataset, tmp_path, "anomalib")
    module = runpy.run_path(str(tmp_path / "supervised.py"))["Defects"](num_workers=0)
    module.setup()
    assert module.validation == ("from_train", 0.2, 0)
    for split, read in (("train", module.train_data), ("test", module.test_data)):
        rows = rows_of(dataset, split)
        assert {Path(path).stem for path in read.samples["image_path"]} == rows.keys()
        assert read.samples.attrs["task"] == "segmentation"
        for sample in read.samples.itertuples():
            row = rows[Path(sample.image_path).stem]
            assert sample.label_index == row.label_index
            mask = read_mask(Path(sample.mask_path)) if sample.mask_path else np.zeros((HEIGHT, WIDTH), bool)
            np.testing.assert_array_equal(mask, mask_of(dataset, row))


def test_mvtec_keeps_what_was_held_out_apart_from_what_is_learnt_from(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path, "mvtec")
    scratch = "tiefe-Kratzer-" + next((tmp_path / "nut/test").glob("tiefe*")).name.rpartition("-")[2]
    expected = {
        "nut": {"train/good": 2, "test/good": 1, "test/hole": 1, f"test/{scratch}": 1},
        "nut_train": {"test/hole": 4, f"test/{scratch}": 1},
    }
    everything = {**rows_of(dataset, "train"), **rows_of(dataset, "test")}
    for category, counts in expected.items():
        images = [path for path in sorted((tmp_path / category).rglob("*.png")) if "ground_truth" not in path.parts]
        assert Counter(path.parent.relative_to(tmp_path / category).as_posix() for path in images) == counts
        for path in images:
            if path.parent.name != "good":
                mask = tmp_path / category / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
                np.testing.assert_array_equal(read_mask(mask), mask_of(dataset, everything[path.stem]))
        masks = list((tmp_path / category / "ground_truth").rglob("*.*"))
        assert len(masks) == sum(path.parent.name != "good" for path in images)


def brush_mask(content: list[int], height: int, width: int) -> Mask:
    """Return the mask in a brush's runs, read as thi.ng's rle-pack is, which Label Studio's editor uses."""
    bits = iter("".join(f"{byte:08b}" for byte in content))

    def read(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)), 2)

    size, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < size:
        is_run, length = read(1), 1 + read(sizes[read(2)])
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    channels = np.array(values).reshape(height, width, 4)
    assert (channels == channels[..., :1]).all()
    assert set(values) <= {0, 255}
    return channels[..., 3] > 0


def test_label_studio_gets_a_region_per_part_of_its_task(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", raising=False)
    monkeypatch.delenv("LOCAL_FILES_DOCUMENT_ROOT", raising=False)
    export(dataset, tmp_path / "for review", "labelstudio", split="train")
    tasks = json.loads((tmp_path / "for review/tasks.json").read_bytes())
    rows = rows_of(dataset, "train")
    labels = ElementTree.parse(tmp_path / "for review/interface.xml").findall("BrushLabels/Label")
    assert [label.get("value") for label in labels] == ["hole", "tiefe Kratzer ß"]
    assert [task["data"]["sample_id"] for task in tasks] == list(rows)
    for task in tasks:
        row = rows[task["data"]["sample_id"]]
        assert task["data"]["image"] == f"/data/local-files/?d=for%20review/images/{row.sample_id}.png"
        found = np.zeros((HEIGHT, WIDTH), dtype=bool)
        for region in (each for prediction in task["predictions"] for each in prediction["result"]):
            assert region["value"]["brushlabels"] == [row.defect]
            found |= brush_mask(region["value"]["rle"], region["original_height"], region["original_width"])
        np.testing.assert_array_equal(found, mask_of(dataset, row))
        assert bool(task["predictions"]) == bool(row.label_index)


masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(mask=masks)
def test_parts_give_every_mask_again(mask: Mask) -> None:
    """As pycocotools reads them, and OpenCV with the decimals cut off."""
    from pycocotools import mask as coco_mask

    parts = list(parts_of(mask))
    assert len(parts) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    together = np.zeros(mask.shape, dtype=int)
    for part in parts:
        together += part.mask()
        for near, far in ((0.25, 0.5), (0.05, 0.95)):
            polygon = part.polygon(near, far)
            runs = coco_mask.frPyObjects([polygon.ravel().tolist()], *mask.shape)
            drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [polygon.astype(np.int32)], 1) > 0
            np.testing.assert_array_equal(coco_mask.decode(runs)[..., 0] > 0, filled(part.mask()))
            np.testing.assert_array_equal(drawn, filled(part.mask()))
        assert part.has_holes == bool((filled(part.mask()) & ~part.mask()).any())
        assert part.area == part.mask().sum()
    np.testing.assert_array_equal(together, mask)


@given(mask=masks)
def test_runs_give_every_mask_again(mask: Mask) -> None:
    lengths = run_lengths(mask.ravel())
    np.testing.assert_array_equal(np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(mask.shape), mask)
    np.testing.assert_array_equal(brush_mask(list(brush_runs(mask)), *mask.shape), mask)


def test_brush_runs_may_be_longer_than_their_format_counts() -> None:
    mask = np.zeros((200, 300), dtype=bool)
    mask[70:] = True
    np.testing.assert_array_equal(brush_mask(list(brush_runs(mask)), 200, 300), mask)


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
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["defectfill", "export", "dataset", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(expected)
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_it_wrote(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("sys.argv", ["defectfill", "export", str(dataset), "--format", "mvtec", "--out", str(out)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    lines = capsys.readouterr().out.splitlines()
    assert "train hole: 3 synthetic images" in lines
    assert "images linked: 9, converted: 1" in lines
    assert lines[-1] == str(out)
