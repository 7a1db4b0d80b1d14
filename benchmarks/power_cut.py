"""Does a fleet go on after a power cut? python -m benchmarks.power_cut WORK [--leases memory] [--deploy]

Starts a Prefect server and a worker as docs/operations.md says, deploys two toy categories that share one slot for
the GPU, waits until the first one trains, and kills (SIGKILL) server, worker and run at once. Then all is started
again and both categories are asked for: they are to train again, one after the other, without anyone's help. With
`--leases memory` the server forgets its leases, as Prefect's default does; then only `--deploy`, `defectfill deploy`
every minute after the cut, helps. Takes some six minutes, most of them waiting for leases of 300 s. Prints what
happened when, then one JSON line; the exit status is 1 where a category waits after 10 minutes. WORK is a folder to be
made.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.flow_kills import is_up, make_category
from defectfill.operations.environment import ENVIRONMENT

CATEGORIES = ("first", "second")
POOL = "gpu"
PATIENCE_S = 600
DEPLOYED_EVERY_S = 60
"""A run that has just begun is left alone for two minutes."""
DOCUMENTED = Path(__file__).parents[1] / "docs" / "operations.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--leases", choices=("documented", "memory"), default="documented")
    parser.add_argument("--deploy", action="store_true", help="deploy again after the power cut")
    parser.add_argument("--port", type=int, default=4299)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    configs = write_configs(work)
    env = environment(work, arguments.port, memory=arguments.leases == "memory")
    with services(env, arguments.port) as cut:
        deploy(env, configs)
        start_runs(env, CATEGORIES[:1])
        wait_until(lambda: trains(work, "first"), 300)
        say("the first category trains; power cut")
        cut()
    seconds: dict[str, float] = {}
    with services(env, arguments.port):
        begun, deployed = time.monotonic(), 0.0
        start_runs(env, CATEGORIES)
        while len(seconds) < len(CATEGORIES) and time.monotonic() - begun < PATIENCE_S:
            if arguments.deploy and time.monotonic() - deployed > DEPLOYED_EVERY_S:
                say(deploy(env, configs))
                deployed = time.monotonic()
            for name in CATEGORIES:
                if name not in seconds and trains(work, name):
                    seconds[name] = round(time.monotonic() - begun)
                    say(f"{name} trains {seconds[name]} s after server and worker are back, and is done")
                    end_run(work, name)
            time.sleep(1)
    print(json.dumps({"seconds_until_training": seconds, "waiting": [n for n in CATEGORIES if n not in seconds]}))
    return 0 if len(seconds) == len(CATEGORIES) else 1


def write_configs(work: Path) -> list[Path]:
    """Write two configs of one toy category, of which each trains longer than this benchmark takes."""
    text = make_category(work)["one process"].read_text(encoding="utf-8").replace("steps: 6", "steps: 1000000")
    paths = [work / f"{name}.yaml" for name in CATEGORIES]
    for path in paths:
        path.write_text(text.replace(f"{work}/out", f"{work}/out-{path.stem}"), encoding="utf-8")
    return paths


def environment(work: Path, port: int, *, memory: bool) -> dict[str, str]:
    """Return the environment of server, worker and commands, with what the documented service of the server sets."""
    line = re.search(r"^Environment=(.*LEASE_STORAGE.*)$", DOCUMENTED.read_text(encoding="utf-8"), re.MULTILINE)
    assert line, "docs/operations.md no longer names where leases are stored"
    documented = dict(each.split("=", 1) for each in line[1].split() if "LEASE" in each)
    return {
        **os.environ,
        **ENVIRONMENT,
        **({} if memory else documented),
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
    }


@contextmanager
def services(env: dict[str, str], port: int) -> Iterator[Callable[[], None]]:
    """Start server and worker; give what kills them and all runs at once. They end with the context anyway."""
    server = ["server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["worker", "start", "--pool", POOL, "--type", "process"]
    quiet = subprocess.DEVNULL
    processes: list[subprocess.Popen[bytes]] = []

    def cut() -> None:
        doomed = [each for process in processes for each in psutil.Process(process.pid).children(recursive=True)]
        for process in processes:
            process.kill()
        for each in doomed:
            each.kill()
        psutil.wait_procs(doomed)

    try:
        for command in (server, worker):
            processes.append(
                subprocess.Popen([sys.executable, "-m", "prefect", *command], env=env, stdout=quiet, stderr=quiet)
            )
            wait_until(lambda: is_up(env["PREFECT_API_URL"]), 300)
        yield cut
    finally:
        alive = [process for process in processes if process.poll() is None]
        children = [each for process in alive for each in psutil.Process(process.pid).children(recursive=True)]
        for process in alive:
            process.kill()
        for each in children:
            each.kill()
        for process in processes:
            process.wait()


def deploy(env: dict[str, str], configs: list[Path]) -> str:
    """Deploy the categories once the worker has made the pool, and return what is said."""
    command = [sys.executable, "-m", "defectfill.cli", "deploy", *map(str, configs), "--work-pool", POOL]
    for _ in range(60):
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        time.sleep(2)
    raise SystemExit(done.stderr)


def start_runs(env: dict[str, str], names: tuple[str, ...]) -> None:
    for name in names:
        command = [sys.executable, "-m", "prefect", "deployment", "run", f"synthesize-category/{name}"]
        subprocess.run(command, env=env, check=True, capture_output=True)


def trains(work: Path, name: str) -> bool:
    """Return whether a process writes checkpoints of a category now, or has its training folder open."""
    return runner_of(work, name) is not None and any((work / f"out-{name}").rglob(".*.work/*"))


def runner_of(work: Path, name: str) -> psutil.Process | None:
    """Return the process that holds the lock of a category's output."""
    for process in psutil.process_iter():
        try:
            if any(str(work / f"out-{name}") in each.path for each in process.open_files()):
                return process
        except psutil.Error:
            continue
    return None


def end_run(work: Path, name: str) -> None:
    """End a run as a user would who cancels it, so that the other one may have its turn."""
    if process := runner_of(work, name):
        process.send_signal(signal.SIGTERM)
        with suppress(psutil.TimeoutExpired):  # on a machine under load it takes its time
            process.wait(60)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("waited in vain")
        time.sleep(1)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
