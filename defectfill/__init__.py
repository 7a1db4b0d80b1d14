"""Datasets for inspection models, synthesized from a handful of defect photographs.

    import defectfill

    config = defectfill.load_config("washer.yaml")
    dataset = defectfill.open_dataset(defectfill.run_category(config))
    dataset.manifest  # a row per image, as a pandas DataFrame

Nothing heavy is loaded before a function needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defectfill.api import export_dataset as export_dataset
    from defectfill.api import open_dataset as open_dataset
    from defectfill.api import run_category as run_category
    from defectfill.api import verify_dataset as verify_dataset
    from defectfill.config.run import load_config as load_config

__version__ = "0.1.0"
__all__ = ["__version__", "export_dataset", "load_config", "open_dataset", "run_category", "verify_dataset"]

_HOMES = {
    "export_dataset": "defectfill.api",
    "load_config": "defectfill.config.run",
    "open_dataset": "defectfill.api",
    "run_category": "defectfill.api",
    "verify_dataset": "defectfill.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
