"""The things that a run or its evaluation needs: extras, devices, a scheduler that answers, images to test on."""

import importlib.util
import re
import socket
from collections.abc import Iterator, Sequence

from defectfill.config.run import RunConfig
from defectfill.config.runner import RunnerConfig
from defectfill.io.errors import ConfigError, DataError, DefectFillError
from defectfill.model.base.identity import identify_base
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.run import Run

ANSWER_S = 5.0
"""A scheduler answers within so many seconds."""


def requirement_problems(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a problem for everything that a run lacks; records: the real images, if they could be read."""
    if config.runner.kind == "dask":
        yield from _dask_problems(config.runner)
    if config.generate.uses_base:
        yield from _training_problems(config)
    if config.dataset.promote == "unless_harmful":
        yield from (
            f"dataset.promote: unless_harmful evaluates: {each}" for each in _evaluation_problems(config, records)
        )


def check_evaluation(run: Run) -> None:
    """Raise, before any detector is trained, unless the dataset of a run is finished and can be evaluated."""
    if not run.is_finished():
        damage = f": {run.damage()}" if run.is_marked_finished() else ""
        raise DataError(f"{run.config.category}: no finished dataset of this config{damage}; run it first")
    if problems := list(_evaluation_problems(run.config, run.snapshot())):
        raise ConfigError(problems)


def _evaluation_problems(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a problem for everything that an evaluation lacks."""
    if not (_is_installed("monai") and _is_installed("sklearn")):
        yield "detectors need an extra: pip install 'defectfill[detector]'"
    yield from _feature_problems(config)
    roles = [record.role for record in records]
    if roles and "held_out" not in roles:
        yield "expected defective images held out to test on, found none; data.references is to leave some"
    if roles and roles.count("normal") < 2:
        yield f"expected two images in train/good, to learn from and to validate by, found {roles.count('normal')}"


def _feature_problems(config: RunConfig) -> Iterator[str]:
    from defectfill.model.evaluation.features import has_backbone

    wanted, is_there = config.evaluate.features, has_backbone()
    if wanted == "efficientnet" and not is_there:
        yield "evaluate.features: efficientnet needs an extra: pip install 'defectfill[features]'"
    elif wanted == "vae" or not is_there:
        try:
            identify_base(config.base)
        except DefectFillError as error:
            yield from (f"{problem}; evaluate.features takes its VAE" for problem in error.problems)


def _training_problems(config: RunConfig) -> Iterator[str]:
    if config.train.tensorboard and not _is_installed("tensorboard", "tensorboardX"):
        yield "train.tensorboard: TensorBoard is not installed; pip install 'defectfill[tensorboard]'"
    if config.base.device.startswith("cuda:") and max(config.train.processes, config.runner.processes) > 1:
        yield f"base.device: {config.base.device} is one GPU, for one process; `cuda` gives each of several its own"
    elif config.train.processes > 1 and config.base.device != "cpu":
        from defectfill.model.base.device import gpu_count

        if 0 < (found := gpu_count()) < config.train.processes:
            yield f"train.processes: expected at most one per GPU, {found}, found {config.train.processes}"


def _dask_problems(runner: RunnerConfig) -> Iterator[str]:
    if not all(_is_installed(package) for package in ("dask", "distributed", "prefect_dask")):
        yield "runner.kind: dask needs an extra: pip install 'defectfill[dask]'"
    if runner.address is None:
        return
    found = re.fullmatch(r"(?:(\w+)://)?(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})/?", runner.address)
    if found is None or int(found[4]) > 65535:
        yield f"runner.address: expected the address of a Dask scheduler, tcp://host:port, found {runner.address!r}"
    elif found[1] in (None, "tcp", "tls"):
        try:
            socket.create_connection((found[2] or found[3], int(found[4])), timeout=ANSWER_S).close()
        except OSError as error:
            yield f"runner.address: no Dask scheduler answers at {runner.address}: {error.strerror or error}"


def _is_installed(*packages: str) -> bool:
    """Return whether one of the packages is there."""
    return any(importlib.util.find_spec(package) is not None for package in packages)
