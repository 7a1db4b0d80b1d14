"""Killed trainings end with the same bytes: python -m benchmarks.kills WORK [--kills 30] [--base FOLDER] [--seed 0]

Trains an adapter on a toy category in a process of its own, undisturbed, and notes how long that takes. Then, again and
again from the start, kills the process (SIGKILL) at a random moment of the training, runs the same command once more
and compares every file of the adapter with the undisturbed one's. Prints a line per kill, then one JSON line; the exit
status is 1 if any byte differed. WORK is a folder to be made.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from defectfill.adapters.files import is_trained
from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.operations.lock import locked
from defectfill.operations.prepare import start_run
from defectfill.runs.run import Run

DEFECT = "hole"
BEGUN = "training begins"
CONFIG = """
category: washer
object_name: washer
data: {{root: {work}/data, defects: [hole], references: {{count: 3}}}}
base: {{model: {base}, resolution: 64, device: cpu}}
train: {{steps: 120, batch_size: 2, latent_cache: 16, checkpoint_every: 7,
         eval_every: 30, validation_references: 1, select: best}}
generate: {{steps: 2, guidance_scale: 1}}
output: {{root: {work}/out}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--base", type=Path, help="a base's folder; by default a small one with random weights")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)  # what the killed process runs
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if arguments.train:
        return train(work)
    make_category(work, arguments.base)
    run, seconds = train_to_the_end(work)
    expected = files_of(run)
    print(f"undisturbed: {seconds:.1f} s of training")
    moments, failures = random.Random(arguments.seed), 0
    for kill in range(arguments.kills):
        shutil.rmtree(work / "out")
        moment = moments.uniform(0, seconds)
        state = kill_after(work, moment)
        run, _ = train_to_the_end(work)
        same = files_of(run) == expected
        failures += not same
        print(f"kill {kill}: at {moment:5.2f} s, {state}: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
    print(json.dumps({"kills": arguments.kills, "failures": failures, "training_s": seconds}))
    return 1 if failures else 0


def make_category(work: Path, base: Path | None) -> None:
    """Write the toy category, the base and the config to a new folder."""
    from defectfill.model.pretraining.architectures import write_random_base
    from defectfill.toy import write_category

    work.mkdir(parents=True)
    write_category(
        work / "data", "washer", seed=1, normals=4, test_normals=1, defective=6, size_px=96, defects=(DEFECT,)
    )
    folder = base.resolve() if base else write_random_base(work / "base")
    (work / "kills.yaml").write_text(CONFIG.format(work=work, base=folder), encoding="utf-8")


def train(work: Path) -> int:
    """Run the command under test."""
    import defectfill.model.training.train_lora  # noqa: F401  so that the moments fall into the training, not the import of torch

    config = load_config(work / "kills.yaml")
    with locked(config):
        run = start_run(config)
        print(BEGUN, flush=True)
        train_adapter(run, DEFECT)
    return 0


def start_training(work: Path) -> subprocess.Popen[str]:
    """Start the process and return it when its training has begun."""
    command = [sys.executable, "-m", "benchmarks.kills", str(work), "--train"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != BEGUN:
        raise SystemExit(f"the training does not start: {' '.join(command)}")
    return process


def train_to_the_end(work: Path) -> tuple[Run, float]:
    """Return the run after an undisturbed command, and the seconds that its training took."""
    with start_training(work) as process:
        begun = time.monotonic()
        if process.wait() != 0:
            raise SystemExit(f"the training failed with status {process.returncode}")
    return run_in(work), time.monotonic() - begun


def kill_after(work: Path, seconds: float) -> str:
    """Kill a fresh training after so many seconds; return in words what it left."""
    with start_training(work) as process:
        time.sleep(seconds)
        process.kill()
    run = run_in(work)
    if is_trained(run, DEFECT):
        return "finished"
    checkpoints = sorted(run.training_folder(DEFECT).glob("*.checkpoint"))
    return f"after {int(checkpoints[-1].stem)} saved steps" if checkpoints else "before the first checkpoint"


def run_in(work: Path) -> Run:
    [folder] = (work / "out" / "washer" / "runs").iterdir()
    return Run.at(folder)


def files_of(run: Run) -> dict[str, bytes]:
    """Return the adapter's files; exit with an error if there is none, or if anything of its training is left."""
    if not is_trained(run, DEFECT) or run.training_folder(DEFECT).exists():
        raise SystemExit(f"{run.adapter_folder(DEFECT)}: not finished, or its checkpoints are left")
    folder = run.adapter_folder(DEFECT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
