"""One process at a time on a GPU: a lock of the operating system, which goes with the process that holds it."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defectfill.io.locks import NO_LOCKS, open_to_lock

log = logging.getLogger(__name__)


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
    path = Path(tempfile.gettempdir()) / f"defectfill-gpu-{name}.lock"
    file = open_to_lock(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s: no locks there (%s): processes on one GPU are not kept apart", path, error.strerror)
    try:
        yield
    finally:
        os.close(file)
