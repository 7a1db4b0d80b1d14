"""Which rows of a dataset are exported, how often, and under which names."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from defectfill.io.errors import ConfigError, DataError
from defectfill.io.names import safe_name
from defectfill.records.manifest import ManifestRow, Split
from defectfill.records.reading import manifest_rows

Group = tuple[str, str, str]
"""Defect, split and origin of rows."""


@dataclass(frozen=True)
class Selection:
    """Rows of a dataset that are exported."""

    dataset: Path
    split: Split | None
    category: str
    classes: tuple[str, ...]
    """Defects of the whole dataset, sorted, so that exports of both splits number them alike."""
    rows: Counter[Group]
    """How many rows the groups of the split have."""
    images: Counter[Group]
    """How many images are exported of them."""


@dataclass(frozen=True)
class Item:
    """One image to export."""

    row: ManifestRow
    name: str
    """Of its files, without an ending: letters, digits, `_`, `-` and `.`, unique in the export."""

    @property
    def folder(self) -> str:
        """A name for the folder of its defect."""
        return safe_name(self.row.defect)


def select(dataset: Path, split: Split | None, real_share: float | None) -> Selection:
    """Return what is exported of a dataset: one split or both, real references repeated to their share.

    real_share: of the images of every defect to learn from, in [0, 1]; 0 and 1 leave the real or the synthetic ones
    out. A defect of one origin alone stays as it is.

    Raises DataError where the dataset is damaged or has no such rows, ConfigError for a share out of range.
    """
    if real_share is not None and not 0 <= real_share <= 1:
        raise ConfigError(f"--real-share: expected a share between 0 and 1, found {real_share}")
    everything: Counter[Group] = Counter()
    category = ""
    for row in manifest_rows(dataset):
        everything[row.defect, row.split, row.origin] += 1
        category = row.category
    rows = Counter({group: count for group, count in everything.items() if split in (None, group[1])})
    if not rows:
        raise DataError(f"{dataset}: expected images{f' of the split {split}' if split else ''}, found none")
    classes = tuple(sorted({defect for defect, _, _ in everything} - {"good"}))
    _refuse_clashes(["good", *classes])
    images = rows if real_share is None else _with_share(rows, real_share)
    return Selection(dataset, split, category, classes, rows, images)


def _refuse_clashes(defects: list[str]) -> None:
    """Raise DataError where two defects would have one folder on file systems that do not tell case apart."""
    by_folder: dict[str, str] = {}
    for defect in defects:
        other = by_folder.setdefault(safe_name(defect).casefold(), defect)
        if other != defect:
            raise DataError(f"defects {other!r} and {defect!r}: expected names that differ in more than case")


def _with_share(rows: Counter[Group], real_share: float) -> Counter[Group]:
    """Return how many images of every group there are, when those of the scarcer origin are repeated to their share."""
    images = Counter(rows)
    for defect in {defect for defect, _, _ in rows} - {"good"}:
        real, synthetic = (defect, "train", "real"), (defect, "train", "synthetic")
        if rows[real] and rows[synthetic]:
            images[real] = _repeated(rows[real], rows[synthetic], real_share)
            images[synthetic] = _repeated(rows[synthetic], rows[real], 1 - real_share)
    return images


def _repeated(count: int, others: int, share: float) -> int:
    """Return how many images of `count` are a share of all, with the others as they are; never fewer, unless 0."""
    return 0 if share == 0 else count if share == 1 else max(count, round(share / (1 - share) * others))


def items(selection: Selection) -> Iterator[Item]:
    """Yield the images to export, in the order of the manifest, repeated ones right behind each other.

    Raises DataError where two have one name.
    """
    seen: Counter[Group] = Counter()
    names: set[str] = set()
    for row in manifest_rows(selection.dataset, selection.split):
        group = (row.defect, row.split, row.origin)
        each, more = divmod(selection.images[group], selection.rows[group])
        times = each + (seen[group] < more)
        seen[group] += 1
        for number in range(times):
            name = safe_name(row.sample_id) + (f"_x{number + 1}" if number else "")
            if name.casefold() in names:
                raise DataError(f"row {row.sample_id}: expected a name of its own for {name}, found another of it")
            names.add(name.casefold())
            yield Item(row, name)
