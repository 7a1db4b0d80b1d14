"""Files that the steps of a run leave for one another: damaged ones are named, with what to do about them."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from conftest import contents, paint
from safetensors.numpy import load_file, save_file

from defectfill.adapters.files import adapter_sha256
from defectfill.adapters.references import read_training_data
from defectfill.config.run import load_config
from defectfill.dataset.summary import summary
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import DataError
from defectfill.io.files import read_rows, read_table, write_rows, write_table
from defectfill.io.images import file_sha256
from defectfill.model.lora import ADAPTER_FILE
from defectfill.operations.prepare import start_run
from defectfill.records.manifest import SHARD_SCHEMA
from defectfill.records.plan import SCHEMA
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards

Change = Callable[[Path], Any]


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """Copy a finished run, to break."""
    before = Path(finished.config.output.root).parent
    folder = shutil.copytree(before, tmp_path / "copy")
    text = (folder / "toy.yaml").read_text().replace(str(before), str(folder))
    (folder / "toy.yaml").write_text(text)
    return start_run(load_config(folder / "toy.yaml"))


def repaint(run: Run) -> None:
    """Paint and write the dataset anew, as far as it is not there."""
    paint(run)
    write_dataset(run)


def unpaint(run: Run) -> None:
    shutil.rmtree(run.folder / "shards")


def problem_of(run: Run) -> str:
    """Return the one problem that painting and writing the dataset end with, leaving nothing half-written."""
    with pytest.raises(DataError) as caught:
        repaint(run)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    assert not list(run.category_output.rglob("*.partial-*"))
    return problem


DAMAGE: dict[str, Change] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no table"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "other columns": lambda path: write_table(path, [{"x": 1}], pa.schema([("x", pa.int8())])),
}


@pytest.mark.parametrize("name", ["plan.parquet", "snapshot.parquet"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_table_of_a_run_is_named(run: Run, damage: Change, name: str) -> None:
    path = run.folder / name
    unpaint(run)
    damage(path)
    problem = problem_of(run)
    assert problem.startswith(f"{path}: expected what a step of the run wrote, found: ")
    assert problem.endswith("; remove it and run again")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_rows_of_a_shard_are_named(run: Run, damage: Change) -> None:
    folder = run.shard_folder(finished_shards(run, "hole")[0])
    damage(folder / "rows.arrow")
    problem = problem_of(run)
    assert problem.startswith(f"{folder / 'rows.arrow'}: expected what a step of the run wrote, found: ")
    assert problem.endswith(f"; remove {folder} and run again")


def test_what_is_removed_as_the_messages_say_comes_back_in_the_same_bytes(finished: Run, run: Run) -> None:
    run.plan_path.unlink()
    (run.folder / "snapshot.parquet").unlink()
    shutil.rmtree(run.shard_folder(finished_shards(run, "hole")[0]))
    repaint(start_run(run.config))
    assert contents(run.dataset) == contents(finished.dataset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": (-900, -900, -800, -800)}, "planned mask and window do not belong together"),
        ({"window": (90, 90, 10, 10)}, "planned mask and window do not belong together"),
        ({"sample_id": "../../../elsewhere"}, "another sample_id than was planned"),
        ({"seed": -1}, "another seed than was planned"),
        ({"index": 7}, "gaps among the samples of hole"),
        ({"prompt": "A washer"}, "another prompt than was planned"),
        ({"source_path": "../../toy.yaml"}, "expected a path below its folder"),
        ({"source_path": ""}, "no source or no planned mask"),
        ({"planned_mask_path": "/etc/hostname"}, "expected a path below its folder"),
        ({"mask_area_fraction": 0.9}, "another planned mask than planned_masks/hole/"),
    ],
)
def test_a_row_of_the_plan_that_cannot_be_is_named(run: Run, values: dict[str, Any], message: str) -> None:
    unpaint(run)
    rows = read_table(run.plan_path)
    write_table(run.plan_path, [{**rows[0], **values}, *rows[1:]], SCHEMA)
    problem = problem_of(run)
    assert problem.startswith(f"{run.plan_path}: ")
    assert message in problem


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_path": "../../../../../elsewhere.png"}, "expected a path below its folder"),
        ({"planned_mask_path": "/etc/hostname"}, "expected a path below its folder"),
        ({"source_path": "train/good/999.png"}, "unknown source train/good/999.png"),
        ({"window": (90, 90, 10, 10)}, "expected a square"),
        ({"origin": "painted"}, "Input should be 'real' or 'synthetic'"),
    ],
)
def test_a_row_of_a_shard_that_cannot_be_is_named_and_nothing_is_written(
    run: Run, values: dict[str, Any], message: str
) -> None:
    path = run.shard_folder(finished_shards(run, "hole")[0]) / "rows.arrow"
    rows = read_rows(path).to_pylist()
    write_rows(path, [{**rows[0], **values}, *rows[1:]], SHARD_SCHEMA)
    before = contents(run.category_output)
    problem = problem_of(run)
    assert problem.startswith(f"{path}: ")
    assert message in problem
    assert contents(run.category_output) == before


MASKS: dict[str, Change] = {
    "text": lambda path: path.write_text("no picture"),
    "gone": lambda path: path.unlink(),
    "another": lambda path: path.write_bytes((path.parent / "other").read_bytes()),
}


@pytest.mark.parametrize("painted", [False, True])
@pytest.mark.parametrize("damage", MASKS.values(), ids=MASKS)
def test_a_damaged_planned_mask_is_named_with_the_plan_to_remove(run: Run, damage: Change, painted: bool) -> None:
    first, *_, other = sorted((run.folder / "planned_masks" / "hole").iterdir())
    other.rename(other.with_name("other"))
    if not painted:
        unpaint(run)
    damage(first)
    problem = problem_of(run)
    assert f"planned_masks/hole/{first.name}" in problem
    assert problem.endswith(f"; remove {run.plan_path} and run again") or problem.startswith(f"{run.plan_path}: ")


def test_a_painted_image_that_is_gone_is_named_with_its_shard_to_remove(run: Run) -> None:
    folder = run.shard_folder(finished_shards(run, "hole")[0])
    image = min((folder / "images" / "hole").iterdir())
    image.unlink()
    problem = problem_of(run)
    assert problem.startswith(f"{image}: ")
    assert problem.endswith(f"; remove {folder} and run again")


def test_folders_beside_the_shards_that_are_none_are_passed_over(run: Run) -> None:
    shards = finished_shards(run, "hole")
    for name in ("000000-000002 (copy)", "1-2-3", "0-x", "notes"):
        (run.folder / "shards" / "hole" / name).mkdir()
    assert finished_shards(run, "hole") == shards
    assert not plan_samples(run)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_a_damaged_run_json_is_written_anew_by_the_next_run(run: Run, damage: bytes) -> None:
    path = run.folder / "run.json"
    assert run.is_finished()
    path.write_bytes(damage)
    with pytest.raises(DataError, match=re.escape(f"{path}: ")):
        summary(run.dataset)
    assert not run.is_finished()
    assert start_run(run.config).is_finished()
    assert summary(run.dataset)


@pytest.mark.parametrize("damage", [b"", b"[]", b"1", b"[" * 100_000, b"\xff"])
def test_a_run_whose_mark_is_damaged_is_not_finished(run: Run, damage: bytes) -> None:
    (run.folder / "finished.json").write_bytes(damage)
    assert not run.is_finished()


class Bomb:
    """Removes itself when its pickle is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return shutil.rmtree, (str(self.path),)


def bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.parent)))


def reshape(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: tensor[:1] for name, tensor in tensors.items()}, path)


def rename(path: Path) -> None:
    save_file({f"other.{name}": tensor for name, tensor in load_file(path).items()}, path)


def spoil(path: Path) -> None:
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)


ADAPTERS: dict[str, Change] = {**DAMAGE, "a pickle": bomb, "other shapes": reshape, "other names": rename, "nan": spoil}
del ADAPTERS["other columns"]


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("damage", ADAPTERS.values(), ids=ADAPTERS)
def test_an_adapter_that_is_not_what_was_trained_is_named_and_not_unpickled(
    run: Run, damage: Change, hashed: bool
) -> None:
    unpaint(run)
    path = run.adapter_folder("hole") / ADAPTER_FILE
    damage(path)
    if hashed and path.is_file():
        record = json.loads(path.with_name("training.json").read_bytes())
        record["adapter_sha256"] = file_sha256(path)
        path.with_name("training.json").write_text(json.dumps(record))
    problem = problem_of(run)
    assert problem.startswith(f"{path}: expected ")
    assert problem.endswith(f"; remove {path.parent} and run again")
    assert path.exists()


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_a_damaged_training_json_is_named_with_its_folder_to_remove(run: Run, damage: bytes) -> None:
    path = run.adapter_folder("hole") / "training.json"
    path.write_bytes(damage)
    with pytest.raises(DataError) as caught:
        adapter_sha256(run, "hole")
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(f"; remove {path.parent} and run again")


@pytest.mark.parametrize("size", ["", "many", "0", "-3", "9" * 30])
def test_a_damaged_number_of_samples_per_batch_is_named(run: Run, size: str, base_folder: Path) -> None:
    from defectfill.model.inpaint.painter import open_painter

    path = run.folder / "samples_per_batch"
    path.write_text(size)
    settings = run.config.generate.model_copy(update={"samples_per_batch": "auto"})
    distance: Literal["vae"] = "vae"
    with pytest.raises(DataError, match=re.escape(f"{path}: ")):
        open_painter(run.config.base, settings, distance, run.adapter_folder("hole"), path)


@pytest.mark.parametrize(("role", "file"), [("normal", "path"), ("held_out", "path"), ("held_out", "mask_path")])
def test_a_real_image_or_mask_that_changes_while_a_run_is_under_way_is_named(run: Run, role: str, file: str) -> None:
    path = append_to_real(run, role, file)
    assert problem_of(run).startswith(f"{path}: expected the file that was ingested, found another content")


@pytest.mark.parametrize("file", ["path", "mask_path"])
def test_a_reference_that_changes_while_a_run_is_under_way_is_neither_learnt_nor_painted_by(
    run: Run, file: str
) -> None:
    unpaint(run)
    path = append_to_real(run, "reference", file)
    assert problem_of(run).startswith(f"{path}: expected the file that was ingested, found another content")
    with pytest.raises(DataError, match=re.escape(f"{path}: expected the file that was ingested")):
        read_training_data(run, "hole")


def append_to_real(run: Run, role: str, file: str) -> Path:
    """Give a file of the first real image of a role another content; return its path."""
    record = next(record for record in run.snapshot() if record.role == role)
    path: Path = run.config.category_folder / getattr(record, file)
    path.write_bytes(path.read_bytes() + b"more")
    return path
