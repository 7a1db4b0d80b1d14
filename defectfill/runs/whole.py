"""A quick look at a finished dataset: are its files there, and as large as they were? Contents are for `verify`."""

from pathlib import Path

from defectfill.records.manifest import FILE_COLUMNS, SPLIT_TABLES

LISTING_TABLES = ("manifest.parquet", "rejected.parquet")
TABLES = (*LISTING_TABLES, "metadata.parquet", *SPLIT_TABLES.values())
NAMED = 3
"""Files that are named of those that are missing."""


def dataset_bytes(folder: Path) -> tuple[int, list[str]]:
    """Return how many bytes the tables of a dataset and the files that they list have together, and what is missing.

    Paths are relative to the folder; a table that cannot be read counts as missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed, missing = set(TABLES), set()
    for name in LISTING_TABLES:
        try:
            columns = pq.read_table(folder / name, columns=list(FILE_COLUMNS)).columns
        except (OSError, pa.ArrowException):
            missing.add(name)
            continue
        listed.update(path for column in columns for path in column.unique().to_pylist() if path)
    total = 0
    for path in listed - missing:
        try:
            total += (folder / path).stat().st_size
        except (OSError, ValueError):
            missing.add(path)
    return total, sorted(missing)


def damage_of(folder: Path, written: object) -> str:
    """Return in words what is not as it was written, so many bytes then; empty where all is."""
    if not folder.is_dir():
        return f"{folder} is missing"
    found, missing = dataset_bytes(folder)
    if missing:
        more = ", ..." if len(missing) > NAMED else ""
        return f"{len(missing)} files of the dataset are missing: {', '.join(missing[:NAMED])}{more}"
    return "" if found == written else f"the dataset's files have {found} bytes, {written} were written"
