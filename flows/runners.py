"""Who paints the shards of a run: its own process, painter processes with a GPU each, or the workers of Dask."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import Task
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from defectfill.config.runner import RunnerConfig
from defectfill.io.errors import ConfigError
from defectfill.operations.storage.fetch import open_run
from defectfill.records.plan import Shard
from defectfill.runs.run import Run
from defectfill.runs.sample_progress import sample_progress
from defectfill.synthesis.painter_pool import PainterPool, open_painter_pool
from flows.steps import inpaint_shard

WAITING = 2
"""Shards that are submitted for each process: a plan of any length is in bounded memory, and none waits for work."""

Paint = Callable[[Sequence[Shard]], None]
"""Paints shards; raises when one has failed for good."""


@contextmanager
def open_runner(run_uri: str, gpu_limit: str | None) -> Iterator[Paint]:
    """Give what paints shards of a run, by its config's `runner`; what it started ends with the context."""
    run = open_run(run_uri)
    runner = run.config.runner

    def one_by_one(shards: Sequence[Shard]) -> None:
        with sample_progress(run, shards):
            for shard in shards:
                inpaint_shard(run_uri, shard.name, gpu_limit)

    if runner.kind == "local" and runner.processes == 1:
        yield one_by_one
        return
    with _task_runner(run, runner) as (task_runner, painters):
        common = {"run_uri": run_uri, "gpu_limit": gpu_limit, "painters": painters}

        def side_by_side(shards: Sequence[Shard]) -> None:
            with sample_progress(run, shards) as painted_elsewhere:
                waiting = ({**common, "shard": shard.name} for shard in shards)
                for painted in run_in_window(task_runner, inpaint_shard, waiting, WAITING * runner.processes):
                    painted_elsewhere(Shard.named(painted["shard"]))

        yield side_by_side


def run_in_window(
    task_runner: TaskRunner[Any], task: Task[..., Any], parameters: Iterable[dict[str, Any]], size: int
) -> Iterator[dict[str, Any]]:
    """Run a task with each of the parameters, `size` of them submitted at a time; yield those that are done, in order.

    Raises what a task has failed with.
    """
    submitted: deque[tuple[Any, dict[str, Any]]] = deque()

    def first_done() -> dict[str, Any]:
        future, given = submitted.popleft()
        future.result()
        return given

    for each in parameters:
        if len(submitted) >= size:
            yield first_done()
        submitted.append((task_runner.submit(task, each), each))
    while submitted:
        yield first_done()


@contextmanager
def _task_runner(run: Run, runner: RunnerConfig) -> Iterator[tuple[TaskRunner[Any], PainterPool | None]]:
    """Give what runs tasks side by side and, where these are threads of this process, what they have paint."""
    if runner.kind == "dask":
        with open_dask(runner) as dask:
            yield dask, None
        return
    with open_painter_pool(run, runner.processes) as painters, ThreadPoolTaskRunner(runner.processes) as threads:
        yield threads, painters


def open_dask(runner: RunnerConfig) -> TaskRunner[Any]:
    """Open the workers of a cluster, which keep the base loaded between shards; ConfigError without the extra."""
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
