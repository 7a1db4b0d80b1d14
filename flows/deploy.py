"""Deployments on a Prefect server, one per category config: they run every category on its schedule."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.automations import Automation
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.flows import EntrypointType
from prefect.schedules import Cron

from defectfill.config.run import RunConfig, load_config
from defectfill.io.errors import ConfigError
from defectfill.operations.environment import ENVIRONMENT
from defectfill.operations.reports import Deployment, DeployReport, RemovedDeployment
from flows.announce import FINISHED, resource_of
from flows.category import synthesize_category
from flows.detector import train_detector
from flows.evaluate import evaluate_dataset
from flows.fleet import TAG, category_deployments, synthesize_fleet
from flows.server import check_server, named_server
from flows.slots import free_slots, lease_warnings

FLOWS = {synthesize_fleet: "fleet", evaluate_dataset: "evaluation", train_detector: "detector"}
"""What is deployed beside the categories, with the deployments' names."""
RUN_ENVIRONMENT = {
    **{name: value for name, value in ENVIRONMENT.items() if not name.startswith("PREFECT")},
    "PREFECT_LOGGING_EXTRA_LOGGERS": "defectfill",
}
"""Environment of deployed runs: the library's log, that of painter processes too, is in the run's log."""
OVERLAP = {"queue": ConcurrencyLimitStrategy.ENQUEUE, "skip": ConcurrencyLimitStrategy.CANCEL_NEW}


def deploy(
    config_paths: Sequence[Path], work_pool: str, *, gpus: int = 1, prune: bool = False, then: str | None = None
) -> DeployReport:
    """Make or update the deployments of each category config and of the other flows, and return them.

    A deployment is called as its file, without `.yaml`. One run of it goes at a time, and of all in the pool so many
    train or paint at a time as it has `gpus`.

    prune: deployments of the pool are removed whose file is gone. then: `flow/deployment` that starts by itself for
    every dataset that is finished, with the folder as its parameter `dataset`. Slots of runs that are gone are freed.

    Raises ConfigError for a config that is not good, two of one name or one output, no server, a pool or consumer that
    is not there.
    """
    configs = _load(config_paths)
    _check_pool(work_pool)
    ours = {f"{flow.name}/{name}" for flow, name in FLOWS.items()}
    if then and then not in ours:
        _find(then)
    flows = [_deploy_flow(flow, name, work_pool) for flow, name in FLOWS.items()]
    consumer = _find(then) if then else None
    limit = f"gpu-{work_pool}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, gpus)
    categories = [_deploy_category(path, config, work_pool, limit) for path, config in configs.items()]
    started = [_start_after_datasets(then, consumer)] if then and consumer else []
    removed = _prune(work_pool) if prune else []
    with get_client(sync_client=True) as client:
        freed, warnings = free_slots(client, work_pool, limit), lease_warnings(client)
    return DeployReport(
        deployments=(*categories, *flows, *started),
        removed=tuple(removed),
        freed=tuple(freed),
        warnings=tuple(warnings),
    )


def _deploy_flow(flow: Any, name: str, work_pool: str) -> Deployment:
    """Deploy a flow that runs when it is started."""
    deployment = flow.to_deployment(name, work_pool_name=work_pool, entrypoint_type=EntrypointType.MODULE_PATH)
    deployment.apply()
    return Deployment(name=f"{flow.name}/{name}", starts="when it is started")


def _load(paths: Sequence[Path]) -> dict[Path, RunConfig]:
    """Return configs by their files' absolute paths; of a link its own, wherever that leads to later."""
    configs: dict[Path, RunConfig] = {}
    problems: list[str] = []
    for path in paths:
        try:
            configs[path.absolute()] = config = load_config(path)
            problems += [f"{path}: {problem}" for problem in _schedule_problems(config)]
        except ConfigError as error:
            problems += error.problems
    counts = Counter(path.stem for path in configs)
    problems += [f"{path}: another config is called {path.stem} too" for path in configs if counts[path.stem] > 1]
    first = {config.category_output.resolve(): path for path, config in reversed(configs.items())}
    others = {path: first[config.category_output.resolve()] for path, config in configs.items()}
    problems += [
        f"{path}: {other} has the same output.root and category" for path, other in others.items() if path != other
    ]
    if problems:
        raise ConfigError(problems)
    return configs


def _schedule_problems(config: RunConfig) -> Iterator[str]:
    """Yield a problem where Prefect does not take a schedule, before the first deployment is made."""
    if config.schedule is None:
        return
    try:
        CronSchedule(cron=config.schedule.cron, timezone=config.schedule.timezone)
    except ValueError:
        yield f"schedule: Prefect takes no {config.schedule.cron!r} in {config.schedule.timezone!r}"


def _check_pool(work_pool: str) -> None:
    """Raise ConfigError where there is no server that stays, or it has no such pool."""
    server = named_server()
    if not server:
        raise ConfigError("PREFECT_API_URL: names no Prefect server; deployments are for one that stays")
    check_server(server)
    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(work_pool)
    except ObjectNotFound as error:
        raise ConfigError(
            f"--work-pool {work_pool}: the server has no such pool; a worker makes it: "
            f"prefect worker start --pool {work_pool} --type process"
        ) from error


def _deploy_category(path: Path, config: RunConfig, work_pool: str, limit: str) -> Deployment:
    """Deploy a category, with the schedule of its config."""
    schedule = config.schedule
    overlap = OVERLAP[schedule.overlap if schedule else "queue"]
    deployment: Any = synthesize_category.to_deployment(
        path.stem,
        schedules=[Cron(schedule.cron, timezone=schedule.timezone)] if schedule else [],
        parameters={"config_path": str(path), "gpu_limit": limit},
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=overlap),
        description=f"Synthesizes {', '.join(config.data.defects)} of {config.category}.",
        tags=[TAG, f"category:{config.category}"],
        work_pool_name=work_pool,
        job_variables={"env": RUN_ENVIRONMENT},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    when = f"{schedule.cron} {schedule.timezone}" if schedule else "no schedule"
    return Deployment(name=f"{synthesize_category.name}/{path.stem}", starts=when)


def _find(consumer: str) -> UUID:
    """Return the id of a deployment by its flow's and its own name."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(consumer).id
        except (ObjectNotFound, ValueError) as error:
            raise ConfigError(
                f"--then {consumer}: the server has no such deployment; expected flow/deployment"
            ) from error


def _start_after_datasets(consumer: str, deployment_id: UUID) -> Deployment:
    """Have the server start a deployment at the event of a finished dataset."""
    name = f"defectfill: {consumer}"
    with get_client(sync_client=True) as client:
        for outdated in client.read_automations_by_name(name):
            client.delete_automation(outdated.id)
    trigger = EventTrigger(
        expect={FINISHED}, match={"prefect.resource.id": resource_of("*")}, posture=Posture.Reactive, threshold=1
    )
    start = RunDeployment(deployment_id=deployment_id, parameters={"dataset": "{{ event.payload.dataset }}"})
    automation: Any = Automation(name=name, trigger=trigger, actions=[start])
    automation.create()
    return Deployment(name=consumer, starts="after every finished dataset")


def _prune(work_pool: str) -> list[RemovedDeployment]:
    """Remove the pool's deployments whose config is gone."""
    removed = []
    with get_client(sync_client=True) as client:
        for deployment in category_deployments(client):
            path = Path(str(deployment.parameters["config_path"]))
            if deployment.work_pool_name == work_pool and not path.exists():
                client.delete_deployment(deployment.id)
                name = f"{synthesize_category.name}/{deployment.name}"
                removed.append(RemovedDeployment(name=name, config=str(path)))
    return removed
