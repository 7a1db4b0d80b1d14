"""The Prefect server that a run talks to: the one that Prefect's settings name, or else a temporary one of its own.

`python -m flows.server` is the temporary one. It ends with its starter, also when that is killed: it waits for the end
of its standard input, a pipe that only the starter holds. An interrupt from the keyboard does not reach it, so the
run can still tell it how it ended.
"""

import atexit
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO
from urllib.request import getproxies, proxy_bypass

import httpx
from prefect import get_client
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from defectfill.io.errors import ConfigError, DefectFillError

ROOT = str(Path(__file__).resolve().parents[1])
ANSWER_S = 10
"""A server that has not answered by then is taken for dead."""
POLL_S = 0.1
STOP_S = 5
SLOW_TALKERS = ("EventsWorker", "APILogWorker")
"""What Prefect sends events and logs by; at the end it would warn of each second that a busy machine takes for it."""
_RACE = re.compile("already exists|database is locked")
"""What a server says while another one makes the same new database."""
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|CommandError): .+")


@contextmanager
def prefect_server() -> Iterator[None]:
    """Have Prefect talk to the server that its settings name or, where they name none, to a temporary one.

    Raises ConfigError where the named one does not answer, or where nothing can be reached or started for a reason
    that lies in the environment: a home that cannot be written to, a damaged database, a proxy.
    """
    if url := named_server():
        check_server(url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
        return
    print("starting Prefect's temporary server ...", file=sys.stderr)
    for name in SLOW_TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    url = temporary_server().url()
    outside = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url  # for the processes that the run starts
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        del os.environ["PREFECT_API_URL"]
        os.environ.update({} if outside is None else {"PREFECT_API_URL": outside})


def named_server() -> str | None:
    """Return the URL of the server that is named by the environment, a profile, `.env` or prefect.toml; None without.

    The settings of this process are decided when Prefect is imported; what the environment names now comes first.
    """
    return os.environ.get("PREFECT_API_URL") or PREFECT_API_URL.value() or None


def check_server(url: str) -> None:
    """Raise ConfigError unless a Prefect server with which this Prefect can talk answers at a URL, within seconds."""
    patience = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_S, PREFECT_API_URL: url}
    try:
        with temporary_settings(patience), get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()  # which asks no version of Prefect Cloud
            if problem := client.api_healthcheck():
                raise problem
    except Exception as error:  # anything, from refused connections over timeouts to pages that are no JSON
        cause = " ".join(str(error.__cause__ or error).split())[:300] or type(error.__cause__ or error).__name__
        shown = re.sub(r"//[^/@]*@", "//", url)
        raise ConfigError(
            f"{_named_by()}: no Prefect server answers at {shown}: {cause}{_address_hint(url)}{_proxy_hint(url)}"
        ) from error


def _named_by() -> str:
    if os.environ.get("PREFECT_API_URL"):
        return "PREFECT_API_URL"
    return "PREFECT_API_URL (from Prefect's profile, .env or prefect.toml; `prefect config view` says which)"


def _address_hint(url: str) -> str:
    return "" if url.rstrip("/").endswith("/api") or "/api/" in url else "; its address ends in /api"


def _proxy_hint(url: str) -> str:
    """Return through which proxy a URL is asked, if through one."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return ""
    proxies = getproxies()
    proxy = proxies.get(parsed.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parsed.host):
        return ""
    return f"; it was asked through the proxy {proxy}, NO_PROXY={parsed.host} would go there directly"


@lru_cache(maxsize=1)
def temporary_server() -> "TemporaryServer":
    """Return this process's temporary server, which is stopped when the process ends."""
    server = TemporaryServer()
    atexit.register(server.stop)
    return server


class TemporaryServer:
    """A Prefect server on this machine, started when it is asked for and kept for the next one who asks."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def url(self) -> str:
        """Return the address of its API, once it answers.

        Raises ConfigError where it cannot be started, with the cause; DefectFillError where it takes too long.
        """
        if self._process is None or self._process.poll() is not None:
            check_home()
            try:
                self._start()
            except ConfigError as error:
                if not _RACE.search(str(error)):
                    raise
                time.sleep(1)
                self._start()
        return self._url

    def _start(self) -> None:
        with tempfile.TemporaryFile("w+") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flows.server"],  # -P: not another `flows` of the working directory
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
            assert self._process.stdout is not None
            try:
                port = self._process.stdout.readline().strip()
                if not port:  # it is ending
                    self._process.wait(STOP_S)
                self._url = f"http://127.0.0.1:{port}/api"
                _wait_for(self._process, self._url, said)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process is None:
            return
        with self._process as process:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._process = None


def check_home() -> None:
    """Raise ConfigError where Prefect's home, in which its database lies, cannot be written to."""
    home = PREFECT_HOME.value()
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigError(
            f"PREFECT_HOME: {home} cannot be written to: {error.strerror}; name another folder, PREFECT_HOME=..."
        ) from error


def _wait_for(process: "subprocess.Popen[str]", url: str, said: IO[str]) -> None:
    """Return once the server answers."""
    patience = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    end = time.monotonic() + patience
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < end:
            if process.poll() is not None:
                said.seek(0)
                raise ConfigError(f"Prefect's temporary server cannot start: {_cause(said.read())}; {_remedy()}")
            try:
                if client.get(f"{url}/health").is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(POLL_S)
    raise DefectFillError(
        f"Prefect's temporary server did not answer within {patience} s; run again, or allow it longer: "
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=..."
    )


def _remedy() -> str:
    named = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if named and "prefect.db" not in str(named):
        return "its database is named by PREFECT_SERVER_DATABASE_CONNECTION_URL"
    return (
        "if its database is damaged or of a newer Prefect, name another folder, PREFECT_HOME=..., or remove "
        f"{PREFECT_HOME.value()}/prefect.db (it holds Prefect's history only)"
    )


def _cause(said: str) -> str:
    """Return the error, in a line, in what a server said before it ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["it says nothing"])[-1][:300]


def _serve() -> None:
    """Serve the API on a free port of this machine, which is printed, until the starter is gone."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_end_with_starter, daemon=True).start()
        import uvicorn
        from prefect.server.api.server import create_app

        app = create_app(ephemeral=True, final=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])


def _end_with_starter() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _serve()
