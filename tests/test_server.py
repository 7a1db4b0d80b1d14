"""The Prefect server of a run: what cannot be reached or started is said, and the temporary one ends with its run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import httpx
import psutil
import pytest
from conftest import environment
from prefect.settings import PREFECT_HOME, temporary_settings

from defectfill.api import run_category
from defectfill.config.run import load_config
from defectfill.exit_codes import exit_codes
from defectfill.io.errors import ConfigError
from defectfill.operations.environment import check_connections, set_environment
from flows.server import check_home, check_server

START = "from flows.server import temporary_server; print(temporary_server().url(), flush=True); input()"

WORK = """
import faulthandler, time
faulthandler.enable()
from defectfill.exit_codes import exit_codes
from flows.server import prefect_server
from prefect import flow

@flow
def work():
    print("working", flush=True)
    for _ in range(6000):
        time.sleep(0.1)  # a signal that comes just before a sleep is heard of when that ends

with exit_codes(), prefect_server():
    work()
"""


def test_no_proxy_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "factory.example")
    monkeypatch.delenv("no_proxy", raising=False)
    set_environment()
    set_environment()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "factory.example,127.0.0.1,localhost,::1"
    assert getproxies()["http"] == "http://127.0.0.1:9"
    spared = [proxy_bypass(host) for host in ("127.0.0.1", "localhost", "factory.example", "example.org")]
    assert list(map(bool, spared)) == [True, True, True, False]


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "sock://127.0.0.1:9"), ("SSL_CERT_FILE", "/nowhere.pem")])
def test_proxies_and_certificates_that_cannot_be_used_are_named(
    toy_config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        check_connections()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        run_category(load_config(toy_config))


def test_a_home_that_cannot_be_written_to_is_named() -> None:
    with temporary_settings({PREFECT_HOME: Path("/dev/null/home")}), pytest.raises(ConfigError) as caught:
        check_home()
    assert str(caught.value).startswith("PREFECT_HOME: /dev/null/home cannot be written to: Not a directory")


class _Page(BaseHTTPRequestHandler):
    """A page, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html></html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """Serve pages, and give their address."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_no_prefect_server_is_told_from_one(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ConfigError) as caught:
        check_server(f"{page}/")
    assert str(caught.value).startswith("PREFECT_API_URL (from Prefect's profile, .env or prefect.toml;")
    assert f"no Prefect server answers at {page}/: " in str(caught.value)
    assert str(caught.value).endswith("; its address ends in /api")
    monkeypatch.setenv("PREFECT_API_URL", f"{page}/api")
    with pytest.raises(ConfigError) as caught:
        check_server(f"{page.replace('//', '//user:secret@')}/api")
    assert str(caught.value).startswith(f"PREFECT_API_URL: no Prefect server answers at {page}/api: ")
    monkeypatch.setenv("http_proxy", page)
    with pytest.raises(ConfigError, match=f"asked through the proxy {page}, NO_PROXY=prefect.invalid would"):
        check_server("http://prefect.invalid:4200/api")


def test_settings_that_prefect_cannot_use_are_told_in_a_line(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", PREFECT_API_REQUEST_TIMEOUT="soon")
    command = [sys.executable, "-m", "defectfill.cli", "deploy", "toy.yaml"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    *_, said = done.stderr.splitlines()
    assert said.startswith("Prefect's settings (PREFECT_... in the environment, profiles.toml, .env or prefect.toml)")
    assert "unable to parse string as a number" in said
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [KeyboardInterrupt(), SystemExit(130)], ids=["by us", "by typer"])
def test_an_interrupt_says_how_to_go_on(how: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise how
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted; what is finished is kept: run again to go on\n"


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.HTTPError:
        return False


def ended(process: "subprocess.Popen[str]", seconds: float) -> int:
    """Return how a process ended; of one that does not, tell where its threads are, if it has faulthandler do so."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(process.communicate()[1])


@pytest.mark.server
def test_the_temporary_server_outlives_an_interrupt_but_not_its_run_and_tells_why_it_cannot_start(
    tmp_path: Path,
) -> None:
    def start(script: str) -> "subprocess.Popen[str]":
        command, pipe = [sys.executable, "-c", script], subprocess.PIPE
        return subprocess.Popen(
            command,
            env=environment(tmp_path),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background has it ignored
        )

    with start(WORK) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "working\n"
        started = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its foreground
        assert ended(process, 60) == 130
        assert process.stderr.read().splitlines() == [
            "starting Prefect's temporary server ...",
            "interrupted; what is finished is kept: run again to go on",
        ]
    assert started
    assert psutil.wait_procs(started, timeout=10)[1] == []

    with start(START) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert answers(url)
        process.kill()
        wait_until(lambda: not answers(url), 20)

    for path in tmp_path.glob("prefect.db*"):
        path.write_bytes(b"damaged")
    with start(START) as process:
        assert process.wait(200) == 1
        assert process.stderr is not None
        *_, said = process.stderr.read().splitlines()
    assert "Prefect's temporary server cannot start: sqlalchemy.exc.DatabaseError: " in said
    assert "file is not a database" in said
    assert f"remove {tmp_path}/prefect.db" in said
