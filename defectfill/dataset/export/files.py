"""Files of a dataset in an export: linked where the file system can, copied or written anew where not."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defectfill.io.errors import DataError
from defectfill.io.images import bits_of, file_sha256, read_image, read_mask, write_png
from defectfill.io.white_level import eight_bits, stretched
from defectfill.records.manifest import ManifestRow

Way = Literal["linked", "copied", "converted"]

RENAMED = {".jfif": ".jpg"}
"""Endings that consumers pass over, and what they are called for them."""


class Files:
    """Files on their way from a dataset into the folder of an export.

    link: whether hard links are tried. converted: endings that the consumer cannot show, written as PNG for it.
    """

    def __init__(self, dataset: Path, folder: Path, *, link: bool, converted: Sequence[str] = ()) -> None:
        self.dataset, self.folder, self.link, self.converted = dataset, folder, link, converted
        self.ways: Counter[Way] = Counter()
        """How many images came which way."""
        self._parents: set[Path] = set()

    def place_image(self, row: ManifestRow, target: str) -> str:
        """Bring a row's image to `target`, a path below the folder without its ending, and return it with its ending.

        Images of 16 bits, which consumers clip or darken, are written as PNG of 8 with white at 255.
        """
        source = self._checked(row.image_path, row.image_sha256)
        suffix = source.suffix.lower()
        if row.white_level != 255 or bits_of(source) > 8 or suffix in self.converted:
            path = f"{target}.png"
            write_png(self.folder / path, eight_bits(stretched(read_image(source), row.white_level)))
            self.ways["converted"] += 1
        else:
            path = f"{target}{RENAMED.get(suffix, suffix)}"
            self.ways[self._place(source, self.folder / path)] += 1
        return path

    def place_mask(self, row: ManifestRow, target: str) -> None:
        """Bring the mask of an anomalous row, 0 and 255, to a path below the folder."""
        self._place(self._checked(row.mask_path, row.mask_sha256), self.folder / target)

    def mask(self, row: ManifestRow) -> NDArray[np.bool_]:
        """Return a row's mask [H, W]; that of a normal is empty."""
        if not row.mask_path:
            return np.zeros((row.height, row.width), dtype=bool)
        return read_mask(self._checked(row.mask_path, row.mask_sha256))

    def _checked(self, path: str, sha256: str) -> Path:
        """Return a file of the dataset; DataError where it is missing or another than its row says."""
        source = self.dataset / path
        if file_sha256(source) != sha256:
            raise DataError(
                f"{source}: expected the file of its row, found another; `defectfill verify` names them all"
            )
        return source

    def _place(self, source: Path, target: Path) -> Way:
        if target.parent not in self._parents:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._parents.add(target.parent)
        if self.link and not _may_be_repaired(source):
            try:
                os.link(source, target)
                return "linked"
            except OSError:  # another file system, one without links, or too many of them: copying tells what is wrong
                pass
        shutil.copyfile(source, target)
        return "copied"


def _may_be_repaired(source: Path) -> bool:
    """Return whether a JPEG lacks its end: ultralytics writes such files anew, and with a link the dataset's own."""
    if source.suffix.lower() not in (".jpg", ".jpeg", ".jfif"):
        return False
    with source.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() != b"\xff\xd9"
