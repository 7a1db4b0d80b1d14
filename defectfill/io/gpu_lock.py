"""One process at a time on a GPU: a lock of the operating system, which goes with the process that holds it."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gpu_lock(device: str, index: int = 0) -> Iterator[None]:
    """Hold this machine's lock of the GPU that is number `index` of those this process sees, once it is free.

    device: as in run.json; without `cuda` in it there is nothing to lock.
    """
    if not device.startswith("cuda"):
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = visible.split(",")[index].strip() if visible else str(index)
    file = _open(Path(tempfile.gettempdir()) / f"defectfill-gpu-{name}.lock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    """Open the file, made if missing; for reading, which suffices for a lock and is allowed with others' files."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
