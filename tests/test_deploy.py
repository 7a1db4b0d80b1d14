"""Deployments on a real server, run by a real worker."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import TOY_CONFIG, contents

from defectfill.config.run import load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.operations.announced import is_announced
from defectfill.operations.prepare import prepare_run
from defectfill.runs.run import Run

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

POOL = "toys"
CATEGORIES = ("washer", "Metal_nut.v2")


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, toy_data: Path) -> dict[str, Path]:
    """Write the files of two categories, to run once a year."""
    root, found = tmp_path_factory.mktemp("fleet"), {}
    for category in CATEGORIES:
        shutil.copytree(toy_data / "washer", root / "data" / category)
        text = TOY_CONFIG.format(root=root, base=base_folder).replace("category: washer", f"category: {category}")
        text += "schedule: {cron: 0 2 1 1 *, timezone: Europe/Berlin, overlap: skip}\n"
        found[category] = root / f"{category}.yaml"
        found[category].write_text(text.replace("count: 5", "count: 2, painter: paste"))  # which takes no time
    return found


@pytest.fixture(scope="module")
def worker(server: dict[str, str]) -> Iterator[dict[str, str]]:
    """Start a process worker of the pool, which it makes; give the environment that reaches its server."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    env = {**server, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        pools = f"{server['PREFECT_API_URL']}/work_pools/{POOL}"
        wait_until(lambda: is_there(pools), 120)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it would wait for a consumer that has just been started
        process.wait(timeout=60)


