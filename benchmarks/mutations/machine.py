"""Machines that are not as usual: servers that do not answer, proxies, homes, file systems without links or locks."""

import errno
import fcntl
import os
import shutil
import socket
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.mutations.common import Expected, Sandbox, Trial, loop, put

Within = Callable[[Sandbox], AbstractContextManager[Any]]

ADDRESSES = {
    "no one listens": "http://127.0.0.1:9/api",
    "no one listens, without /api": "http://127.0.0.1:9",
    "no one listens, IPv6": "http://[::1]:9/api",
    "no scheme": "127.0.0.1:4200/api",
    "a word": "prefect",
    "another scheme": "ftp://127.0.0.1/api",
    "a file": "file:///etc/hostname",
    "no host": "http:///api",
    "a port too large": "http://127.0.0.1:99999/api",
    "a port of letters": "http://127.0.0.1:port/api",
    "an unknown host": "http://prefect.invalid:4200/api",
    "with a password": "http://user:secret@127.0.0.1:9/api",
    "a space": "http://127.0.0.1 :9/api",
}
ANSWERS = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
    "an object": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a number": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3",
    "an old version": b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"2.20.1"',
    "nothing found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "not allowed": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "to somewhere else": b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an end": b"",
    "half an answer": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"3',
}
UNUSABLE = {
    "ALL_PROXY": ("sock://127.0.0.1:9", "http://[::1", "http://127.0.0.1:port"),
    "HTTP_PROXY": ("ftp://127.0.0.1:9",),
    "https_proxy": ("127.0.0.1:port",),
    "SSL_CERT_FILE": ("/nowhere.pem", "/etc", "/dev/null"),
}
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


def trials() -> Iterator[Trial]:
    for name, url in ADDRESSES.items():
        yield server(f"an address: {name}", _settings(PREFECT_API_URL=url), "PREFECT_API_URL")
    for name, answer in ANSWERS.items():
        yield server(f"a server that answers with {name}", _answering(answer), "PREFECT_API_URL")
    for variable, values in UNUSABLE.items():
        for value in values:
            yield server(f"{variable}={value}", _environment(variable, value), f"{variable}={value}")
    for name, path in {"below a file": "washer.yaml/home", "a file": "washer.yaml", "a loop": "loop/home"}.items():
        yield server(f"a home: {name}", _home(path), "PREFECT_HOME")
    yield server("a home: too long a name", _home("h" * 300), "PREFECT_HOME")
    for code in NO_LINKS:
        yield stored(f"no hard links ({errno.errorcode[code]})", _failing(os, "link", code))
    for code in NO_LOCKS:
        yield stored(f"no locks ({errno.errorcode[code]})", lambda sandbox, code=code: _no_locks(sandbox, code))
    yield stored("neither links nor locks", _neither)
    yield stored("no fsync", _failing(os, "fsync", errno.EINVAL))
    for form in ("NFC", "NFD"):
        name, rename = f"names in {form}", lambda sandbox, form=form: _named(sandbox, form)
        yield Trial("filesystem", name, "check", rename, "accepted")
    yield Trial("filesystem", "both forms of a name", "check", _both_forms, "refused", ("cher.png",))
    yield stored("a lock that is a folder", _nothing, _lock(lambda path: path.mkdir()), "refused")
    yield stored("a lock that is a loop", _nothing, _lock(loop), "refused")
    yield stored("a lock of another owner's", _nothing, _lock(lambda path: put(path, "0" * 32)))
    yield stored("a lock of other bytes", _nothing, _lock(lambda path: put(path, "x" * 10_000)))


def server(name: str, within: Within, *culprits: str) -> Trial:
    return Trial("server", name, "server", lambda sandbox: None, "refused", culprits, within=within)


def stored(
    name: str, within: Within, mutate: Callable[[Sandbox], Any] | None = None, expected: Expected = "accepted"
) -> Trial:
    """Return a trial of a run that paints everything anew."""
    change = mutate or (lambda sandbox: sandbox.undo("train"))
    return Trial("filesystem", name, "run", change, expected, (".lock",), heals=expected == "accepted", within=within)


def reach() -> None:
    """Do what a run does before it starts its flow."""
    from defectfill.operations.environment import check_connections
    from flows.server import prefect_server

    check_connections()
    with prefect_server():
        pass


@contextmanager
def _nothing(_: Sandbox) -> Iterator[None]:
    yield


def _settings(**settings: Any) -> Within:
    @contextmanager
    def within(_: Sandbox) -> Iterator[None]:
        import prefect.settings

        values = {getattr(prefect.settings, name): value for name, value in settings.items()}
        with prefect.settings.temporary_settings(values):
            yield

    return within


def _home(path: str) -> Within:
    @contextmanager
    def within(sandbox: Sandbox) -> Iterator[None]:
        loop(sandbox.root / "loop")
        with _settings(PREFECT_HOME=sandbox.root / path)(sandbox):
            yield

    return within


def _environment(variable: str, value: str) -> Within:
    return lambda _: patch.dict(os.environ, {variable: value})


def _answering(answer: bytes) -> Within:
    """Return what has a server on this machine that answers everything with these bytes, and then hangs up."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    @contextmanager
    def within(sandbox: Sandbox) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            with _settings(PREFECT_API_URL=url)(sandbox):
                yield
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    return within


def _failing(module: Any, name: str, code: int) -> Within:
    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return lambda _: patch.object(module, name, failing)


def _no_locks(sandbox: Sandbox, code: int) -> AbstractContextManager[Any]:
    """Have files below the sandbox refuse locks; those in the folder for temporary files beside it can be locked."""
    flock = fcntl.flock

    def failing(file: Any, how: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if Path(f"/proc/self/fd/{number}").resolve().is_relative_to(sandbox.root):
            raise OSError(code, os.strerror(code))
        flock(file, how)

    return patch.object(fcntl, "flock", failing)


@contextmanager
def _neither(sandbox: Sandbox) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_no_locks(sandbox, errno.ENOLCK))
        stack.enter_context(_failing(os, "link", errno.EPERM)(sandbox))
        yield


def _named(sandbox: Sandbox, form: str) -> None:
    """Give an image a name in one Unicode form, and its mask the same in the other."""
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    image = min((sandbox.category / "test" / "hole").iterdir())
    mask = min((sandbox.category / "ground_truth" / "hole").iterdir())
    image.rename(image.with_name(unicodedata.normalize(form, "Löcher.png")))
    mask.rename(mask.with_name(unicodedata.normalize(other, "Löcher_mask.png")))


def _both_forms(sandbox: Sandbox) -> None:
    _named(sandbox, "NFC")
    image, twin = (unicodedata.normalize(form, "Löcher.png") for form in ("NFC", "NFD"))
    shutil.copy(sandbox.category / "test" / "hole" / image, sandbox.category / "test" / "hole" / twin)


def _lock(change: Callable[[Path], Any]) -> Callable[[Sandbox], None]:
    def mutate(sandbox: Sandbox) -> None:
        sandbox.undo("paint")
        path = sandbox.output / ".lock"
        path.unlink(missing_ok=True)
        change(path)

    return mutate
