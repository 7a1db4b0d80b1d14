"""Files and folders that are there whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectfill.io.errors import DataError
from defectfill.io.files import (
    PARTIAL,
    check_inner_path,
    checked,
    damage_named,
    in_blocks,
    new_folder,
    new_table,
    read_rows,
    read_table,
    remove_partials,
    unwritable,
    write_bytes,
    write_rows,
    write_table,
)

NO_PROCESS = 2**22 + 1
"""The number of no process: Linux gives none as high."""
SCHEMA = pa.schema([("name", pa.string()), ("scores", pa.list_(pa.float32())), ("window", pa.list_(pa.int32(), 4))])
ROWS: list[dict[str, Any]] = [
    {"name": "a", "scores": [0.5, 0.25], "window": [0, 1, 2, 3]},
    {"name": "ß", "scores": [], "window": [-4, 5, 6, 7]},
    {"name": "", "scores": None, "window": None},
]


def below(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too, with its content; folders end in a slash."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        f"{name}/" if path.is_dir() else name: b"" if path.is_dir() else path.read_bytes()
        for name, path in found.items()
    }


def interrupted(folder: Path, error: type[BaseException]) -> None:
    """Begins to fill the folder, and fails."""
    with new_folder(folder, replace=True) as partial:
        (partial / "below").mkdir()
        (partial / "below/half.png").write_bytes(b"half")
        raise error


def test_bytes_are_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"old", b"", b"newer and longer"):
        write_bytes(tmp_path / "some/folder/file.json", content)
        assert below(tmp_path) == {"some/": b"", "some/folder/": b"", "some/folder/file.json": content}


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "file", "not bytes")  # type: ignore[arg-type]
    assert below(tmp_path) == {"file": b"old"}


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "name/taken").mkdir(parents=True)
    with pytest.raises(OSError, match="name"):
        write_bytes(tmp_path / "name", b"new")
    assert below(tmp_path) == {"name/": b"", "name/taken/": b""}


def test_a_reader_sees_the_old_file_until_it_closes_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as reader:
        write_bytes(tmp_path / "file", b"new")
        assert reader.read() == b"old"


def test_rows_come_back_from_a_table(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", ROWS, SCHEMA)
    assert read_table(tmp_path / "rows.parquet") == ROWS
    write_table(tmp_path / "rows.parquet", [], SCHEMA)
    assert read_table(tmp_path / "rows.parquet") == []


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "first", ROWS, SCHEMA)
    write_table(tmp_path / "second", [dict(reversed(row.items())) for row in ROWS], SCHEMA)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_row_of_another_type_writes_no_table(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowException):
        write_table(tmp_path / "rows.parquet", [{"name": 3, "scores": [], "window": None}], SCHEMA)
    assert below(tmp_path) == {}


def test_rows_come_back_from_an_arrow_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", ROWS, SCHEMA)
    assert read_rows(tmp_path / "rows.arrow").to_pylist() == ROWS
    assert read_rows(tmp_path / "rows.arrow").schema == SCHEMA


@given(st.lists(st.integers(0, 9)), st.integers(1, 7))
def test_blocks_hold_the_same_rows_in_order_however_they_came(sizes: list[int], rows: int) -> None:
    numbers = pa.table({"number": range(sum(sizes))})
    tables = [numbers.slice(sum(sizes[:place]), size) for place, size in enumerate(sizes)]
    blocks = list(in_blocks(tables, rows))
    assert [number for block in blocks for number in block["number"].to_pylist()] == list(range(sum(sizes)))
    assert all(block.num_rows == rows for block in blocks[:-1])
    assert all(0 < block.num_rows <= rows and block["number"].num_chunks == 1 for block in blocks)


def test_a_table_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", ROWS, SCHEMA)
    with pytest.raises(ValueError, match="schema"), new_table(tmp_path / "rows.parquet", SCHEMA) as writer:
        writer.write_table(pa.table({"other": [1]}))
    assert read_table(tmp_path / "rows.parquet") == ROWS
    assert list(below(tmp_path)) == ["rows.parquet"]


def test_a_new_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    target = tmp_path / "shards/000000-000016"
    with new_folder(target) as partial:
        (partial / "image.png").write_bytes(b"pixels")
        assert not target.exists()
        assert partial.parent == target.parent
    assert below(tmp_path / "shards") == {"000000-000016/": b"", "000000-000016/image.png": b"pixels"}


def test_a_new_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with new_folder(tmp_path / "dataset", replace=True) as partial:
            (partial / name).touch()
    assert below(tmp_path) == {"dataset/": b"", "dataset/new": b""}


def test_a_new_folder_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "report").touch()
    with new_folder(tmp_path / "report", replace=True) as partial:
        (partial / "index.html").touch()
    assert below(tmp_path) == {"report/": b"", "report/index.html": b""}


def test_what_holds_no_new_files_is_found_out_by_trying(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert unwritable(tmp_path / "new" / "folder") is None
    assert unwritable(tmp_path / "file" / "folder") == tmp_path / "file"
    assert unwritable(Path("/proc/new/folder")) == Path("/proc")
    assert below(tmp_path) == {"file": b""}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_no_folder_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        interrupted(tmp_path / "dataset", error)
    assert below(tmp_path) == {}


def test_an_error_keeps_the_old_folder(tmp_path: Path) -> None:
    with new_folder(tmp_path / "dataset", replace=True) as partial:
        (partial / "old").write_bytes(b"old")
    with pytest.raises(KeyError):
        interrupted(tmp_path / "dataset", KeyError)
    assert below(tmp_path) == {"dataset/": b"", "dataset/old": b"old"}


def test_partials_are_removed_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    kept = ["runs/a/plan.parquet", "runs/a/.hidden", "notes.partial-7", "dataset/image.png"]
    unfinished = ["runs/.plan.parquet{}", "runs/a/.shard{}/deep/x.png", ".dataset{}/y"]
    endings = (f"{PARTIAL}{NO_PROCESS}", f"{PARTIAL}old-{NO_PROCESS}", f"{PARTIAL}ab_12", f"{PARTIAL}{NO_PROCESS}-1")
    lost = [name.format(ending) for name in unfinished for ending in endings]
    for name in (*kept, *lost):
        write_bytes(tmp_path / name, b"x")
    remove_partials(tmp_path)
    assert {name for name, content in below(tmp_path).items() if content} == set(kept)
    assert not [name for name in below(tmp_path) if name.startswith(".dataset") or ".shard" in name]


def test_what_a_living_process_fills_stays_and_what_one_of_the_same_number_left_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / f".report{PARTIAL}old-{os.getpid()}/index.html", b"replaced")
    with new_folder(tmp_path / "report") as partial:
        write_bytes(partial / "index.html", b"page")
        remove_partials(tmp_path)
    assert below(tmp_path) == {"report/": b"", "report/index.html": b"page"}
    write_bytes(partial / "index.html", b"of a process that was killed")
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: partial.lstat().st_ctime + 1)
    remove_partials(tmp_path)
    assert not partial.exists()


def test_there_may_be_nothing_to_remove(tmp_path: Path) -> None:
    remove_partials(tmp_path)
    remove_partials(tmp_path / "missing")


FILL_AND_WAIT = """
import sys, time
from pathlib import Path
from defectfill.io.files import new_folder, write_bytes
with new_folder(Path(sys.argv[1]), replace=True) as folder:
    write_bytes(folder / "images/first.png", b"first")
    (folder / "images/.second.png.partial-1").write_bytes(b"sec")
    print("half way", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("before", [{}, {"shard/": b"", "shard/old": b"old"}], ids=["new", "replaced"])
def test_a_killed_process_leaves_no_folder_but_what_can_be_removed(tmp_path: Path, before: dict[str, bytes]) -> None:
    if before:
        write_bytes(tmp_path / "shard/old", b"old")
    command = [sys.executable, "-c", FILL_AND_WAIT, str(tmp_path / "shard")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half way\n"
        half = below(tmp_path)
        remove_partials(tmp_path)
        assert below(tmp_path) == half
        child.kill()
    assert child.returncode == -9
    assert before.items() < below(tmp_path).items()
    assert ("shard/" in below(tmp_path)) == bool(before)
    remove_partials(tmp_path)
    assert below(tmp_path) == before


def test_a_folder_that_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="models"), new_folder(tmp_path / "models"):
        pass
    assert (tmp_path / "models" / "thesis.txt").read_text() == "mine"


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / f".made.partial-{os.getpid()}"
    left.mkdir()
    (left / "half.txt").write_text("half")
    with new_folder(tmp_path / "made") as partial:
        (partial / "whole.txt").write_text("whole")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole.txt"]


@pytest.mark.parametrize("path", ["", "images/hole/000.png", "a b/ü.png", "..a/b..", "C:/a\\b"])
def test_a_path_below_its_folder_is_taken_as_it_is(path: str) -> None:
    assert check_inner_path(path) == path


@pytest.mark.parametrize(
    "path", ["..", "../a", "a/../b", "a/..", "/a", "a//b", "./a", ".", "a/.", "a/", "a\0b", f"a/{'b' * 256}", "ü" * 128]
)
def test_a_path_that_may_leave_its_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path below its folder"):
        check_inner_path(path)


def test_what_reading_raises_becomes_a_data_error_with_file_and_remedy(tmp_path: Path) -> None:
    for damage in (b"", b"no table", b"ARROW1\0\0cut"):
        (tmp_path / "rows.arrow").write_bytes(damage)
        with pytest.raises(DataError) as caught, damage_named(tmp_path / "rows.arrow", "paint it again"):
            read_rows(tmp_path / "rows.arrow")
        (problem,) = caught.value.problems
        assert problem.startswith(f"{tmp_path / 'rows.arrow'}: expected what a step of the run wrote, found: ")
        assert problem.endswith("; paint it again")
        assert "\n" not in problem


def test_a_table_of_another_schema_or_of_bytes_that_are_no_text_is_refused() -> None:
    table = pa.Table.from_pylist(ROWS, SCHEMA)
    assert checked(table, SCHEMA) is table
    with pytest.raises(ValueError, match="other columns, differing in scores"):
        checked(table.drop_columns("scores"), SCHEMA)
    raw = pa.array([b"\xff"])
    text = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    with pytest.raises(ValueError, match="UTF8"):
        checked(pa.table({"name": text}))
