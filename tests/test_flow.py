"""The flow through Prefect itself: its temporary server, and a server with a schedule."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import contents, environment

from defectfill.runs.run import Run

pytestmark = pytest.mark.server


def children_s() -> float:
    """Return the processor time in s of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_run_command_makes_the_dataset_through_prefect(finished: Run, toy_config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "defectfill.cli", "run", str(toy_config)]
    done = subprocess.run(command, env=environment(tmp_path / "home"), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    dataset = Path(done.stdout.splitlines()[-1])
    assert contents(dataset) == contents(finished.dataset)
    assert "inpaint scratch: 100%" in done.stderr
    begin = children_s()
    again = subprocess.run(command, env=environment(tmp_path / "none"), capture_output=True, text=True, timeout=240)
    assert again.stdout == done.stdout
    assert children_s() - begin < 10
    assert not (tmp_path / "none").exists(), "Prefect was started for nothing"


SCHEDULED = """
import sys, time
from prefect import get_client
from flows.category import synthesize_category

synthesize_category.to_deployment("toy", cron="0 2 * * 1", parameters={"config_path": sys.argv[1]}).apply()
with get_client(sync_client=True) as client:
    for _ in range(180):
        due = [run for run in client.read_flow_runs() if run.state_name == "Scheduled"]
        runs = [run for run in due if run.parameters["config_path"] == sys.argv[1]]
        if runs:
            break
        time.sleep(0.5)
print(len(runs))
"""


def test_a_scheduled_deployment_gets_a_scheduled_run(server: dict[str, str], toy_config: Path) -> None:
    command = [sys.executable, "-c", SCHEDULED, str(toy_config)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


RETRIED = """
import sys, time
from pathlib import Path
from prefect import flow, get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from safetensors.torch import load_file, save_file
from defectfill.config.run import load_config
from defectfill.io.errors import DefectFillError
from defectfill.operations.prepare import start_run
from flows.steps import train_adapter

@flow
def attempts(run_uri: str) -> int:
    state = train_adapter(run_uri, "hole", return_state=True)
    print(repr(state.result(raise_on_failure=False)), file=sys.stderr)
    with get_client(sync_client=True) as client:
        own = TaskRunFilter(id=TaskRunFilterId(any_=[state.state_details.task_run_id]))
        for _ in range(120):  # the server hears of tasks, and then of their states, by events, a little later
            runs = client.read_task_runs(task_run_filter=own)
            if runs and runs[0].state and runs[0].state.is_final():
                return runs[0].run_count
            time.sleep(0.5)

run = start_run(load_config(Path(sys.argv[1])))
reference = next(record for record in run.snapshot() if record.role == "reference" and record.defect == "hole")
image = run.config.category_folder / reference.path
content = image.read_bytes()
image.write_bytes(b"broken")
broken_image = attempts(run.uri)
image.write_bytes(content)
weights = Path(run.config.base.model) / "unet" / "diffusion_pytorch_model.safetensors"
save_file({name: tensor * float("nan") for name, tensor in load_file(weights).items()}, weights)
print(broken_image, attempts(run.uri))
"""


def test_a_failing_model_is_tried_again_and_a_broken_image_is_not(
    server: dict[str, str], toy_config: Path, base_folder: Path
) -> None:
    base = shutil.copytree(base_folder, toy_config.parent / "base")
    toy_config.write_text(toy_config.read_text().replace(str(base_folder), str(base)))
    command = [sys.executable, "-c", RETRIED, str(toy_config)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "DataError" in done.stderr
    assert "ModelError" in done.stderr
    assert done.stdout.split() == ["1", "2"]


SHOWN = """
import sys
from pathlib import Path
import defectfill.io.progress
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.runtime import flow_run
from defectfill.io.progress import progress
from defectfill.runs.run import Run
from flows.artifacts import progress_artifacts, show_dataset
from flows.category import synthesize_category

run = Run.at(Path(sys.argv[1]))
defectfill.io.progress.TOLD_EVERY_S = 0

@flow
def work():
    with progress_artifacts("Metal_nut.v2"):
        list(progress(range(4), "inpaint hole"))
    show_dataset(run)
    return flow_run.id

worked = work()
synthesize_category(run.record)
keys = ["metal-nut-v2-inpaint-hole", "samples-washer", "contact-sheet-washer", "dataset-washer"]
with get_client(sync_client=True) as client:
    for key in keys:
        made = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
        (artifact,) = (each for each in made if str(each.flow_run_id) == worked)  # other tests use the server too
        print(artifact.type, str(artifact.data)[:22], artifact.description)
    again = {each.id for each in client.read_flow_runs() if each.name == "washer: 5 of hole, scratch"}
    print(bool(again & {each.flow_run_id for each in made}))
"""


def test_a_run_shows_on_prefects_pages_what_takes_long_and_what_it_made(server: dict[str, str], finished: Run) -> None:
    command = [sys.executable, "-c", SHOWN, str(finished.folder)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "progress 100 Metal_nut.v2: inpaint hole",
        'table [{"defect": "hole", "p washer: samples',
        f"image data:image/webp;base64 washer: {finished.folder}/contact_sheet.png",
        f"markdown {f'- Dataset: `{finished.dataset}'[:22]} {finished.dataset}",
        "True",
    ]


READ_ONCE = """
import json, sys
from collections import Counter
from pathlib import Path
import defectfill
import defectfill.ingest.inspect as inspect
from defectfill.runs.run import Run
from flows.category import synthesize_category

config_path, decoded, read_image = Path(sys.argv[1]), Counter(), inspect.read_image
text = config_path.read_text()

def counting(path):
    config_path.write_text("edited")
    decoded[str(path)] += 1
    return read_image(path)

inspect.read_image = counting
commanded = defectfill.run_category(defectfill.load_config(config_path))
config_path.write_text(text.replace("candidates: 2", "candidates: 1"))
deployed = synthesize_category(config_path)
print(json.dumps([commanded, Run.at(Path(deployed).parent).config.generate.candidates, decoded]))
"""


def test_a_run_reads_its_config_once_and_each_real_image_once(
    server: dict[str, str], toy_config: Path, finished: Run
) -> None:
    command = [sys.executable, "-c", READ_ONCE, str(toy_config)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    commanded, candidates, decoded = json.loads(done.stdout)
    assert contents(Path(commanded)) == contents(finished.dataset)
    assert candidates == 1
    assert toy_config.read_text() == "edited"
    runs = 2
    assert decoded == {str(toy_config.parent / "data/washer" / each.path): runs for each in finished.snapshot()}


TOLD = """
import sys, time
from pathlib import Path
import defectfill
from prefect import get_client
from prefect.events.filters import EventFilter, EventNameFilter
from flows.announce import FINISHED

config = defectfill.load_config(Path(sys.argv[1]))

def told():
    body = {"filter": EventFilter(event=EventNameFilter(name=[FINISHED])).model_dump(mode="json")}
    with get_client(sync_client=True) as client:
        events = client._client.post("/events/filter", json=body).json()["events"]
    return sum(event["payload"]["dataset"] == dataset for event in events)

dataset = defectfill.run_category(config)
for _ in range(60):  # the server hears of events a little later
    if told():
        break
    time.sleep(0.5)
defectfill.run_category(config)
print(told())
"""


def test_a_run_that_died_before_it_told_of_its_dataset_leaves_that_to_the_next(
    server: dict[str, str], finished: Run, toy_config: Path
) -> None:
    copy = shutil.copytree(finished.category_output, toy_config.parent / "out" / "washer")
    (copy / "runs" / finished.folder.name / "announced").unlink()
    command = [sys.executable, "-c", TOLD, str(toy_config)]
    done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


EVALUATED = """
evaluate: {arms: [real_augmented, real_paste, mixed_50], detectors: [unet], seeds: 1, steps: 2, checks: 1, workers: 2,
  batch_size: 2, crop_px: 32, features: vae}
dataset: {promote: unless_harmful}
"""


def test_a_run_ends_with_its_evaluation_where_promotion_asks_for_it(
    server: dict[str, str], finished: Run, finished_config: Path
) -> None:
    (finished_config.parent / "out" / "washer" / "latest").unlink()
    finished_config.write_text(finished_config.read_text() + EVALUATED)

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "defectfill.cli", *arguments, str(finished_config)]
        done = subprocess.run(command, env=server, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done

    dataset = Path(call("run").stdout.splitlines()[-1])
    assert dataset.parent.name == finished.folder.name
    assert (dataset.parents[2] / "latest").read_text() == f"{finished.folder.name}\n"
    assert "hole: not trained: " in (dataset / "README.md").read_text()
    trials = sorted(path.name for path in (dataset.parent / "evaluation" / "trials").iterdir())
    assert trials == ["mixed_50-unet-0", "real_augmented-unet-0", "real_paste-unet-0"]
    (paste,) = (dataset.parent / "evaluation").rglob("finished.json")
    assert not paste.with_name("announced").exists()
    before = contents(dataset)
    assert "| real_paste" in call("evaluate").stdout
    assert contents(dataset) == before
