"""The leakage certificate: what of the test split reached anything that a dataset was made from."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Kind = Literal["normal", "reference", "reference_mask", "folder_mask", "planned_mask"]
WORDS: dict[Kind, str] = {
    "normal": "normals that are photographs of the test split",
    "reference": "references that are photographs of the test split",
    "reference_mask": "masks of references that are held-out masks",
    "folder_mask": "masks of masks.folder that are held-out masks",
    "planned_mask": "held-out masks that samples were painted with",
}
METADATA_KEY = b"defectfill.leakage"
"""In the file metadata of manifest.parquet: the certificate as JSON."""


class Leak(BaseModel):
    """One file of the train side that is one of the test split. Paths are relative to the category's folder."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    """As what it is used."""
    path: str
    """Of a mask of the user's own `masks.folder/<name>`; of a planned mask the held-out mask that it is."""
    held_out: str
    """The file of the test split."""
    likeness: float
    """1 for the same file or mask; else the correlation of the aligned photographs, or the intersection of the masks
    over their union."""
    samples: int = 0
    """Synthetic images of the dataset that were made from it."""


class Certificate(BaseModel):
    """What was compared when a dataset was written, and what was found."""

    model_config = ConfigDict(frozen=True)

    normals: int
    references: int
    """Each with its mask."""
    folder_masks: int
    synthetic: int
    """Synthetic images; of each its source, its planned mask and what its defect was learnt from."""
    held_out: int
    """Each with its mask."""
    test_normals: int
    leaks: tuple[Leak, ...]
    samples: int
    """Synthetic images that were made from any of what leaks."""

    @property
    def is_leaky(self) -> bool:
        return bool(self.leaks)

    @property
    def verdict(self) -> str:
        """The finding in one sentence."""
        if not self.leaks:
            return "no leak: nothing of the test split was found in what the synthetic images were made from"
        counts = {kind: sum(leak.kind == kind for leak in self.leaks) for kind in get_args(Kind)}
        found = ", ".join(f"{count} {WORDS[kind]}" for kind, count in counts.items() if count)
        return f"leaky: {found}; {self.samples} of {self.synthetic} synthetic images were made from them"


def read_certificate(manifest: Path) -> Certificate | None:
    """Return the certificate in the file metadata of a manifest.parquet; None where there is none."""
    import pyarrow.parquet as pq

    written = (pq.read_schema(manifest).metadata or {}).get(METADATA_KEY)
    return Certificate.model_validate_json(written) if written else None
