"""groups.csv: the physical part that each image shows."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from defectfill.config.run import RunConfig
from defectfill.ingest.find import GROUPS_FILE, relative_path


def read_groups(config: RunConfig, images: Sequence[tuple[str, Path]]) -> tuple[dict[Path, str], list[str]]:
    """Return image -> group from `groups.csv`, and the problems of that file; no groups without it."""
    path = config.category_folder / GROUPS_FILE
    asked = config.data.group_column
    if not path.is_file():
        named = [each for each in path.parent.iterdir() if each.name.casefold().startswith(f"{path.stem}.")]
        problems = [f"{each}: expected a file {GROUPS_FILE}, found what is not read" for each in named]
        missing = f"{path}: expected because data.group_column is {asked!r}, found no such file"
        return {}, problems or ([missing] if asked else [])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restval="", skipinitialspace=True)
            columns = [name.strip() for name in table.fieldnames or ()]
            table.fieldnames = columns
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return {}, [f"{path}: expected a table as CSV in UTF-8, found: {error}"]
    column, problem = _group_column(columns, asked)
    if problem:
        return {}, [f"{path}: {problem}"]
    names = [row["file"].strip().replace("\\", "/").removeprefix("./") for row in rows]
    twice = [name for name, times in Counter(names).items() if times > 1]
    problems = [f"{path}: expected every file once, found {name} more often" for name in twice]
    group_of = {name: row[column].strip() for name, row in zip(names, rows, strict=True)}
    groups = {image: group_of.get(relative_path(image, config.category_folder), "") for _, image in images}
    for image in (image for image, group in groups.items() if not group):
        problems.append(f"{image}: expected a row with a {column} in groups.csv, found none")
    return groups, problems


def _group_column(columns: Sequence[str], asked: str | None) -> tuple[str, str]:
    """Return the column that names the group and an empty problem, or the other way round."""
    shown = ", ".join(columns) or "none"
    if "file" not in columns:
        return "", f"expected a column 'file', found the columns {shown}"
    if asked:
        return asked, "" if asked in columns else f"expected the column {asked!r}, found the columns {shown}"
    named = ["group"] if "group" in columns else [name for name in columns if name.endswith("_group")]
    if len(named) == 1:
        return named[0], ""
    expected = "expected a column 'group', one column ending in '_group', or data.group_column in the config"
    return "", f"{expected}, found the columns {shown}"
