"""review.csv, as a person's decisions come in: id,decision,note; in UTF-8, with commas or, as spreadsheets in much of
Europe write it, with semicolons."""

import csv
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path
from typing import get_args

from defectfill.io.errors import DataError
from defectfill.records.manifest import Decision
from defectfill.runs.review import Decided

HEADER = ["id", "decision", "note"]
WORDS: tuple[str, ...] = get_args(Decision)
PROBLEMS_TOLD = 20


def read_table(path: Path, known: Collection[str]) -> dict[str, Decided]:
    """Return the decisions in a file by sample_id.

    known: the ids of the run's painted samples. Raises DataError with a message per line that is wrong.
    """
    decisions: dict[str, Decided] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for line, (sample_id, decision, note) in _rows(path, problems):
        before = decisions.get(sample_id)
        if sample_id not in known:
            problems.append(f"{path}: line {line}: expected the id of a sample of this run, found {sample_id!r}")
        elif decision not in WORDS:
            problems.append(f"{path}: line {line}: expected {', '.join(WORDS)}, found {decision!r}")
        elif before and before.decision != decision:
            said = f"line {lines[sample_id]} says {before.decision}"
            problems.append(f"{path}: line {line}: {sample_id}: {decision}, but {said}")
        else:
            lines.setdefault(sample_id, line)
            decisions[sample_id] = Decided.model_validate({"decision": decision, "note": note})
    if problems:
        more = len(problems) - PROBLEMS_TOLD
        raise DataError([*problems[:PROBLEMS_TOLD], *([f"{path}: and {more} more lines"] if more > 0 else [])])
    return decisions


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its last line; what is no row of three values is added to `problems`."""
    if not path.is_file():
        raise DataError(f"{path}: expected the decisions of a review, found no file")
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        if (header := next(reader, [])) != HEADER:
            raise DataError(f"{path}: line 1: expected {','.join(HEADER)}, found {','.join(header)!r}")
        for row in reader:
            if len(row) == len(HEADER):
                yield reader.line_num, row
            elif row:
                problems.append(f"{path}: line {reader.line_num}: expected 3 values, found {len(row)}")
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # spreadsheets put a mark before UTF-8
    except UnicodeDecodeError as error:
        line, found = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise DataError(
            f"{path}: line {line}: expected UTF-8, found the byte {found:#04x}; save it as UTF-8 (CSV UTF-8)"
        ) from error
