"""The steps of a category's run as Prefect tasks: a thin layer around the library.

Tasks take and give settings, uris and names, never images or models, so nothing large is hashed or pickled; what is
done is known by the library from the disk, so Prefect's cache stays off. A task is retried when a second try can
succeed; the user's mistakes are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from defectfill.adapters.train import train_adapter as train
from defectfill.config.run import RunConfig
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import ConfigError, DataError, is_full_disk
from defectfill.operations.check import start_checked
from defectfill.operations.prepare import restart_run
from defectfill.operations.storage.fetch import fetch_for_shard, open_run
from defectfill.operations.storage.upload import (
    sync_shards,
    upload_adapter,
    upload_dataset,
    upload_plan,
    upload_record,
    upload_shard,
)
from defectfill.records.plan import Shard
from defectfill.runs.keys import RunRecord
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.synthesis.painter_pool import PainterPool
from defectfill.synthesis.shards import inpaint_shard as inpaint
from flows.artifacts import progress_artifacts


def _can_be_retried(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether the failure is neither in the config nor in the data, nor a full disk."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, ConfigError | DataError) and not is_full_disk(error)


step = partial(task, cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[1, 10], retry_condition_fn=_can_be_retried)


@contextmanager
def gpu(limit: str | None) -> Iterator[None]:
    """Wait for a slot of the global concurrency limit of that name, and hold it; none where there is no name.

    It is given back when its holder dies, some minutes later. Work under way goes on while the server is away.
    """
    if not limit:
        yield
        return
    with concurrency(limit, strict=True, raise_on_lease_renewal_failure=False):
        yield


@contextmanager
def opened(run_uri: str) -> Iterator[Run]:
    """Open the run at a uri, to work on; how far the work is can be seen on Prefect's pages."""
    run = open_run(run_uri)
    with progress_artifacts(run.config.category):
        yield run


@step()
def ingest(asked: RunConfig | RunRecord) -> str:
    """Begin the run of a config, everything checked and every real image given its role, and return its uri.

    asked: the record where this process has begun it already.
    """
    run = restart_run(asked) if isinstance(asked, RunRecord) else start_checked(asked)
    upload_record(run)
    return run.uri


@step(retries=1, task_run_name="train {defect}")
def train_adapter(run_uri: str, defect: str, gpu_limit: str | None = None) -> None:
    """Train one adapter, unless it is there."""
    with opened(run_uri) as run:
        with gpu(gpu_limit):
            train(run, defect)
        upload_adapter(run, defect)


@step()
def sample_masks(run_uri: str) -> list[Shard]:
    """Extend the plan by what is still wanted; return what is to be painted of it, in shards."""
    with opened(run_uri) as run:
        sync_shards(run)
        shards = plan_samples(run)
        upload_plan(run)
        return shards


@step(task_run_name="inpaint {shard}")
def inpaint_shard(run_uri: str, shard: str, gpu_limit: str | None = None, painters: PainterPool | None = None) -> None:
    """Paint one block of samples, in this process or, where they are given, in one of the run's painter processes."""
    block = Shard.named(shard)
    with opened(run_uri) as run:
        fetch_for_shard(run, block)
        with gpu(gpu_limit if run.config.generate.uses_base else None):
            if painters:
                painters.paint(block)
            else:
                inpaint(run, block)
        upload_shard(run, block)


@step()
def write_manifest(run_uri: str) -> None:
    """Write the whole dataset, with a contact sheet beside it."""
    with opened(run_uri) as run:
        write_dataset(run)
        upload_dataset(run)
