"""All categories: those whose dataset is not up to date run, and a table says what became of each."""

import time
from pathlib import Path
from typing import Any

from prefect import flow, get_client
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment

from defectfill.config.run import load_config
from defectfill.io.errors import DefectFillError
from defectfill.operations.announced import is_announced
from defectfill.operations.prepare import prepare_run
from defectfill.operations.promotion import is_done, refusal
from defectfill.runs.run import Run
from flows.names import fleet_run_name

TAG = "defectfill"
"""Of every category's deployment."""
PAGE = 200
"""Deployments that a server gives at once."""
POLL_SECONDS = 5


@flow(name="synthesize-fleet", flow_run_name=fleet_run_name, persist_result=False)
def synthesize_fleet(changed_only: bool = True, at_once: int = 4) -> None:
    """Run every deployed category as a child run of its own deployment.

    One that fails does not stop the others; in the end the flow fails and names it.

    Args:
        changed_only: Only those whose images or config changed since their last finished run, or of whose dataset no
            one was told yet.
        at_once: Categories that run at the same time at most.
    """
    with get_client(sync_client=True) as client:
        deployments = category_deployments(client)
        became = {each.name: category_problem(_config_path(each), changed_only) for each in deployments}
        waiting = [each for each in deployments if became[each.name] is None]
        running: dict[str, FlowRun] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                deployment = waiting.pop(0)
                running[deployment.name] = _start(deployment)
            time.sleep(POLL_SECONDS)
            for name, run in list(running.items()):
                state = client.read_flow_run(run.id).state
                if state is not None and state.is_final():
                    became[name] = "done" if state.is_completed() else f"failed: {state.name}: {state.message}"
                    del running[name]
    create_table_artifact(
        key="fleet", table=[{"category": name, "what became of it": outcome} for name, outcome in became.items()]
    )
    failed = {name: str(outcome) for name, outcome in became.items() if str(outcome).startswith("failed")}
    if failed:
        raise DefectFillError([f"{name} {outcome}" for name, outcome in failed.items()])


def category_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return the deployments of categories, by name."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=ours, limit=PAGE, offset=len(found)):
        found += page
    return sorted(found, key=lambda deployment: deployment.name)


def category_problem(config_path: Path, changed_only: bool) -> str | None:
    """Return why a category is not run: it is up to date, or its config or data is not good; None where it is run."""
    try:
        run = prepare_run(load_config(config_path))
    except DefectFillError as error:
        return f"failed: {'; '.join(error.problems)}"
    return "up to date" if changed_only and is_done(run) and _is_known(run) else None


def _is_known(run: Run) -> bool:
    """Return whether nothing more comes of a finished dataset: others were told of it, or it harms and is no latest."""
    return is_announced(run) if refusal(run) is None else not run.is_latest()


def _config_path(deployment: DeploymentResponse) -> Path:
    return Path(str(deployment.parameters["config_path"]))


def _start(deployment: DeploymentResponse) -> FlowRun:
    run: Any = run_deployment(deployment.id, timeout=0)
    return run
