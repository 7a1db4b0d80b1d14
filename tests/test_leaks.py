"""Leaks of the test split: each kind, planted, is found and named; none is seen where there is none."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CommandLine, config_for, run_all_steps

from defectfill.config.run import RunConfig, load_config
from defectfill.dataset.opened import Dataset
from defectfill.dataset.verify import verify_dataset
from defectfill.ingest.ingest import ingest
from defectfill.ingest.leaks import find_leaks
from defectfill.io.errors import DataError
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.operations.findings import warnings
from defectfill.records.leakage import METADATA_KEY, Certificate, Kind, Leak, read_certificate
from defectfill.records.snapshot import ImageRecord, Role
from defectfill.runs.run import Run


@pytest.fixture
def config(tmp_path: Path, toy_data: Path) -> RunConfig:
    """The config of a copy of the toy category that a test may break."""
    shutil.copytree(toy_data, tmp_path / "data")
    return config_for(tmp_path / "data", ("hole", "scratch"), category="washer", references={"count": 2})


def paths(config: RunConfig, role: Role, defect: str = "hole") -> list[ImageRecord]:
    return [record for record in ingest(config) if (record.role, record.defect) == (role, defect)]


def found(config: RunConfig) -> list[tuple[Kind, str, str]]:
    return [(leak.kind, leak.path, leak.held_out) for leak in find_leaks(config, ingest(config))]


def copy_darker(config: RunConfig, source: str, target: str) -> None:
    """Put a photograph, mirrored, darker and once encoded as JPEG, in another's place."""
    picture = (read_image(config.category_folder / source)[:, ::-1] * 0.9).astype(np.uint8)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    write_png(config.category_folder / target, np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8))


def test_the_toy_has_no_leaks(config: RunConfig) -> None:
    assert found(config) == []
    assert not any("leak" in line for line in warnings(config, ingest(config)))


@pytest.mark.parametrize("role", ["held_out", "test_normal"])
def test_a_normal_that_is_a_photograph_of_the_test_split_is_named(config: RunConfig, role: Role) -> None:
    twin = paths(config, role, "good" if role == "test_normal" else "hole")[0].path
    copy_darker(config, twin, "train/good/002.png")
    assert found(config) == [("normal", "train/good/002.png", twin)]
    (line,) = [line for line in warnings(config, ingest(config)) if "leak" in line]
    assert line.startswith(f"leak: 1 normals that are photographs of the test split: train/good/002.png is {twin} (")


def test_a_reference_that_is_a_held_out_photograph_is_named(config: RunConfig) -> None:
    twin, reference = paths(config, "held_out")[0].path, paths(config, "reference", "scratch")[0].path
    copy_darker(config, twin, reference)
    assert found(config) == [("reference", reference, twin)]


@pytest.mark.parametrize("moved", [False, True])
def test_a_mask_of_a_reference_that_is_a_held_out_one_is_named_however_it_lies(config: RunConfig, moved: bool) -> None:
    twin, own = paths(config, "held_out", "scratch")[0].mask_path, paths(config, "reference", "scratch")[1].mask_path
    mask = read_mask(config.category_folder / twin)
    write_png(config.category_folder / own, np.roll(np.rot90(mask), 3, axis=0) if moved else mask)
    assert found(config) == [("reference_mask", own, twin)]


def test_a_held_out_mask_among_the_users_own_is_named(config: RunConfig, tmp_path: Path) -> None:
    twin = paths(config, "held_out", "scratch")[1].mask_path
    write_png(tmp_path / "own" / "line.png", np.fliplr(read_mask(config.category_folder / twin)))
    masks = config.masks.model_copy(update={"samplers": {"folder": 1.0}, "folder": tmp_path / "own"})
    assert found(config.model_copy(update={"masks": masks})) == [("folder_mask", "masks.folder/line.png", twin)]


def test_boxes_and_specks_in_other_places_are_no_leak(config: RunConfig) -> None:
    twin, own = paths(config, "held_out")[0].mask_path, paths(config, "reference")[1].mask_path
    for shape, corner in (((9, 12), 40), ((5, 5), 50)):
        for path, start in ((twin, 10), (own, corner)):
            mask = np.zeros((96, 96), dtype=bool)
            mask[start : start + shape[0], start : start + shape[1]] = True
            mask[start, start] = shape != (5, 5)
            write_png(config.category_folder / path, mask)
        assert found(config) == []


