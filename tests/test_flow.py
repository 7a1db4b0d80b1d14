"""The flow through Prefect itself: its temporary server, and a server with a schedule."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import contents

from defectfill.cli import QUIET
from defectfill.run import Run

pytestmark = pytest.mark.server


def environment(home: Path, **more: str) -> dict[str, str]:
    """The process's environment with a Prefect home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, **QUIET, "PREFECT_HOME": str(home), **more}


def test_the_run_command_makes_the_dataset_through_prefect(finished: Run, toy_config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "defectfill.cli", "run", str(toy_config)]
    done = subprocess.run(command, env=environment(tmp_path / "home"), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    dataset = Path(done.stdout.splitlines()[-1])
    assert contents(dataset) == contents(finished.dataset)
    assert "inpaint scratch: 100%" in done.stderr
    begin = time.monotonic()
    again = subprocess.run(command, env=environment(tmp_path / "none"), capture_output=True, text=True, timeout=60)
    assert again.stdout.strip() == str(dataset)
    assert time.monotonic() - begin < 10
    assert not (tmp_path / "none").exists(), "Prefect was started for nothing"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server with its services; the environment that reaches it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(tmp_path / "home", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield env
    finally:
        process.terminate()
        process.wait(timeout=30)


SCHEDULED = """
import sys, time
from pathlib import Path
import httpx, os
from prefect import get_client
from flows.category import synthesize_category

def wait_for(question, seconds=90):
    for _ in range(2 * seconds):
        try:
            if answer := question():
                return answer
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    sys.exit("nothing within the time")

wait_for(lambda: httpx.get(os.environ["PREFECT_API_URL"] + "/health").is_success)
synthesize_category.to_deployment("toy", cron="0 2 * * 1", parameters={"config_path": sys.argv[1]}).apply()
with get_client(sync_client=True) as client:
    runs = wait_for(lambda: [run for run in client.read_flow_runs() if run.state_name == "Scheduled"])
print(runs[0].parameters["config_path"])
"""


def test_a_scheduled_deployment_gets_a_scheduled_run(server: dict[str, str], toy_config: Path) -> None:
    command = [sys.executable, "-c", SCHEDULED, str(toy_config)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(toy_config))
