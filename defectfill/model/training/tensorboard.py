"""The loss curve for TensorBoard, through accelerate's tracker."""

from collections.abc import Callable
from pathlib import Path

from defectfill.io.errors import ConfigError
from defectfill.model.training.loop import LossRows


def open_tensorboard(folder: Path, name: str) -> Callable[[LossRows], None]:
    """Return a function that writes rows of a loss curve to `folder`/`name`.

    Raises ConfigError where TensorBoard is not installed.
    """
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker
    from accelerate.utils import is_tensorboard_available

    if not is_tensorboard_available():
        raise ConfigError("train.tensorboard: TensorBoard is not installed; pip install 'defectfill[tensorboard]'")
    PartialState()  # the tracker asks it for the main process
    tracker = TensorBoardTracker(name, str(folder))
    tracker.start()

    def write(rows: LossRows) -> None:
        for row in rows:
            tracker.log({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    return write
