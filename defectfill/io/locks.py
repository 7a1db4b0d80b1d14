"""Locks of the operating system on files, which go with their process; also where a file system has none."""

import errno
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from defectfill.io.errors import ConfigError
from defectfill.io.hashing import digest

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What network and FUSE file systems say that cannot lock."""


@contextmanager
def locked_file(path: Path, *, wait: bool) -> Iterator[IO[str]]:
    """Hold the lock of a file, which is made if missing, and give it, open to read and to append.

    On a file system without locks one in this machine's folder for temporary files stands in for it, with a warning:
    it keeps out processes of this machine only. Raises BlockingIOError where another process holds the lock and it is
    not to be waited for, ConfigError where nothing can be locked.
    """
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a+"))
        try:
            fcntl.flock(file, how)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("%s: no locks there (%s): only runs of this machine are kept apart", path, error.strerror)
            stand_in = open_to_lock(_stand_in(path))
            stack.callback(os.close, stand_in)
            _lock_stand_in(stand_in, how, path)
        yield file


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock of a file, by locked_file; nothing is written.

    A shared lock tells, for which reading suffices, also on NFS and on a file system that is mounted read-only.
    """
    for each in (path, _stand_in(path)):
        if not each.exists():
            continue
        file = os.open(each, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        finally:
            os.close(file)
    return False


def _stand_in(path: Path) -> Path:
    return Path(tempfile.gettempdir()) / f"defectfill-{digest(str(path.resolve()))[:16]}.lock"


def _lock_stand_in(file: int, how: int, path: Path) -> None:
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        places = f"neither {path.parent} nor {tempfile.gettempdir()}"
        raise ConfigError(f"{places} knows locks; name a folder of a local disk by TMPDIR=...") from error


def open_to_lock(path: Path) -> int:
    """Open a file, made if missing; for reading, which suffices for a lock and is allowed with others' files."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
