"""The same bytes whoever paints: one process, painter processes, Dask's workers; what dies costs its shard's time."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import contents

from defectfill.config.run import load_config
from defectfill.io.errors import DataError
from defectfill.io.images import read_image, write_png
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.runs.plan import read_plan
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.synthesis.painter_pool import open_painter_pool

RUNNERS = {"processes": "{processes: 2}", "dask": "{kind: dask, processes: 2}"}

every_runner = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
pytestmark = pytest.mark.timeout(600)


def start(env: dict[str, str], config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "defectfill.cli", "run", str(config)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def painters(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes below one that paint: painter processes, or Dask's workers."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [
        each
        for each in below
        if any(word in " ".join(_command(each)) for word in ("defectfill.synthesis.painter_pool", "spawn_main"))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def shards(config: Path, name: str) -> list[Path]:
    """Return the folders of shards whose names are like that; of those that are being painted it begins with a dot."""
    return list(prepare_run(load_config(config)).folder.glob(f"shards/*/{name}"))


@pytest.fixture
def two_processes(trained_config: Path, runner: str) -> Path:
    trained_config.write_text(trained_config.read_text() + f"runner: {runner}\n")
    return trained_config


@pytest.mark.server
@every_runner
def test_a_dead_painter_costs_its_shard_a_dead_flow_leaves_none_behind_and_the_bytes_are_the_same(
    server: dict[str, str], finished: Run, two_processes: Path, runner: str
) -> None:
    with start(server, two_processes) as process:
        wait_until(lambda: process.poll() is not None or shards(two_processes, ".*"))
        killed, done = painters(process)[0], len(shards(two_processes, "[!.]*"))
        killed.kill()
        wait_until(lambda: process.poll() is not None or len(shards(two_processes, "[!.]*")) > done + 1)
        left = painters(process)
        assert process.poll() is None
        process.kill()
    assert left
    wait_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in left), 60)
    with start(server, two_processes) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert contents(prepare_run(load_config(two_processes)).dataset) == contents(finished.dataset)


def test_an_error_of_a_painter_process_is_raised_by_its_kind(trained_config: Path) -> None:
    run = start_run(load_config(trained_config))
    shard = plan_samples(run)[0]
    (spec, *_) = read_plan(run, shard.defect)
    source = run.config.category_folder / spec.source_path
    write_png(source, read_image(source)[::-1])
    with open_painter_pool(run, 1) as painters, pytest.raises(DataError, match=spec.source_path):
        painters.paint(shard)
