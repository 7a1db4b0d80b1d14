"""Files and folders that are there whole or not at all."""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from defectfill.io.errors import DataError, is_full_disk

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PARTIAL = ".partial-"
"""What the names of unfinished files and folders hold, before the number of the process that fills them.

A killed process leaves them, the next one removes them."""

NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems without hard links say: exFAT, CIFS, some of FUSE."""


def check_inner_path(path: str) -> str:
    """Return `path`, if it is empty or leads below the folder that it is relative to; ValueError otherwise."""
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > 255 for part in parts):
        raise ValueError("expected a path below its folder")
    return path


InnerPath = Annotated[str, AfterValidator(check_inner_path)]
"""A path with forward slashes, relative to a folder that it cannot leave, or nothing."""


@contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn errors of reading a file that a step wrote into a DataError, which ends in what to do."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError, RecursionError) as error:
        found = " ".join(str(error).split())[:500] or type(error).__name__
        if not os.path.lexists(path):  # nothing that could be removed
            found, remedy = "nothing", remedy.removeprefix("remove it and ")
        raise DataError(f"{path}: expected what a step of the run wrote, found: {found}; {remedy}") from error


def unwritable(folder: Path) -> Path | None:
    """Return the folder, or the nearest path above it that is there, if no file can be made in it; None where one can.

    It is tried, and leaves nothing: permissions do not tell of /proc, nor of some mounts.
    """
    above = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        if os.access(above, os.W_OK | os.X_OK):
            tempfile.TemporaryFile(dir=above).close()
            return None
    except OSError as error:
        if is_full_disk(error):
            raise
    return above


def write_bytes(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write `content` to `path`, replacing it in one step; sync: so that a loss of power finds old or new, whole."""
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    try:
        try:
            file = partial.open("wb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("wb")
        with file:
            file.write(content)
            if sync:
                file.flush()
                _sync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(file: int) -> None:
    """Have what was written on the disk, where the file system can do that."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def write_once(path: Path, content: bytes) -> bytes:
    """Write a few bytes to `path` unless something is there, and return what is there then. The first of many wins."""
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    partial.write_bytes(content)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create(path, content)
    finally:
        partial.unlink()
    return path.read_bytes()


def _create(path: Path, content: bytes) -> bytes:
    """Do as write_once on a file system without hard links: for an instant others may find an empty file, and wait."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        pass
    for _ in range(100):
        if found := path.read_bytes():
            return found
        time.sleep(0.01)
    return b""


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: "pa.Schema") -> None:
    """Write rows as parquet, replacing `path` in one step; equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


@contextmanager
def new_table(path: Path, schema: "pa.Schema") -> Iterator["pq.ParquetWriter"]:
    """Open a parquet file to write part by part, which appears as `path` when the context ends well."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            yield writer
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def in_blocks(tables: Iterable["pa.Table"], rows: int) -> Iterator["pa.Table"]:
    """Yield the same rows in tables of `rows` rows, the last one shorter: files do not depend on how they came."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= rows:
            together = pa.concat_tables(waiting)
            yield together.slice(0, rows).combine_chunks()
            waiting, count = [together.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def write_rows(path: Path, rows: Sequence[dict[str, Any]], schema: "pa.Schema") -> None:
    """Write a few rows as an Arrow file, which is read in a fraction of the time that parquet takes."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))
    write_bytes(path, sink.getvalue().to_pybytes())


def read_rows(path: Path, schema: "pa.Schema | None" = None) -> "pa.Table":
    """Return the rows of an Arrow file; OSError or ValueError where it is damaged or has another schema."""
    import pyarrow as pa

    return checked(pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all(), schema)


def checked(table: "pa.Table", schema: "pa.Schema | None" = None) -> "pa.Table":
    """Return a table as it was read; ValueError where its values are damaged or it has another schema than expected."""
    if schema is not None and not table.schema.equals(schema):
        raise ValueError(f"other columns, {schema_differences(table.schema, schema)}")
    table.validate(full=True)
    return table


def schema_differences(found: "pa.Schema", expected: "pa.Schema", renamed: Mapping[str, str] | None = None) -> str:
    """Return in words how two schemas differ; `renamed` has new names of columns by their old ones."""
    told = [f"{old} was renamed, now {new}" for old, new in (renamed or {}).items() if old in found.names]
    wrong = [field.name for field in expected if field not in found] or found.names
    return ", ".join(told) or f"differing in {', '.join(wrong)}"


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a parquet file."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = checked(pq.read_table(path)).to_pylist()
    return rows


@contextmanager
def new_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Open a folder to fill, which appears as `folder` when the context ends well and vanishes otherwise.

    Raises FileExistsError where something is in its place, unless `replace`: then it is removed in the end.
    """
    if folder.exists() and not replace:
        raise FileExistsError(f"{folder}: is there already")
    partial = folder.with_name(f".{folder.name}{PARTIAL}{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process with the same number
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            outdated = _outdated(folder)
            os.replace(partial, folder)
            _remove(outdated)  # files that others have open stay until a later clean-up
        else:
            os.replace(partial, folder)
    except Exception as error:
        if re.search(rf"\b(os error|Errno) {errno.ENOSPC}\b", str(error)):  # as safetensors and shutil tell it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _outdated(folder: Path) -> Path:
    """Return the folder under a name of unfinished ones."""
    outdated = folder.with_name(f".{folder.name}{PARTIAL}old-{os.getpid()}")
    os.replace(folder, outdated)
    return outdated


def remove_folder(folder: Path) -> None:
    """Remove a folder so that no one ever sees half of it."""
    shutil.rmtree(_outdated(folder))


def remove_partials(root: Path) -> None:
    """Remove what is unfinished or replaced anywhere below `root`; what a living process of this machine fills stays.

    A report is written without the lock of its category, and must not vanish below the hands of who writes it.
    """
    for folder, folders, files in os.walk(root):
        unfinished = {name for name in (*folders, *files) if name.startswith(".") and PARTIAL in name}
        for path in (Path(folder, name) for name in sorted(unfinished)):
            if not _is_being_filled(path):
                _remove(path)
        folders[:] = [name for name in folders if name not in unfinished]


def _is_being_filled(partial: Path) -> bool:
    """Return whether the process lives whose number follows PARTIAL; one that began later only has the same number."""
    import psutil

    number = partial.name.rpartition(PARTIAL)[2].partition("-")[0]
    try:
        process = psutil.Process(int(number))
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= partial.lstat().st_ctime
    except (ValueError, psutil.NoSuchProcess, FileNotFoundError):
        return False


def _remove(path: Path) -> None:
    """Remove a folder, as far as that goes, or a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
