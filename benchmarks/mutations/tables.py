"""Ways to break a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.mutations.common import Change, cut, loop, put

Rows = list[dict[str, Any]]


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], Any], schema: pa.Schema | None = None) -> None:
    """Change the rows of a parquet file, with its own schema or another."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=schema or table.schema), path)


def bytes_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def without(path: Path) -> None:
    table = pq.read_table(path)
    put(path, bytes_of(table.drop_columns(table.column_names[1])))


def renamed(path: Path) -> None:
    table = pq.read_table(path)
    put(path, bytes_of(table.rename_columns(["x", *table.column_names[1:]])))


def all_text(path: Path) -> None:
    table = pq.read_table(path)
    columns = [pa.array([str(value) for value in column.to_pylist()], pa.string()) for column in table.columns]
    put(path, bytes_of(pa.table(columns, names=table.column_names)))


def all_null(path: Path) -> None:
    table = pq.read_table(path)
    put(path, bytes_of(pa.table([pa.nulls(max(len(table), 1), field.type) for field in table.schema], table.schema)))


def other_rows(path: Path) -> None:
    put(path, bytes_of(pa.table({"file": ["../../etc/passwd"], "n": [1]})))


def not_text(path: Path) -> None:
    """Put bytes that are not UTF-8 into the first column of text."""
    table = pq.read_table(path)
    raw = pa.array([b"\xff\xfe"] * max(len(table), 1)).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    table = table if len(table) else pa.Table.from_pylist([{}], table.schema)
    put(path, bytes_of(table.set_column(0, table.schema.field(0), text)))


TABLES: dict[str, Change] = {
    "an empty file": lambda path: put(path, b""),
    "text": lambda path: put(path, "sample_id,image_path\n"),
    "cut in half": lambda path: cut(path, 0.5),
    "cut at its end": lambda path: cut(path, 0.99),
    "its first bytes alone": lambda path: put(path, b"PAR1"),
    "no file": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to itself": loop,
    "a column less": without,
    "a column renamed": renamed,
    "all text": all_text,
    "all null": all_null,
    "another table": other_rows,
    "text that is not UTF-8": not_text,
}
"""What is done to a parquet file."""


def row(number: int, **values: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[number].update(values)