def test_a_clean_dataset_says_so_in_card_manifest_and_verify(finished: Run) -> None:
    certificate = read_certificate(finished.dataset / "manifest.parquet")
    assert certificate is not None
    assert certificate == Dataset(finished.dataset).leakage
    counts = (certificate.normals, certificate.references, certificate.held_out, certificate.test_normals)
    assert (counts, certificate.synthetic, certificate.samples, certificate.leaks) == ((6, 4, 4, 2), 10, 0, ())
    assert "**No leak: nothing of the test split was found" in (finished.dataset / "README.md").read_text()
    verified = verify_dataset(finished.dataset)
    assert (verified.is_leaky, verified.leakage) == (False, certificate.verdict)


def test_what_is_made_with_held_out_masks_and_photographs_is_stamped(
    finished_config: Path, command_line: CommandLine
) -> None:
    finished_config.write_text(
        finished_config.read_text().replace("[hole, scratch]", "[hole]") + "masks: {source: held_out}\n"
    )
    config = load_config(finished_config)
    held_out = paths(config, "held_out")
    copy_darker(config, held_out[0].path, "train/good/002.png")
    told = list(warnings(config, ingest(config)))
    assert any(line.startswith("masks.source: the masks of held-out images are planned") for line in told)
    run = run_all_steps(finished_config)
    certificate = Dataset(run.dataset).leakage
    assert certificate is not None
    normal, *masks = certificate.leaks
    table = pq.read_table(run.dataset / "manifest.parquet").to_pylist()
    painted = [row for row in table if row["origin"] == "synthetic"]
    assert {row["mask_sampler"] for row in painted} == {"held_out"}
    assert (normal.kind, normal.path, normal.held_out) == ("normal", "train/good/002.png", held_out[0].path)
    assert [leak.held_out for leak in masks] == [record.mask_path for record in held_out]
    assert sum(leak.samples for leak in masks) == certificate.samples == len(painted) == 5
    card = (run.dataset / "README.md").read_text()
    assert "Do not report results on this test split." in card
    assert "tags: [synthetic, anomaly-detection, defectfill, leaky]" in card
    assert f"| normal | train/good/002.png | {held_out[0].path} |" in card
    said = command_line("verify", run.dataset).out
    assert "leaky: 1 normals that are photographs of the test split, 2 held-out masks" in said


def problems_with(dataset: Path, certificate: bytes | None) -> list[str]:
    """Rewrite the certificate in a dataset and return what verify says."""
    table = pq.read_table(dataset / "manifest.parquet")
    metadata = {METADATA_KEY: certificate} if certificate is not None else None
    pq.write_table(table.replace_schema_metadata(metadata), dataset / "manifest.parquet")
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset)
    return [problem.removeprefix(f"{dataset}: ") for problem in caught.value.problems]


def test_verify_names_a_certificate_that_is_gone_damaged_or_of_other_rows(finished: Run, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(finished.dataset, tmp_path / "dataset"))
    certificate = read_certificate(dataset / "manifest.parquet")
    assert certificate is not None
    assert problems_with(dataset, None) == ["manifest.parquet has no leakage certificate in its file metadata"]
    assert "the leakage certificate cannot be read" in problems_with(dataset, b"{")[0]
    other = certificate.model_copy(update={"normals": 7})
    assert problems_with(dataset, other.model_dump_json().encode()) == [
        "the leakage certificate is of 7 normals, the manifest has 6"
    ]


def test_verify_finds_a_held_out_mask_of_which_the_certificate_says_nothing(finished: Run, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(finished.dataset, tmp_path / "dataset"))
    schema, rows = pq.read_schema(dataset / "manifest.parquet"), pq.read_table(dataset / "manifest.parquet").to_pylist()
    reference, twin = (
        next(row for row in rows if (row["defect"], row["split"]) == ("hole", split)) for split in ("train", "test")
    )
    shutil.copy(dataset / twin["mask_path"], dataset / reference["mask_path"])
    reference["mask_sha256"] = twin["mask_sha256"]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), dataset / "manifest.parquet")
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset)
    assert list(caught.value.problems) == [
        f"{dataset}: row {reference['sample_id']}: it has a file of row {twin['sample_id']} of the test split, and the "
        "leakage certificate says nothing of it"
    ]


def test_a_certificate_survives_its_file() -> None:
    leak = Leak(kind="normal", path="train/good/a.png", held_out="test/hole/b.png", likeness=0.97, samples=2)
    written = Certificate(
        normals=1, references=2, folder_masks=0, synthetic=3, held_out=4, test_normals=5, leaks=(leak,), samples=2
    )
    assert Certificate.model_validate(json.loads(written.model_dump_json())) == written
