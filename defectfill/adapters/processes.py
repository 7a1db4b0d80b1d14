"""A training in several processes, one per GPU, under torchrun: python -m defectfill.adapters.processes RUN DEFECT.

`train_in_processes` starts them from whatever process the training step runs in. They end with it, also when it is
killed: each waits for the end of its standard input, which is a pipe that only the starter holds.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from defectfill.adapters.training import train_in_this_process
from defectfill.io.errors import ConfigError, DataError, DefectFillError, ModelError
from defectfill.io.files import write_bytes
from defectfill.io.gpu_lock import gpu_lock
from defectfill.runs.run import Run

ERRORS = {kind.__name__: kind for kind in (ConfigError, DataError, ModelError)}


def train_in_processes(run: Run, defect: str) -> None:
    """Train the adapter of `defect` by train.processes processes; raise what they raise."""
    count = run.config.train.processes
    failure = _failure_file(run, defect)
    failure.unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += ["-m", "defectfill.adapters.processes", str(run.folder), defect]
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    with ExitStack() as locks:
        for index in range(count):  # in this order, so that no two trainings wait for each other
            locks.enter_context(gpu_lock(run.record.device, index))
        launcher = locks.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment))
        status = launcher.wait()
    if failure.is_file():
        name, problems = json.loads(failure.read_bytes())
        raise ERRORS[name](problems)
    if status != 0:
        raise ModelError(f"train {defect}: a process of {count} ended without a word (status {status}); see above")


def _failure_file(run: Run, defect: str) -> Path:
    """Return the path at which a process leaves the error that ended it."""
    return run.training_folder(defect) / "failure.json"


def _end_with_the_starter() -> None:
    while os.read(0, 1):  # a thread in Python's own reader would not let the interpreter end
        pass
    os._exit(1)


def main() -> None:
    from defectfill.model.training.distributed import init_distributed

    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    folder, defect = sys.argv[1:]
    run = Run.at(Path(folder))
    distributed, device = init_distributed(cpu=run.record.device.startswith("cpu"))
    try:
        train_in_this_process(run, defect, distributed, device)
    except DefectFillError as error:
        content = json.dumps([type(error).__name__, list(error.problems)])
        write_bytes(_failure_file(run, defect), content.encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
