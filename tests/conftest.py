"""What several test modules share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defectfill.config import BaseConfig

if TYPE_CHECKING:
    from defectfill.model.base import Base


@pytest.fixture
def real_data() -> Path:
    """The folder of real categories that DEFECTFILL_REAL_DATA names; the test is skipped without it."""
    folder = os.environ.get("DEFECTFILL_REAL_DATA")
    if not folder:
        pytest.skip("DEFECTFILL_REAL_DATA names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small base with random weights, in the diffusers folder format."""
    from defectfill.model.small import write_random_base

    return write_random_base(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def base(base_folder: Path) -> "Base":
    """The small base, loaded anew, so that a test may put adapters into it."""
    from defectfill.model.base import load_base

    return load_base(BaseConfig(model=str(base_folder), resolution=64, device="cpu"))
