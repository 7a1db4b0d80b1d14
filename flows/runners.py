"""Who paints the shards of a run: its own process, children with a GPU each, or the workers of a Dask cluster."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from defectfill.errors import ConfigError
from defectfill.run import Run, Shard
from defectfill.runner_config import RunnerConfig
from defectfill.workers import painting_children
from flows.steps import CHILDREN, inpaint_shard

WAITING = 2
"""Shards that are submitted for each process: a plan of any length is in bounded memory, and none waits for work."""

Paint = Callable[[Sequence[Shard]], None]
"""Paints shards; raises when one has failed for good."""


@contextmanager
def open_runner(run_folder: Path, gpu_limit: str | None) -> Iterator[Paint]:
    """What paints shards of a run, by its config's `runner`; what it started ends with the context."""
    run = Run.at(run_folder)
    runner = run.config.runner

    def parameters(shard: Shard) -> dict[str, Any]:
        return {"run_folder": run_folder, "shard": shard.name, "gpu_limit": gpu_limit}

    def one_by_one(shards: Sequence[Shard]) -> None:
        for shard in shards:
            inpaint_shard(**parameters(shard))

    if runner.kind == "local" and runner.processes == 1:
        yield one_by_one
        return
    with _task_runner(run, runner) as task_runner:

        def in_a_window(shards: Sequence[Shard]) -> None:
            submitted: deque[Any] = deque()
            for shard in shards:
                if len(submitted) >= WAITING * runner.processes:
                    submitted.popleft().result()
                submitted.append(task_runner.submit(inpaint_shard, parameters(shard)))
            for future in submitted:
                future.result()

        yield in_a_window


@contextmanager
def _task_runner(run: Run, runner: RunnerConfig) -> Iterator[TaskRunner[Any]]:
    if runner.kind == "dask":
        with _dask(runner) as dask:
            yield dask
        return
    with painting_children(run, runner.processes) as children, ThreadPoolTaskRunner(runner.processes) as threads:
        CHILDREN[run.folder] = children
        try:
            yield threads
        finally:
            del CHILDREN[run.folder]


def _dask(runner: RunnerConfig) -> TaskRunner[Any]:
    """The workers of a cluster, which keep the base loaded between shards. ConfigError where the extra is missing."""
    try:
        import dask
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("runner.kind: dask needs an extra: pip install 'defectfill[dask]'") from error
    if runner.address:
        return DaskTaskRunner(address=runner.address)
    # Dask allows its workers one thread each: sums on a CPU would round otherwise than in one process.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    return DaskTaskRunner(
        cluster_kwargs={"n_workers": runner.processes, "threads_per_worker": 1, "dashboard_address": None}
    )
