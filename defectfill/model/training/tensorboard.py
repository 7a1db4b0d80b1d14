"""The loss curve for TensorBoard, through accelerate's tracker."""

from collections.abc import Callable, Sequence
from pathlib import Path

from defectfill.io.errors import ConfigError


def open_tensorboard(folder: Path, name: str) -> Callable[[Sequence[dict[str, float]]], None]:
    """What writes rows of a curve to `folder`/`name`; ConfigError where TensorBoard is not installed."""
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker
    from accelerate.utils import is_tensorboard_available

    if not is_tensorboard_available():
        raise ConfigError("train.tensorboard: TensorBoard is not installed; pip install 'defectfill[tensorboard]'")
    PartialState()  # the tracker asks it whether this process leads
    tracker = TensorBoardTracker(name, str(folder))
    tracker.start()

    def write(rows: Sequence[dict[str, float]]) -> None:
        for row in rows:
            tracker.log({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    return write
