"""What the writer of a format works with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from defectfill.dataset.export.files import Files
from defectfill.dataset.export.selection import Item, Selection, items
from defectfill.io.progress import progress


@dataclass(frozen=True)
class Job:
    """An export under way."""

    selection: Selection
    files: Files
    out: Path
    """Where the folder will be once it is whole."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.selection.classes

    @property
    def splits(self) -> list[str]:
        """The splits that have images."""
        return sorted({split for _, split, _ in self.selection.rows}, key=("train", "test").index)

    def items(self) -> Iterator[Item]:
        """Yield the images to export, in the order of the manifest."""
        return progress(items(self.selection), "export", total=self.selection.images.total())