def defectfill(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "defectfill.cli", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def report_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what `deploy` printed, but for its warning that the tests' server keeps leases in memory."""
    *lines, warning = done.stdout.splitlines()
    assert warning.startswith("warning: after a power cut")
    return lines


def python(env: dict[str, str], code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_there(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:  # a machine under load lets it wait
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(1)


DEPLOYED = """
import json, time
from prefect import get_client
from flows.fleet import category_deployments
with get_client(sync_client=True) as client:
    deployments = category_deployments(client)
    for _ in range(120):
        scheduled = [run.deployment_id for run in client.read_flow_runs() if run.state_name == "Scheduled"]
        if all(each.id in scheduled for each in deployments):
            break
        time.sleep(0.5)
    limits = {limit.name: limit.limit for limit in client.read_global_concurrency_limits()}
    print(json.dumps([limits, {
        each.name: {
            "cron": [schedule.schedule.cron for schedule in each.schedules],
            "timezone": [schedule.schedule.timezone for schedule in each.schedules],
            "tags": sorted(each.tags),
            "overlap": each.concurrency_options.collision_strategy,
            "described": [name for name, value in each.parameter_openapi_schema["properties"].items()
                          if value.get("description")],
            "scheduled": each.id in scheduled,
        }
        for each in deployments
    }]))
"""

ITS_TIME_HAS_COME = """
import sys
from prefect import get_client
from prefect.states import Scheduled
with get_client(sync_client=True) as client:
    deployment = client.read_deployment_by_name(sys.argv[1])
    due = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    client.set_flow_run_state(min(due, key=lambda run: run.expected_start_time).id, Scheduled())
"""

MATERIALIZED = """
import json
from prefect import get_client
from prefect.events.filters import EventFilter, EventNameFilter
with get_client(sync_client=True) as client:
    wanted = EventFilter(event=EventNameFilter(name=["prefect.asset.materialization.succeeded"]))
    body = {"filter": wanted.model_dump(mode="json")}
    events = client._client.post("/events/filter", json=body).json()["events"]
print(json.dumps({event["payload"]["dataset"]: [event["resource"]["prefect.resource.id"], event["payload"]["rows"]]
                  for event in events}))
"""

FLEET = """
import json
from prefect import get_client
from prefect.deployments import run_deployment
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
run = run_deployment("synthesize-fleet/fleet", timeout=240, poll_interval=1)
with get_client(sync_client=True) as client:
    state = client.read_flow_run(run.id).state
    artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["fleet"])))
table = json.loads(max(artifacts, key=lambda artifact: artifact.created).data)
print(json.dumps([state.name, state.message, {row["category"]: row["what became of it"] for row in table}]))
"""


CONSUMER = """
import sys
from pathlib import Path
from prefect import flow

@flow
def consume(dataset: str) -> None:
    with Path("{folder}/consumed.txt").open("a") as file:
        print(dataset, file=file)

if __name__ == "__main__":
    stored = flow.from_source("{folder}", "consumer.py:consume")
    stored.to_deployment("detector", work_pool_name=sys.argv[1]).apply()
"""

CANCELLED = """
import sys, time
from pathlib import Path
import psutil
from prefect import get_client
from prefect.deployments import run_deployment
from prefect.states import Cancelling
from flows.slots import OUTPUT_LABEL
run = run_deployment(sys.argv[1], timeout=0)

def painters():
    commands = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
    return [command for command in commands if command[1:] == ["-m", "defectfill.synthesis.painter_pool", sys.argv[2]]]

def wait_until(condition):
    for _ in range(240):
        if condition():
            return
        time.sleep(0.5)
    raise TimeoutError

wait_until(lambda: len(painters()) == 2 and any(Path(sys.argv[2]).glob("shards/*/[!.]*")))
with get_client(sync_client=True) as client:
    client.set_flow_run_state(run.id, Cancelling())
    wait_until(lambda: client.read_flow_run(run.id).state_name == "Cancelled")
    wait_until(lambda: not painters())
    print(client.read_flow_run(run.id).labels[OUTPUT_LABEL])
"""


def deploy_consumer(env: dict[str, str], folder: Path) -> Path:
    """Deploy a consumer; return the file to which it adds the datasets that it is started with."""
    (folder / "consumer.py").write_text(CONSUMER.format(folder=folder))
    subprocess.run([sys.executable, "consumer.py", POOL], cwd=folder, env=env, check=True, capture_output=True)
    return folder / "consumed.txt"


def test_a_fleet_is_deployed_scheduled_run_by_a_worker_and_brought_up_to_date(
    worker: dict[str, str], configs: dict[str, Path]
) -> None:
    plain, odd = (configs[category] for category in CATEGORIES)
    consumed = deploy_consumer(worker, plain.parent)
    options = ("--work-pool", POOL, "--gpus", 2, "--then", "consume/detector")
    assert report_of(defectfill(worker, "deploy", plain, odd, *options)) == [
        "synthesize-category/washer: 0 2 1 1 * Europe/Berlin",
        "synthesize-category/Metal_nut.v2: 0 2 1 1 * Europe/Berlin",
        "synthesize-fleet/fleet: when it is started",
        "evaluate-dataset/evaluation: when it is started",
        "train-detector/detector: when it is started",
        "consume/detector: after every finished dataset",
    ]
    limits, deployed = json.loads(python(worker, DEPLOYED))
    assert limits[f"gpu-{POOL}"] == 2
    assert deployed == {
        category: {
            "cron": ["0 2 1 1 *"],
            "timezone": ["Europe/Berlin"],
            "tags": [f"category:{category}", "defectfill"],
            "overlap": "CANCEL_NEW",
            "described": ["config_path", "count", "gpu_limit", "tell"],
            "scheduled": True,
        }
        for category in CATEGORIES
    }

    python(worker, ITS_TIME_HAS_COME, "synthesize-category/Metal_nut.v2")
    made = [prepare_run(load_config(config)) for config in (odd, plain)]
    wait_until(lambda: made[0].is_finished() and is_announced(made[0]), 200)
    state, _, became = json.loads(python(worker, FLEET))
    assert state == "Completed"
    assert became == {"washer": "done", "Metal_nut.v2": "up to date"}
    wait_until(lambda: consumed.is_file() and len(consumed.read_text().splitlines()) == 2, 60)
    assert consumed.read_text().splitlines() == [str(run.dataset) for run in made]
    materialized = json.loads(python(worker, MATERIALIZED))
    for run in made:
        asset = f"defectfill://{run.config.category}/manifest.parquet"
        assert materialized[run.dataset_uri] == [asset, verify_dataset(run.dataset).rows]

    broken = next((plain.parent / "data" / "Metal_nut.v2" / "train" / "good").iterdir())
    broken.write_bytes(b"broken")
    plain.write_text(plain.read_text().replace("count: 2,", "count: 3,"))
    state, message, became = json.loads(python(worker, FLEET))
    assert state == "Failed"
    assert "Metal_nut.v2" in message
    assert became["washer"] == "done"
    assert str(broken) in became["Metal_nut.v2"]
    assert prepare_run(load_config(plain)).is_finished()

    odd.unlink()
    pruned = defectfill(worker, "deploy", plain, "--work-pool", POOL, "--prune")
    assert report_of(pruned)[-1] == f"synthesize-category/Metal_nut.v2: removed, {odd} is gone"
    limits, deployed = json.loads(python(worker, DEPLOYED))
    assert (limits[f"gpu-{POOL}"], list(deployed)) == (1, ["washer"])


POWER_CUT = """
import json, sys
from pathlib import Path
import flows.slots
from flows.deploy import deploy
from defectfill.config.run import load_config
from defectfill.operations.lock import locked, output_of
from prefect import get_client
from prefect.states import Pending, Running

config, pool, flows.slots.SETTLED_S = Path(sys.argv[1]), sys.argv[2], 0
deploy([config], pool)
with get_client(sync_client=True) as client:
    client.increment_concurrency_slots([f"gpu-{pool}"], 1, "concurrency")  # no lease is known of it any more
    deployment = client.read_deployment_by_name(f"synthesize-category/{config.stem}")
    run = client.create_flow_run_from_deployment(deployment.id, state=Pending())
    client.set_flow_run_state(run.id, Running(), force=True)
    client.increment_concurrency_slots([deployment.global_concurrency_limit.name], 1, "concurrency")
    began = load_config(config)
    with locked(began):
        spared = deploy([config], pool)
        client.update_flow_run_labels(run.id, {flows.slots.OUTPUT_LABEL: output_of(began)})
        config.write_text(config.read_text().replace("/out}", "/moved}"))
        moved = deploy([config], pool)
    taken = client.read_global_concurrency_limit_by_name(f"gpu-{pool}").active_slots
    report = deploy([config], pool)
    again = deploy([config], pool)
    left = [client.read_global_concurrency_limit_by_name(name).active_slots
            for name in (f"gpu-{pool}", deployment.global_concurrency_limit.name)]
    state = client.read_flow_run(run.id).state_name
print(json.dumps([taken, [each.freed for each in (spared, moved, again)], [each.model_dump() for each in report.freed],
                  run.name, state, left, report.warnings], default=list))
"""


def test_deploy_frees_what_runs_that_are_gone_held(worker: dict[str, str], toy_config: Path) -> None:
    config = toy_config.rename(toy_config.with_name("cut.yaml"))
    found = json.loads(python(worker, POWER_CUT, config, POOL).splitlines()[-1])
    taken, nothing, freed, run, state, left, warnings = found
    assert taken == 1
    assert nothing == [[], [], []]
    assert freed == [
        {"name": "synthesize-category/cut", "run": run, "slots": 0},
        {"name": f"gpu-{POOL}", "run": "", "slots": 1},
    ]
    assert state == "Crashed"
    assert left == [0, 0]
    assert warnings[0].endswith(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem"
    )


def test_what_cannot_be_deployed_is_said(worker: dict[str, str], configs: dict[str, Path], tmp_path: Path) -> None:
    config = configs["washer"]
    without = {name: value for name, value in worker.items() if name != "PREFECT_API_URL"}
    nowhere = {**worker, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    cases = {
        "PREFECT_API_URL: names no Prefect server": (without, [config]),
        "PREFECT_API_URL: no Prefect server answers": (nowhere, [config]),
        "--work-pool none: the server has no such pool": (worker, [config, "--work-pool", "none"]),
        "--then no/one: the server has no such deployment": (worker, [config, "--then", "no/one"]),
        "another config is called washer too": (worker, [config, shutil.copy(config, tmp_path)]),
        f"{tmp_path / 'gone.yaml'}": (worker, [config, tmp_path / "gone.yaml"]),
    }
    for message, (env, arguments) in cases.items():
        refused = defectfill(env, "deploy", "--work-pool", POOL, *arguments)
        assert refused.returncode == 2, refused.stderr
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_cancelled_run_ends_its_painters_and_is_gone_on_with(
    worker: dict[str, str], trained_config: Path, finished: Run
) -> None:
    text = trained_config.read_text() + "runner: {processes: 2}\n"
    config = trained_config.rename(trained_config.with_name("cancelled.yaml"))
    config.write_text(text.replace("count: 5", "count: 300"))
    run = prepare_run(load_config(config))
    report = json.loads(defectfill(worker, "deploy", config, "--work-pool", POOL, "--json").stdout)
    assert report["deployments"][0] == {"name": "synthesize-category/cancelled", "starts": "no schedule"}
    assert report["removed"] == []
    output = python(worker, CANCELLED, "synthesize-category/cancelled", run.folder)
    assert output.splitlines()[-1] == str(run.category_output)
    painted = len(list(run.folder.glob("shards/*/[!.]*/digest")))
    assert 0 < painted < 300
    config.write_text(text)
    assert defectfill(worker, "run", config).returncode == 0
    assert contents(run.dataset) == contents(finished.dataset)


NAMED = """
import sys
from prefect import get_client
with get_client(sync_client=True) as client:
    print(client.read_deployment_by_name(sys.argv[1]).parameters["config_path"])
"""


def test_a_link_to_a_config_is_deployed_under_its_own_name(worker: dict[str, str], toy_config: Path) -> None:
    link = toy_config.with_name("linked.yaml")
    for version in ("v3", "v4"):
        link.unlink(missing_ok=True)
        link.symlink_to(shutil.copy(toy_config, toy_config.with_name(f"{version}.yaml")))
        deployed = json.loads(defectfill(worker, "deploy", link, "--work-pool", POOL, "--json").stdout)
        assert deployed["deployments"][0]["name"] == "synthesize-category/linked"
    assert python(worker, NAMED, "synthesize-category/linked").strip() == str(link)
    refused = defectfill(worker, "deploy", link, toy_config, "--work-pool", POOL)
    assert refused.returncode == 2
    assert f"{toy_config}: {link} has the same output.root and category" in refused.stderr
