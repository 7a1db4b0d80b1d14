"""The mark of a dataset that others were told of: a run that dies before it tells leaves that to the next one."""

from defectfill.io.files import write_bytes
from defectfill.io.images import file_sha256
from defectfill.operations.storage.layout import remote_run
from defectfill.runs.run import ANNOUNCED_FILE, Run


def fingerprint(run: Run) -> str:
    """Return the hash of a finished dataset's manifest, which tells whether it has been seen."""
    return file_sha256(run.dataset / "manifest.parquet")


def is_announced(run: Run) -> bool:
    """Return whether others were told of a finished dataset as it is."""
    mark = run.folder / ANNOUNCED_FILE
    return mark.is_file() and mark.read_bytes() == fingerprint(run).encode()


def mark_announced(run: Run, told: str) -> None:
    """Write down, also on storage, that others were told of the dataset with this fingerprint."""
    write_bytes(run.folder / ANNOUNCED_FILE, told.encode())
    if remote := remote_run(run):
        remote.upload([ANNOUNCED_FILE], run.folder)
