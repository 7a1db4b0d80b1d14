"""The blocks `data` and `output`: where real images are, which are learnt from, where results go."""

import unicodedata
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection
from defectfill.config.types import FolderName, Fraction, Root


class References(ConfigSection):
    """The number of real defects per defect type that are learnt from; the rest is held out."""

    fraction: Fraction | None = None
    """Share of the pairs, rounded up. Without the section `references` it is the paper's third."""
    count: int | None = Field(default=None, ge=1)
    """Or a number of pairs."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self


class DataConfig(ConfigSection):
    """The real images, in MVTec AD's layout, and which of them are learnt from."""

    root: Annotated[Root, Affects.RESOLVED]
    """Folder or URL that holds the folder of the category."""
    defects: Annotated[tuple[FolderName, ...], Affects.SNAPSHOT | Affects.PLAN]
    """Folders below `test/` to synthesize."""
    references: Annotated[References, Affects.SNAPSHOT] = References(fraction=1 / 3)
    white_level: Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=65535)], Affects.RESOLVED] = "auto"
    """The value of white in images of 16 bits. auto: by the largest value of normals and references, rounded up to 10,
    12, 14 or 16 bits, so that cameras of fewer bits than their files are not taken for dark."""
    group_column: Annotated[str | None, Affects.SNAPSHOT] = None
    """Column of `groups.csv` that names the physical part; needed only where that is not plain."""

    @field_validator("defects")
    @classmethod
    def _distinct(cls, defects: tuple[str, ...]) -> tuple[str, ...]:
        if not defects:
            raise ValueError("names no defect")
        if len({unicodedata.normalize("NFC", defect) for defect in defects}) < len(defects):
            raise ValueError("a defect is named twice")
        if "good" in defects:
            raise ValueError("'good' is the folder of normal images, not a defect")
        return defects


class OutputConfig(ConfigSection):
    """The destination of the results."""

    root: Annotated[Root, Affects.NOTHING]
    """Folder or URL, in which the category gets a folder of its own."""
