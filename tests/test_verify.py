"""verify names each row that fails, whatever was tampered with."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from defectfill.dataset.verify import verify_dataset
from defectfill.io.errors import DataError
from defectfill.io.files import read_table, write_table
from defectfill.io.images import file_sha256
from defectfill.runs.run import Run

Row = dict[str, Any]


@pytest.fixture
def dataset(finished: Run, tmp_path: Path) -> Path:
    """A copy of a good dataset, to break."""
    return Path(shutil.copytree(finished.dataset, tmp_path / "dataset"))


def rows(dataset: Path) -> list[Row]:
    return read_table(dataset / "manifest.parquet")


def synthetic(dataset: Path) -> Row:
    return next(row for row in rows(dataset) if row["origin"] == "synthetic")


def rewrite(dataset: Path, change: Callable[[Row], None], sample_id: str) -> None:
    """The manifest with one row changed."""
    table = rows(dataset)
    change(next(row for row in table if row["sample_id"] == sample_id))
    write_table(dataset / "manifest.parquet", table, pq.read_schema(dataset / "manifest.parquet"))


def problems_of(dataset: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset)
    return list(caught.value.problems)


def test_a_good_dataset_passes_wherever_it_lies(dataset: Path) -> None:
    assert verify_dataset(dataset).rows == len(rows(dataset))


@pytest.mark.parametrize("column", ["image_path", "mask_path", "planned_mask_path"])
def test_a_missing_file_is_named_with_its_row(dataset: Path, column: str) -> None:
    row = synthetic(dataset)
    (dataset / row[column]).unlink()
    assert problems_of(dataset) == [f"{dataset}: row {row['sample_id']}: {row[column]} is missing"]


@pytest.mark.parametrize("column", ["image_path", "mask_path"])
def test_a_changed_file_is_named_with_its_row(dataset: Path, column: str) -> None:
    row = synthetic(dataset)
    with (dataset / row[column]).open("ab") as file:
        file.write(b"x")
    assert problems_of(dataset) == [
        f"{dataset}: row {row['sample_id']}: {row[column]} has changed: its hash is not the row's"
    ]


def replace_image(dataset: Path, row: Row, column: str, image: np.ndarray) -> None:
    """Another picture in place of the row's, its hash put right."""
    path = dataset / row[f"{column}_path"]
    Image.fromarray(image).save(path)
    rewrite(dataset, lambda each: each.update({f"{column}_sha256": file_sha256(path)}), row["sample_id"])


def test_a_pixel_changed_outside_the_blend_region_is_found_without_any_hash(dataset: Path) -> None:
    row = synthetic(dataset)
    image = np.array(Image.open(dataset / row["image_path"]))
    source = np.array(Image.open(dataset / row["source_path"]))
    corner = next((y, x) for y in (0, 95) for x in (0, 95) if (image[y, x] == source[y, x]).all())
    image[corner] ^= 1
    replace_image(dataset, row, "image", image)
    (problem,) = problems_of(dataset)
    assert f"row {row['sample_id']}" in problem
    assert "outside the blend region" in problem


def test_a_pixel_changed_inside_the_planned_mask_but_outside_the_drawn_one_is_found(dataset: Path) -> None:
    for row in rows(dataset):
        if not row["planned_mask_path"]:
            continue
        planned, drawn = (
            np.array(Image.open(dataset / row[name])) for name in ("planned_mask_path", "drawn_mask_path")
        )
        between = np.argwhere((planned > 0) & (drawn == 0))
        if len(between):
            break
    image = np.array(Image.open(dataset / row["image_path"]))
    image[tuple(between[0])] ^= 1
    replace_image(dataset, row, "image", image)
    (problem,) = problems_of(dataset)
    assert f"row {row['sample_id']}" in problem
    assert "outside the drawn mask" in problem


def test_a_label_that_misses_changed_pixels_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    smaller = np.array(Image.open(dataset / row["drawn_mask_path"]))
    smaller[(smaller > 0).any(axis=1).argmax()] = 0
    path = dataset / "annotated_masks" / "smaller.png"
    path.parent.mkdir()
    Image.fromarray(smaller).save(path)
    label = {"mask_path": "annotated_masks/smaller.png", "mask_sha256": file_sha256(path)}
    rewrite(dataset, lambda each: each.update(label), row["sample_id"])
    assert any("the label does not hold the drawn mask" in problem for problem in problems_of(dataset))


