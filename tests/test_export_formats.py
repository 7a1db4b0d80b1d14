"""Each export, read back by those whose format it is, or by a strict reader of what is published about it."""

import csv
import json
import runpy
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
import supervision
import yaml
from nut_dataset import HEIGHT, WIDTH, Mask, export, write_nut_dataset
from pycocotools.coco import COCO

from defectfill.dataset.export import Format
from defectfill.io.images import read_image, read_mask
from defectfill.records.manifest import ManifestRow
from defectfill.records.reading import manifest_rows


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that is not to be changed."""
    return write_nut_dataset(tmp_path_factory.mktemp("nut") / "dataset")


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
