"""Does a killed flow lose anything? python -m benchmarks.flow_kills WORK [--kills 100] [--seed 0]

Runs the whole flow on a toy category through one Prefect server, in turn with two painter processes and with two Dask
workers, and again and again kills (SIGKILL) at a random moment: the flow's process, a painter of it, or both. Where
the flow has died the same command is run once more. Every dataset is compared byte by byte with one of an undisturbed
run in a single process. Prints a line per kill and a tally, then one JSON line; the exit status is 1 if any byte
differed, a run failed or a process was left behind. WORK is a folder to be made.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from defectfill.config.run import load_config
from defectfill.operations.environment import ENVIRONMENT
from defectfill.operations.prepare import prepare_run

RUNNERS = {"one process": "{}", "processes": "{processes: 2}", "dask": "{kind: dask, processes: 2}"}
VICTIMS = ("flow", "painter", "both")
CONFIG = """
category: washer
object_name: washer
data: {{root: {work}/data, defects: [hole, stain], references: {{count: 2}}}}
base: {{model: {work}/base, resolution: 64, device: cpu}}
train: {{steps: 6, batch_size: 1, checkpoint_every: 2, rank: 2, alpha: 2}}
generate: {{count: 6, candidates: 2, steps: 2, guidance_scale: 1, samples_per_batch: 2, shard_size: 2}}
gates: {{tolerance: 20, max_off_mask_fraction: 1}}
output: {{root: {work}/out}}
runner: {runner}
"""
PAINTERS = ("defectfill.synthesis.painter_pool", "multiprocessing.spawn")
"""Words of the command lines of painter processes and of Dask's workers."""
LEFT_AFTER_S = 20
"""So long processes may take to notice that their flow has died."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    configs = make_category(work)
    moments, tally = random.Random(arguments.seed), Counter[str]()
    with prefect_server(work) as env:
        expected, seconds = {}, {}
        for name, config in configs.items():
            seconds[name] = finish(env, config)
            expected[name] = contents(config)
            shutil.rmtree(work / "out")
            print(f"undisturbed, {name}: {seconds[name]:.1f} s", flush=True)
        wrong = [name for name, content in expected.items() if content != expected["one process"]]
        for kill in range(arguments.kills):
            name = ("processes", "dask")[kill % 2]
            victim, moment = moments.choice(VICTIMS), moments.uniform(0, seconds[name])
            outcome = trial(env, configs[name], victim, moment)
            if outcome == "finished" and contents(configs[name]) != expected["one process"]:
                outcome = "OTHER BYTES"
            tally[f"{name}, {victim}: {outcome}"] += 1
            wrong += [] if outcome == "finished" else [f"kill {kill}"]
            print(f"kill {kill}: {name}, {victim} at {moment:.1f} s: {outcome}", flush=True)
            shutil.rmtree(work / "out")
    for what, count in sorted(tally.items()):
        print(f"{count:5} {what}")
    print(json.dumps({"kills": arguments.kills, "wrong": wrong, "seconds": seconds}))
    return 1 if wrong else 0


def make_category(work: Path) -> dict[str, Path]:
    """Write a toy category and a base into a new folder; return a config of it for each runner."""
    from defectfill.model.pretraining.architectures import write_random_base
    from defectfill.toy import write_category

    work.mkdir(parents=True)
    defects = ("hole", "stain")
    write_category(work / "data", "washer", 1, normals=4, test_normals=1, defective=4, size_px=96, defects=defects)
    write_random_base(work / "base")
    configs = {name: work / f"{name.replace(' ', '-')}.yaml" for name in RUNNERS}
    for name, path in configs.items():
        path.write_text(CONFIG.format(work=work, runner=RUNNERS[name]), encoding="utf-8")
    return configs


@contextmanager
def prefect_server(work: Path) -> Iterator[dict[str, str]]:
    """Start a server of its own, and give the environment that reaches it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    env = {**os.environ, **ENVIRONMENT, "PREFECT_HOME": str(work / "prefect"), "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", port]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_up(url):
            time.sleep(0.5)
        yield env
    finally:
        server.terminate()
        server.wait()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.HTTPError:
        return False


def start(env: dict[str, str], config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "defectfill.cli", "run", str(config)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(env: dict[str, str], config: Path) -> float:
    """Run a config undisturbed, and return the seconds."""
    begun = time.monotonic()
    with start(env, config) as process:
        if process.wait() != 0:
            raise SystemExit(f"{config}: the run failed with status {process.returncode}")
    return time.monotonic() - begun


def trial(env: dict[str, str], config: Path, victim: str, moment: float) -> str:
    """Disturb a run after so many seconds, begin it again where its flow has died, and return what came of it."""
    with start(env, config) as process:
        time.sleep(moment)
        painters = painters_of(process.pid)
        if victim != "flow" and painters:
            painters[0].kill()
        if victim != "painter":
            process.kill()
    if victim == "painter":
        return "finished" if process.returncode == 0 else f"FAILED with status {process.returncode}"
    _, left = psutil.wait_procs(painters, timeout=LEFT_AFTER_S)
    for each in left:
        each.kill()
    with start(env, config) as process:
        process.wait()
    if process.returncode != 0:
        return f"FAILED with status {process.returncode}"
    return "LEFT A PROCESS" if left else "finished"


def painters_of(pid: int) -> list[psutil.Process]:
    """Return the painting processes below a process."""
    found = []
    try:
        for process in psutil.Process(pid).children(recursive=True):
            if any(word in " ".join(process.cmdline()) for word in PAINTERS):
                found.append(process)
    except psutil.NoSuchProcess:
        pass
    return found


def contents(config: Path) -> dict[str, bytes]:
    """Return every file of the finished dataset."""
    dataset = prepare_run(load_config(config)).dataset
    return {str(path.relative_to(dataset)): path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
