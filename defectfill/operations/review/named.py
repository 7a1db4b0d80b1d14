"""The run that a person names."""

from pathlib import Path

from defectfill.config.run import load_config
from defectfill.io.errors import DataError
from defectfill.io.s3 import is_remote, local_folder
from defectfill.operations.prepare import latest_run
from defectfill.operations.storage.fetch import fetch_latest, open_run
from defectfill.runs.run import Run


def named_run(name: str) -> Run:
    """Return the run in a folder or at a URL, or of the dataset there, or a config's newest finished one.

    Raises DataError where there is none that this version made.
    """
    location = name.rstrip("/").removesuffix("/dataset")
    if is_remote(location):
        return open_run(location)
    folder = Path(local_folder(location))
    if folder.is_dir():
        run = Run.open_if_current(folder)
    else:
        config = load_config(Path(name))
        fetch_latest(config)
        run = latest_run(config)
    if run is None:
        raise DataError(f"{name}: expected a finished run that this version of defectfill made, found none")
    return run
