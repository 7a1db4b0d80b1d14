"""The cost of Prefect's tasks: python -m benchmarks.prefect_cost [--tasks 10000] [--dask-tasks 1000]

Tasks that do nothing, declared as shards are and submitted as shards are: in the flow's own thread, in threads that
wait for painter processes, and by two Dask workers. Prints seconds per task, and the memory of the flow's process after
a tenth of the tasks and after all; before these the seconds until a flow through Prefect's temporary server has
begun, imports left out. With PREFECT_API_URL the tasks run through that server.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psutil

from defectfill.operations.environment import set_environment

PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--dask-tasks", type=int, default=1000)
    arguments = parser.parse_args()
    set_environment()
    from prefect import flow

    @flow(persist_result=False)
    def begin() -> float:
        return time.monotonic()

    before = time.monotonic()
    found: dict[str, Any] = {"begun_after_s": round(begin() - before, 2)}
    print(json.dumps(found), flush=True)
    for kind, count in {"direct": arguments.tasks, "threads": arguments.tasks, "dask": arguments.dask_tasks}.items():
        found[kind] = flow(persist_result=False)(cost)(kind, count)
        print(json.dumps({kind: found[kind]}), flush=True)


def cost(kind: str, count: int) -> dict[str, Any]:
    """Run tasks in one of the three ways, inside a flow; return their time and memory."""
    from flows.runners import WAITING, run_in_window
    from flows.steps import step

    @step()
    def nothing(number: int) -> None:
        pass

    memory: list[float] = []

    def numbers() -> Iterator[dict[str, Any]]:
        for number in range(count):
            if number == count // 10:
                memory.append(resident_mib())
            yield {"number": number}

    begun = time.monotonic()
    with runner_of(kind) as runner:
        if runner is None:
            nothing(0)
        else:
            list(run_in_window(runner, nothing, [{"number": 0}] * PROCESSES, PROCESSES))
        ready = time.monotonic()
        if runner is None:
            for each in numbers():
                nothing(**each)
        else:
            for _ in run_in_window(runner, nothing, numbers(), WAITING * PROCESSES):
                pass
        took = time.monotonic() - ready
    return {
        "tasks": count,
        "ready_s": round(ready - begun, 2),
        "per_task_s": round(took / count, 4),
        "memory_mib": [round(each) for each in (*memory, resident_mib())],
    }


def runner_of(kind: str) -> AbstractContextManager[Any]:
    """Return what runs the tasks; of None the flow's own thread does."""
    from prefect.task_runners import ThreadPoolTaskRunner

    from defectfill.config.runner import RunnerConfig
    from flows.runners import open_dask

    if kind == "threads":
        return ThreadPoolTaskRunner(PROCESSES)
    return open_dask(RunnerConfig(kind="dask", processes=PROCESSES)) if kind == "dask" else nullcontext()


def resident_mib() -> float:
    """Return the memory of this process."""
    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    main()