def test_a_share_of_changed_pixels_that_the_files_do_not_give_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    rewrite(dataset, lambda each: each.update(changed_fraction=row["changed_fraction"] - 0.01), row["sample_id"])
    (problem,) = problems_of(dataset)
    assert f"row {row['sample_id']}: changed_fraction: the files give" in problem


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((96, 96), 128, np.uint8), "expected the values 0 and 255, found"),
        (np.zeros((96, 96), np.uint8), "the mask is empty"),
        (np.full((96, 96, 3), 255, np.uint8), "expected a single-channel 8-bit mask, found 3 channels"),
        (np.full((50, 96), 255, np.uint8), "expected 96 x 96 pixels, found 96 x 50"),
    ],
)
def test_a_mask_that_is_no_mask_is_named_with_its_row(dataset: Path, mask: np.ndarray, message: str) -> None:
    row = synthetic(dataset)
    replace_image(dataset, row, "mask", mask)
    problems = problems_of(dataset)
    assert all(f"row {row['sample_id']}" in problem for problem in problems)
    assert any(message in problem for problem in problems)


def test_files_that_no_row_lists_are_named(dataset: Path) -> None:
    shutil.copy(dataset / synthetic(dataset)["image_path"], dataset / "images" / "hole" / "stray.png")
    for name in (".DS_Store", "._stray.png", "Thumbs.db"):  # of desktops on which the folder was looked at
        (dataset / "images" / "hole" / name).write_bytes(b"")
    assert problems_of(dataset) == [f"{dataset}: images/hole/stray.png is listed in no row"]


def test_a_label_that_contradicts_the_mask_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    rewrite(dataset, lambda each: each.update(label_index=0), row["sample_id"])
    problems = problems_of(dataset)
    assert any(f"row {row['sample_id']}: label_index 0" in problem for problem in problems)
    for name, rows_of in (("metadata", "the"), ("trainmetadata", "the train")):
        assert f"{dataset}: {name}.parquet does not hold {rows_of} rows of manifest.parquet" in problems


def test_a_sample_id_that_stands_twice_is_named(dataset: Path) -> None:
    table = rows(dataset)
    write_table(dataset / "manifest.parquet", [*table, table[-1]], pq.read_schema(dataset / "manifest.parquet"))
    assert f"{dataset}: row {table[-1]['sample_id']}: the sample_id stands 2 times" in problems_of(dataset)


@pytest.mark.parametrize(
    ("names", "found"),
    [(None, "nothing"), ([], "an empty folder"), (["b", "a"], "a, b"), ("fedcba", "a, b, c, d, e, ...")],
)
def test_a_folder_that_is_no_dataset_is_told_in_one_line(tmp_path: Path, names: list[str] | None, found: str) -> None:
    folder = tmp_path / "run"
    for name in names or ():
        (folder / name).mkdir(parents=True)
    if names == []:
        folder.mkdir()
    assert problems_of(folder) == [f"{folder}: expected a dataset folder with manifest.parquet, found {found}"]


@pytest.mark.parametrize("name", ["rejected.parquet", "metadata.parquet", "testmetadata.parquet"])
def test_missing_tables_are_named(dataset: Path, name: str) -> None:
    (dataset / name).unlink()
    assert problems_of(dataset)[0].startswith(f"{dataset / name}: cannot be read")


@pytest.mark.parametrize("name", ["manifest.parquet", "rejected.parquet", "metadata.parquet"])
def test_broken_tables_are_named(dataset: Path, name: str) -> None:
    (dataset / name).write_bytes(b"no parquet")
    assert problems_of(dataset)[0].startswith(f"{dataset / name}: cannot be read")


def test_a_table_of_other_columns_is_named(dataset: Path) -> None:
    shutil.copy(dataset / "metadata.parquet", dataset / "manifest.parquet")
    assert "expected the columns of a manifest table" in problems_of(dataset)[0]


