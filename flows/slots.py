"""Slots of runs that are gone: after a power cut a server that keeps its leases in memory would count them for ever."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed

from defectfill.config.run import RunConfig, load_config
from defectfill.io.errors import DefectFillError
from defectfill.operations.lock import is_held, output_of
from defectfill.operations.reports import Freed
from flows.fleet import category_deployments

SETTLED_S = 120
"""A run that has begun so long ago holds the lock of its category's output, if its process lives."""
OUTPUT_LABEL = "defectfill.output"
"""Of a deployed run: where it works, which its config may no longer say."""
UNDER_WAY = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
LEASES_ON_DISK = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem"


def tell_output(config: RunConfig) -> None:
    """Label the run that is under way with its output, if it is one of a deployment."""
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(context.flow_run.id, {OUTPUT_LABEL: output_of(config)})


def free_slots(client: SyncPrefectClient, work_pool: str, gpu_limit: str) -> list[Freed]:
    """Mark the runs of a pool's categories as crashed whose process is gone, free their slots, and return both.

    A process is gone where no one holds the lock of the output that it began with. Where any run of the pool lives,
    slots of the GPU are left to their leases.
    """
    freed, living = [], 0
    for deployment in category_deployments(client):
        if deployment.work_pool_name != work_pool:
            continue
        runs = _under_way(client, deployment)
        gone = [run for run in runs if _is_settled(run) and not _works(run, deployment)]
        for run in gone:
            message = "No process works on it any more."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            freed.append(Freed(name=f"synthesize-category/{deployment.name}", run=run.name))
        living += len(runs) - len(gone)
        limit = client.read_deployment(deployment.id).global_concurrency_limit
        if limit and len(gone) == len(runs):
            freed += _empty(client, limit.name, f"synthesize-category/{deployment.name}")
    return freed if living else freed + _empty(client, gpu_limit, gpu_limit)


def lease_warnings(client: SyncPrefectClient) -> list[str]:
    """Return a warning where the server forgets who holds its slots when it is killed."""
    try:
        storage = client.request("GET", "/admin/settings").json()["server"]["concurrency"]["lease_storage"]
    except (PrefectHTTPStatusError, httpx.HTTPError, KeyError, TypeError, ValueError):
        return []  # a server that does not tell, as Prefect Cloud
    if not str(storage).endswith(".memory"):
        return []
    return [f"after a power cut this server would count slots of runs that are gone; start it with {LEASES_ON_DISK}"]


def _under_way(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY)),
        )
    )


def _works(run: FlowRun, deployment: DeploymentResponse) -> bool:
    """Return whether a process works in the output of a run, or may do so: its config cannot be read."""
    try:
        output = run.labels.get(OUTPUT_LABEL) or output_of(load_config(Path(str(deployment.parameters["config_path"]))))
        return is_held(str(output))
    except DefectFillError:
        return True


def _is_settled(run: FlowRun) -> bool:
    begun = run.start_time or (run.state.timestamp if run.state else None)
    return begun is not None and datetime.now(UTC) - begun >= timedelta(seconds=SETTLED_S)


def _empty(client: SyncPrefectClient, limit: str, name: str) -> list[Freed]:
    """Free the slots of a limit that no run holds, and return them, if there are any."""
    try:
        slots = client.read_global_concurrency_limit_by_name(limit).active_slots
    except ObjectNotFound:
        return []
    if not slots:
        return []
    client.update_global_concurrency_limit(limit, GlobalConcurrencyLimitUpdate(active_slots=0))
    return [Freed(name=name, slots=int(slots))]
