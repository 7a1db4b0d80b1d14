"""The things that a run needs beside config and images: extras, devices, a scheduler that answers."""

import importlib.util
import re
import socket
from collections.abc import Iterator

from defectfill.config.run import RunConfig
from defectfill.config.runner import RunnerConfig

ANSWER_S = 5.0
"""A scheduler answers within so many seconds."""


def requirement_problems(config: RunConfig) -> Iterator[str]:
    """Yield a problem for everything that is missing on this machine."""
    if config.runner.kind == "dask":
        yield from _dask_problems(config.runner)
    if config.generate.uses_base:
        yield from _training_problems(config)
    if config.dataset.promote == "unless_harmful" and not (_is_installed("monai") and _is_installed("sklearn")):
        yield "dataset.promote: unless_harmful trains detectors; pip install 'defectfill[detector]'"


def _training_problems(config: RunConfig) -> Iterator[str]:
    if config.train.tensorboard and not _is_installed("tensorboard", "tensorboardX"):
        yield "train.tensorboard: TensorBoard is not installed; pip install 'defectfill[tensorboard]'"
    if config.train.processes > 1 and config.base.device != "cpu":
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
