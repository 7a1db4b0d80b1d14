"""The lock of a category's output: one run of a category at a time."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import uuid4

from defectfill.config.run import RunConfig
from defectfill.io.errors import ConfigError, StorageError
from defectfill.io.files import remove_partials
from defectfill.io.locks import is_locked, locked_file
from defectfill.io.s3 import Remote, is_remote, local_folder
from defectfill.operations.file_system import check_file_system
from defectfill.operations.storage.layout import remote_category

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
LEASE_S = 60
"""A lock on storage that was not renewed for so long is taken over."""
RENEWED_EVERY_S = 15
POLL_EVERY_S = 5

StillHeld = Callable[[], None]
"""Raises StorageError where a lock on storage was lost."""


@contextmanager
def locked(config: RunConfig) -> Iterator[StillHeld]:
    """Keep other runs out of the category's output; what killed ones left unfinished is removed.

    Raises ConfigError while another run works there, where another user's did, or for names that cannot be there. On
    this machine the lock goes with the process that holds it; on storage it runs out a minute after its holder, for
    others than those of this machine.
    """
    folder = config.category_output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"output.root: {folder} is not a folder that can be written to") from error
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked_file(folder / LOCK_FILE, wait=False))
        except BlockingIOError as error:
            raise ConfigError(f"output.root: another run is working in {folder}") from error
        except PermissionError as error:
            raise ConfigError(
                f"output.root: {folder / LOCK_FILE} is another user's; share a group and write with umask 002, or name "
                "an output of your own"
            ) from error
        remove_partials(folder)
        check_file_system(folder, config.data.defects)
        lock.seek(0)
        dead, owner = lock.read(), uuid4().hex
        lock.truncate(0)
        lock.write(owner)
        lock.flush()
        output = remote_category(config)
        yield stack.enter_context(_leased(output, owner, dead)) if output else lambda: None


def output_of(config: RunConfig) -> str:
    """Return the folder or URL of a category's output."""
    return f"{config.output.root}/{config.category}"


def is_held(output: str) -> bool:
    """Return whether a run works in a category's output now. On storage one that died counts until it is taken over.

    Nothing is written.
    """
    if is_remote(output) and Remote(output).etag(LOCK_FILE) is not None:
        return True
    try:
        return is_locked(local_folder(output) / LOCK_FILE)
    except PermissionError:  # another user's may be held
        return True


@contextmanager
def _leased(remote: Remote, owner: str, dead: str) -> Iterator[StillHeld]:
    """Hold a lock on storage, renewed by a thread; dead: the owner that died on this machine, if one did."""
    lease = _Lease(remote, owner)
    lease.take(dead)
    ended = threading.Event()
    thread = threading.Thread(target=lease.renew_until, args=(ended,), daemon=True)
    thread.start()
    try:
        yield lease.check
    finally:
        ended.set()
        thread.join()
        lease.release()


class _Lease:
    """A file on storage that only its owner replaces, again and again; one that stays as it is has no owner left."""

    def __init__(self, remote: Remote, owner: str) -> None:
        self.remote, self.owner, self.turn = remote, owner, 0
        self.etag: str | None = None
        self.renewed = 0.0

    def take(self, dead: str) -> None:
        """Wait until it is plain whether the owner lives: ConfigError then, else the lock is ours."""
        first, since = self.remote.etag(LOCK_FILE), time.monotonic()
        while True:
            found = self.remote.etag(LOCK_FILE)
            left = bool(dead) and self._owner() == dead
            if found is None or left or time.monotonic() - since > LEASE_S:
                if self._write(found):
                    return
                first = None
            if found != first:
                raise ConfigError(
                    f"output.root: another run is working in {self.remote.url}, since it renews {LOCK_FILE}"
                )
            time.sleep(POLL_EVERY_S)

    def _owner(self) -> str:
        return (self.remote.read(LOCK_FILE) or b"").decode().split(" ")[0]

    def _write(self, etag: str | None) -> bool:
        """Return whether the file could be replaced that had this ETag, or written where there was none."""
        self.turn += 1
        content = f"{self.owner} on {socket.gethostname()}, renewed {self.turn - 1} times\n"
        written = self.remote.write_if(LOCK_FILE, content.encode(), etag)
        if written is None and self.etag and self._owner() == self.owner:  # an answer that was lost on the way
            written = self.remote.etag(LOCK_FILE)
        if written is not None:
            self.etag, self.renewed = written, time.monotonic()
        return written is not None

    def renew_until(self, ended: threading.Event) -> None:
        """Renew it until the event, or until it is lost."""
        while not ended.wait(RENEWED_EVERY_S):
            try:
                if not self._write(self.etag):
                    self.renewed = -float("inf")
                    return
            except (StorageError, ConfigError) as error:
                log.warning("the lock in %s could not be renewed: %s", self.remote.url, error)

    def check(self) -> None:
        """Raise StorageError where it is no longer certain that no one else has it."""
        if time.monotonic() - self.renewed > LEASE_S:
            raise StorageError(f"{self.remote.url}: the lock was lost to another run, or could not be renewed")

    def release(self) -> None:
        """Remove it, where it is ours; where storage does not answer it runs out."""
        with suppress(StorageError):
            if self.remote.etag(LOCK_FILE) == self.etag:
                self.remote.remove([LOCK_FILE])