def test_a_column_that_was_renamed_is_told_its_new_name(dataset: Path) -> None:
    path = dataset / "rejected.parquet"
    table = pq.read_table(path)
    names = ["rim_step" if name == "seam_gradient" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    [problem] = problems_of(dataset)
    assert problem.endswith("expected the columns of a rejected table, rim_step was renamed, now seam_gradient")


def test_another_planned_mask_than_the_one_measured_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    Image.fromarray(np.full((96, 96), 255, np.uint8)).save(dataset / row["planned_mask_path"])
    assert any(f"{row['planned_mask_path']} has changed" in problem for problem in problems_of(dataset))


def test_a_synthetic_image_outside_train_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    rewrite(dataset, lambda each: each.update(split="test"), row["sample_id"])
    assert any("a synthetic image is in train, found test" in problem for problem in problems_of(dataset))


def test_a_source_that_is_no_train_normal_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    test_normal = next(each for each in rows(dataset) if (each["defect"], each["split"]) == ("good", "test"))
    rewrite(dataset, lambda each: each.update(source_path=test_normal["image_path"]), row["sample_id"])
    assert any(f"row {row['sample_id']}: its source" in problem for problem in problems_of(dataset))


def test_a_row_without_a_value_is_named_and_the_others_are_still_checked(dataset: Path) -> None:
    row = synthetic(dataset)
    (dataset / rows(dataset)[0]["image_path"]).unlink()
    rewrite(dataset, lambda each: each.update(image_path=None), row["sample_id"])
    problems = problems_of(dataset)
    assert f"{dataset / 'manifest.parquet'}: row {row['sample_id']}: no usable value in image_path" in problems
    assert any("is missing" in problem for problem in problems)


def test_a_kept_row_without_an_image_is_named(dataset: Path) -> None:
    row = synthetic(dataset)
    rewrite(dataset, lambda each: each.update(image_path="", mask_path="", drawn_mask_path=""), row["sample_id"])
    assert f"{dataset}: row {row['sample_id']}: it has no image" in problems_of(dataset)


PATHS = ("image_path", "mask_path", "drawn_mask_path", "planned_mask_path", "source_path")


@pytest.mark.parametrize("column", PATHS)
@pytest.mark.parametrize(
    "path", ["../dataset/{}", "{folder}/{}", "images/../{}", "./{}", "{}/../../../toy.yaml", "n" * 999]
)
def test_a_row_that_names_a_path_outside_is_refused(dataset: Path, column: str, path: str) -> None:
    row = synthetic(dataset)
    astray = path.replace("{folder}", str(dataset)).replace("{}", row[column])
    rewrite(dataset, lambda each: each.update({column: astray}), row["sample_id"])
    problems = problems_of(dataset)
    assert f"{dataset / 'manifest.parquet'}: row {row['sample_id']}: no usable value in {column}" in problems


@pytest.mark.parametrize("column", PATHS)
@pytest.mark.parametrize("folder", [False, True])
def test_a_link_that_leads_out_of_the_dataset_is_refused(dataset: Path, column: str, folder: bool) -> None:
    row = synthetic(dataset)
    path = dataset / row[column]
    linked = path.parent if folder else path
    linked.rename(dataset.parent / linked.name)
    linked.symlink_to(dataset.parent / linked.name)
    assert any(f"{row[column]} is a link that leads out of the dataset" in problem for problem in problems_of(dataset))


def test_a_dataset_behind_a_link_and_links_inside_it_are_taken(dataset: Path) -> None:
    path = dataset / synthetic(dataset)["image_path"]
    path.rename(path.with_name(".moved"))
    path.symlink_to(".moved")
    (dataset.parent / "link").symlink_to(dataset)
    (problem,) = problems_of(dataset.parent / "link")
    assert problem.endswith(".moved is listed in no row")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "validation"}, "no usable value in split"),
        ({"origin": "painted"}, "no usable value in origin"),
        ({"origin": "real"}, "does not fit the origin real"),
        ({"sampling_weight": -1.0}, "no usable value in sampling_weight"),
        ({"sampling_weight": float("nan")}, "no usable value in sampling_weight"),
        ({"window": [90, 90, 10, 10]}, "no usable value in window"),
        ({"window": [-(2**31), -(2**31), 2**31 - 1, 2**31 - 1]}, "is no square around the planned mask"),
        ({"image_sha256": ""}, "has changed: its hash is not the row's"),
        ({"mask_sha256": ""}, "has changed: its hash is not the row's"),
        ({"planned_mask_path": "", "planned_mask_sha256": ""}, "a synthetic image without planned_mask_path"),
        ({"drawn_mask_path": ""}, "a synthetic image without drawn_mask_path"),
    ],
)
def test_a_row_that_would_escape_the_checks_is_named(dataset: Path, values: Row, message: str) -> None:
    row = synthetic(dataset)
    rewrite(dataset, lambda each: each.update(values), row["sample_id"])
    assert any(f"row {row['sample_id']}: " in problem and message in problem for problem in problems_of(dataset))


def test_a_table_whose_text_is_none_is_named(dataset: Path) -> None:
    table = pq.read_table(dataset / "rejected.parquet")
    raw = pa.array([b"\xff"])
    text = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    one = pa.Table.from_pylist([{}], table.schema).set_column(0, table.schema.field(0), text)
    pq.write_table(one, dataset / "rejected.parquet")
    assert problems_of(dataset)[0].startswith(f"{dataset / 'rejected.parquet'}: cannot be read: ")
