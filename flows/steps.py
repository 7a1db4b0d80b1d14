"""The steps of a category's run as Prefect tasks: a thin layer around the library.

Tasks take and give paths and names, never images or models, so nothing is hashed or pickled; what is done is
known by the library from the disk, so Prefect's cache stays off. A task is retried when a second try can
succeed; the user's mistakes are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from defectfill.adapters import train_adapter as train
from defectfill.config import load_config
from defectfill.dataset import write_dataset
from defectfill.errors import ConfigError, DataError
from defectfill.plan import plan_samples
from defectfill.run import Run, Shard, start_run
from defectfill.synthesis import inpaint_shard as inpaint
from defectfill.workers import Children

CHILDREN: dict[Path, Children] = {}
"""Painting processes of the runs of this process, by the run's folder."""


def _can_be_retried(_task: Any, _run: Any, state: Any) -> bool:
    """Whether the failure is neither in the config nor in the data."""
    return not isinstance(state.result(raise_on_failure=False), ConfigError | DataError)


@contextmanager
def gpu(limit: str | None) -> Iterator[None]:
    """A slot of the global concurrency limit of that name, waited for; none where there is no name.

    It is given back when its holder dies, some minutes later. Work under way goes on while the server is away.
    """
    if not limit:
        yield
        return
    with concurrency(limit, strict=True, raise_on_lease_renewal_failure=False):
        yield


@task(cache_policy=NO_CACHE)
def ingest(config_path: Path, count: int | None = None) -> Path:
    """The run's folder, with every real image checked and given its role."""
    return start_run(load_config(config_path, count)).folder


@task(cache_policy=NO_CACHE, retries=1, retry_condition_fn=_can_be_retried)
def train_adapter(run_folder: Path, defect: str, gpu_limit: str | None = None) -> None:
    """One adapter, trained unless it is there."""
    with gpu(gpu_limit):
        train(Run.at(run_folder), defect)


@task(cache_policy=NO_CACHE)
def sample_masks(run_folder: Path) -> list[Shard]:
    """The plan, extended by what is still wanted; what is to be painted of it, in shards."""
    return plan_samples(Run.at(run_folder))


@task(cache_policy=NO_CACHE, retries=2, retry_condition_fn=_can_be_retried)
def inpaint_shard(run_folder: Path, shard: str, gpu_limit: str | None = None) -> None:
    """One block of samples, painted: by a child of the run where it has some, else in this process."""
    with gpu(gpu_limit):
        if run_folder in CHILDREN:
            CHILDREN[run_folder].paint(Shard.named(shard))
        else:
            inpaint(Run.at(run_folder), Shard.named(shard))


@task(cache_policy=NO_CACHE, retries=1, retry_condition_fn=_can_be_retried)
def write_manifest(run_folder: Path) -> Path:
    """The dataset's folder, whole, with a contact sheet beside it."""
    return write_dataset(Run.at(run_folder))
