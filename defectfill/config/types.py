"""Types of values that several blocks of the config have."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from defectfill.io.names import check_folder_name
from defectfill.io.s3 import check_location

Fraction = Annotated[float, Field(gt=0, le=1)]


Solver = Literal["ddim", "dpm", "unipc"]


FolderName = Annotated[str, AfterValidator(check_folder_name)]
"""A category or defect: it is the name of folders."""


def _as_root(root: Any) -> Any:
    return str(root) if isinstance(root, Path) else root


Root = Annotated[str, Field(min_length=1), BeforeValidator(_as_root), AfterValidator(check_location)]
"""A folder, or s3://bucket/prefix of S3-compatible storage (extra `s3`), of which a copy is kept here."""
