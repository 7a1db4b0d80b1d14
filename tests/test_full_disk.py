"""A disk that really fills up: the run ends and says so, and goes on to the same bytes once there is room."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import contents, write_toy_config

from defectfill.runs.run import Run

pytestmark = pytest.mark.runs

FILL = """
import errno, os, shutil, subprocess, sys
from pathlib import Path
from conftest import run_all_steps
from defectfill.config.run import load_config
from defectfill.io.files import PARTIAL
from defectfill.runs.planner import plan_samples
from defectfill.operations.prepare import prepare_run
from defectfill.synthesis.painter_pool import open_painter_pool

config, out, whole = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
out.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * whole}", "tmpfs", out], check=True)
filler = out / "filler"

def leave(room: int) -> None:
    filler.unlink(missing_ok=True)
    free = os.statvfs(out)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room)

def full(work) -> None:
    try:
        work()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise AssertionError("there was room")
    assert not list(out.rglob(f"*{PARTIAL}*"))

for share in map(float, sys.argv[4:]):
    leave(int(share * whole))
    full(lambda: run_all_steps(config))
run = prepare_run(load_config(config))
shutil.rmtree(run.folder / "shards" / "scratch", ignore_errors=True)  # it may not have come so far
(shard, *_) = plan_samples(run)
leave(4096)
with open_painter_pool(run, 1) as painters:
    full(lambda: painters.paint(shard))
filler.unlink()
dataset = run_all_steps(config).dataset
os.execlp("cp", "cp", "-r", dataset, sys.argv[2] + ".copy")
"""


@pytest.fixture
def namespace() -> list[str]:
    """Return a command's beginning by which it may mount."""
    for options in ("-m", "-rm"):
        mount = ["unshare", options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if subprocess.run(mount, capture_output=True).returncode == 0:
            return ["unshare", options]
    pytest.skip("this system lets no one mount a small disk")


def test_a_full_disk_costs_nothing_that_was_finished(
    namespace: list[str], finished: Run, tmp_path: Path, base_folder: Path, toy_data: Path
) -> None:
    config = write_toy_config(tmp_path, base_folder, toy_data)
    whole = sum(map(len, contents(finished.category_output).values()))
    shares = ["0", "0.3", "0.6"]
    command = [*namespace, sys.executable, "-c", FILL, str(config), str(tmp_path / "out"), str(whole), *shares]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out.copy") == contents(finished.dataset)
