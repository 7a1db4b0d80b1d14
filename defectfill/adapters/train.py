"""The training step: an adapter per defect, or one for all of them, in a folder that says that it is done."""

import shutil

from defectfill.adapters.files import is_trained
from defectfill.adapters.processes import train_in_processes
from defectfill.adapters.training import train_in_this_process
from defectfill.runs.run import Run
from defectfill.runs.timings import timed


def train_adapter(run: Run, defect: str) -> None:
    """Train and write the adapter that paints `defect`, unless it is there.

    A training that was stopped goes on from its last checkpoint, to the same bytes on the same machine.
    """
    if not is_trained(run, defect):
        with timed(run, "train", defect=defect):
            if run.config.train.processes > 1:
                train_in_processes(run, defect)
            else:
                train_in_this_process(run, defect)
    shutil.rmtree(run.training_folder(defect), ignore_errors=True)
