"""The public functions of `import defectfill`."""

import subprocess
import sys
from pathlib import Path

import pytest

import defectfill
from defectfill.io.errors import DataError
from defectfill.runs.run import Run


def test_every_public_name_is_there_and_no_other() -> None:
    assert dir(defectfill) == sorted(defectfill.__all__)
    assert all(getattr(defectfill, name) for name in defectfill.__all__)
    with pytest.raises(AttributeError, match="no attribute 'run_categories'"):
        defectfill.run_categories  # noqa: B018


def test_a_finished_category_is_run_opened_and_verified(finished: Run) -> None:
    config = defectfill.load_config(Path(finished.config.output.root).parent / "toy.yaml")
    uri = defectfill.run_category(config)
    assert uri == str(finished.dataset)
    assert defectfill.verify_dataset(uri).rows == len(defectfill.open_dataset(Path(uri)).manifest)


def test_an_opened_dataset_gives_its_rows_and_files(finished: Run) -> None:
    dataset = defectfill.open_dataset(finished.dataset)
    assert set(dataset.manifest["split"]) == {"train", "test"}
    assert len(dataset.rejected) == 0
    images, masks = dataset.images("train"), dataset.masks("train")
    assert 0 < len(images) < len(dataset.images()) == len(dataset.manifest)
    assert all(path.is_file() for path in images)
    assert [mask is None for mask in masks] == ["/good/" in path.as_posix() for path in images]
    assert all(mask.is_file() for mask in masks if mask)


def test_a_split_that_there_is_none_of_is_an_error(finished: Run) -> None:
    with pytest.raises(ValueError, match="expected train or test, found 'val'"):
        defectfill.open_dataset(finished.dataset).images("val")  # type: ignore[arg-type]


def test_a_url_that_is_not_of_s3_is_no_dataset() -> None:
    with pytest.raises(DataError, match="gs://bucket/dataset: expected a folder of this machine or s3://bucket/folder"):
        defectfill.verify_dataset("gs://bucket/dataset")


def test_a_folder_without_a_dataset_is_named_in_one_problem(tmp_path: Path) -> None:
    for call in (defectfill.open_dataset, defectfill.verify_dataset):
        with pytest.raises(DataError) as refused:
            call(tmp_path)
        assert refused.value.problems == (
            f"{tmp_path}: expected a dataset folder with manifest.parquet, found an empty folder",
        )


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, defectfill; print(*(name for name in sys.modules if name.startswith('defectfill.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
