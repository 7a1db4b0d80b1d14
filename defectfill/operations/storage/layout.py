"""The layout of a category on shared storage, and the files that say that others are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defectfill.adapters.files import TRAINING_FILE
from defectfill.config.run import RunConfig
from defectfill.io.locks import locked_file
from defectfill.io.s3 import Remote, is_remote
from defectfill.runs.run import FINISHED_FILE, Run
from defectfill.runs.timings import TIMINGS_FILE
from defectfill.synthesis.reuse import BATCH_FILE, DIGEST_FILE

DATA_FOLDERS = ("train", "test", "ground_truth")
"""Of a category; beside them may be GROUPS_FILE."""
INGESTED = ("run.json", "snapshot.parquet")
RECORD_FILES = (*INGESTED, TIMINGS_FILE, BATCH_FILE)
"""Small files in the folder of a run."""
PROOFS = {TRAINING_FILE, DIGEST_FILE, FINISHED_FILE}
"""Files that say that their folder is whole."""
CARD_FILE = "README.md"
"""Beside the tables of a dataset."""


def remote_category(config: RunConfig) -> Remote | None:
    """Return the URL of the category's output on shared storage; None where that is a local folder."""
    return Remote(config.output.root) / config.category if is_remote(config.output.root) else None


def remote_run(run: Run) -> Remote | None:
    """Return the URL of the run's folder on shared storage; None where that is a local one."""
    output = remote_category(run.config)
    return output and output / "runs" / run.record.key


def files_in(folder: Path) -> list[str]:
    """Return the relative path of every file below a local folder but hidden ones, sorted."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from fetching into a folder at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked_file(folder / ".fetch", wait=True):
        yield
