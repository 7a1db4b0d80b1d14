"""What several test modules share."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from hypothesis import HealthCheck, settings

from defectfill.config.base import BaseConfig
from defectfill.config.run import RunConfig, load_config
from defectfill.io.files import write_bytes
from defectfill.io.images import file_sha256
from defectfill.operations.environment import ENVIRONMENT, set_environment
from defectfill.records.snapshot import ImageRecord

set_environment()

settings.register_profile("suite", derandomize=True, database=None, deadline=None, max_examples=60)
settings.register_profile(
    "fuzz", database=None, deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")  # `--hypothesis-profile fuzz` takes the other: new examples on every run, and many

if TYPE_CHECKING:
    from defectfill.io.s3 import Remote
    from defectfill.model.base.base import Base
    from defectfill.runs.run import Run


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real categories that DEFECTFILL_REAL_DATA names; the test is skipped without it."""
    folder = os.environ.get("DEFECTFILL_REAL_DATA")
    if not folder:
        pytest.skip("DEFECTFILL_REAL_DATA names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the small base with random weights, in the diffusers folder format."""
    from defectfill.model.pretraining.architectures import write_random_base

    return write_random_base(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def base(base_folder: Path) -> "Base":
    """Return the small base, loaded anew, so that a test may put adapters into it."""
    from defectfill.model.base.base import load_base

    return load_base(BaseConfig(model=str(base_folder), resolution=64, device="cpu"))


def with_velocity(base: "Base") -> "Base":
    """Return the base, taken for one that predicts velocity."""
    return replace(base, scheduler_config={**base.scheduler_config, "prediction_type": "v_prediction"})


TOY_CONFIG = """
category: washer
object_name: washer
seed: 3
data: {{root: {root}/data, defects: [hole, scratch], references: {{count: 2}}}}
base: {{model: {base}, resolution: 64, device: cpu}}
train: {{steps: 2, batch_size: 1, rank: 2, alpha: 2}}
generate: {{count: 5, candidates: 2, steps: 2, samples_per_batch: 2, shard_size: 2}}
gates: {{tolerance: 20, max_off_mask_fraction: 1}}
output: {{root: {root}/out}}
report: false
"""


@pytest.fixture
def toy_config(tmp_path: Path, base_folder: Path, toy_data: Path) -> Path:
    """Return a config file in an empty folder, over a copy of the toy category that a test may break."""
    return write_toy_config(tmp_path, base_folder, toy_data)


def write_toy_config(folder: Path, base_folder: Path, toy_data: Path) -> Path:
    """Write and return `folder`/toy.yaml, with the toy category in `folder`/data and the output in `folder`/out."""
    shutil.copytree(toy_data, folder / "data")
    path = folder / "toy.yaml"
    path.write_text(TOY_CONFIG.format(root=folder, base=base_folder))
    return path


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a small toy category; not to be changed."""
    from defectfill.toy import write_category

    root = tmp_path_factory.mktemp("toy")
    defects = ("hole", "scratch")
    write_category(root, "washer", seed=1, normals=6, test_normals=2, defective=4, size_px=96, defects=defects)
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, toy_data: Path) -> "Run":
    """Return a finished run over the toy category; not to be changed."""
    return run_all_steps(write_toy_config(tmp_path_factory.mktemp("finished"), base_folder, toy_data))


def copy_finished(finished: "Run", folder: Path) -> Path:
    """Copy a finished run with its data and output to `folder`; return its config there."""
    old = Path(finished.config.output.root).parent
    shutil.copytree(old, folder, dirs_exist_ok=True)
    path = folder / "toy.yaml"
    path.write_text(path.read_text().replace(str(old), str(folder)))
    return path


@pytest.fixture
def finished_config(finished: "Run", tmp_path: Path) -> Path:
    """Return a config file whose run is finished, in a folder of its own which a test may break."""
    return copy_finished(finished, tmp_path)


@pytest.fixture
def trained_config(finished_config: Path) -> Path:
    """Return a config file whose adapters are trained, and nothing is planned."""
    shutil.rmtree(finished_config.parent / "out" / "washer" / "runs")
    return finished_config


PRETRAIN_CONFIG = """
output: base
resolution: 32
pictures: {toys: {washer: 4, wood: 3}, side_px: 64}
autoencoder: {steps: 4, batch_size: 2, crop_px: 32, channels: [8, 8, 16, 16], latent_channels: 4}
denoiser: {steps: 4, batch_size: 2, channels: [32, 32, 64], text_width: 32, views: 2, closest_px: 32}
checkpoint_every: 2
device: cpu
"""


@pytest.fixture
def pretrain_path(tmp_path: Path) -> Path:
    """Return the config of a pretraining that takes seconds, alone in a folder."""
    path = tmp_path / "pretrain.yaml"
    path.write_text(PRETRAIN_CONFIG)
    return path


def run_all_steps(config_path: Path) -> "Run":
    """Run the steps of the flow, in its order, without Prefect."""
    from defectfill.adapters.train import train_adapter
    from defectfill.dataset.writer import write_dataset
    from defectfill.operations.announced import fingerprint, mark_announced
    from defectfill.operations.prepare import start_run

    run = start_run(load_config(config_path))
    if run.config.generate.uses_base:
        for defect in run.config.data.defects:
            train_adapter(run, defect)
    paint(run)
    write_dataset(run)
    mark_announced(run, fingerprint(run))
    return run


def paint(run: "Run") -> None:
    """Plan and paint until enough samples are kept."""
    from defectfill.runs.planner import plan_samples
    from defectfill.synthesis.shards import inpaint_shard

    while shards := plan_samples(run):
        for shard in shards:
            inpaint_shard(run, shard)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    """What it printed."""
    err: str
    """What it wrote to stderr, without progress."""


class CommandLine(Protocol):
    """`command_line("check", config)` calls `defectfill check config` in this process."""

    def __call__(self, *arguments: object) -> Ended: ...


@pytest.fixture
def command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Return what calls a command and returns how it ended."""
    from defectfill.cli import main

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["defectfill", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        lines = err.replace("\r", "\n").splitlines()
        told = "\n".join(line for line in lines if "it/s" not in line and "?it" not in line)
        return Ended(int(str(ended.value.code or 0)), out, told)

    return call


def put_stand_in_adapter(run: "Run", defect: str, base_folder: Path) -> None:
    """Put a file of weights, which no painter reads, where a run expects the trained adapter of a defect."""
    adapter = run.adapter_folder(defect)
    adapter.mkdir(parents=True)
    shutil.copy(next(base_folder.rglob("vae/*.safetensors")), adapter / "pytorch_lora_weights.safetensors")
    sha256 = file_sha256(adapter / "pytorch_lora_weights.safetensors")
    (adapter / "training.json").write_text(json.dumps({"adapter_sha256": sha256}))


def judge(run: "Run", sentence: str) -> None:
    """Leave an evaluation beside the dataset of a run that says one sentence of every defect."""
    from defectfill.records.evaluation import Evaluation, Verdict
    from defectfill.runs.verdict import VERDICT_FILE, rows_digest

    verdict = Verdict(verdict="helps", sentence=sentence, arm="real", best_arm="real", real_share=None, difference=None)
    evaluation = Evaluation(
        version=1, category=run.config.category, rows_digest=rows_digest(run.dataset), settings={}, detectors={},
        image_px=64, defects=dict.fromkeys(run.config.data.defects, verdict), figures=(), subsets=(), fidelity={},
        fidelity_table=(), notes=(),
    )  # fmt: skip
    write_bytes(run.folder / VERDICT_FILE, evaluation.model_dump_json().encode())


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config_for(
    root: Path, defects: Sequence[str] = ("hole",), seed: int = 0, category: str = "nut", **data: Any
) -> RunConfig:
    """Return a config of the category `nut` in `root`, with more keys for its data block."""
    return RunConfig.model_validate(
        {
            "category": category,
            "object_name": "nut",
            "seed": seed,
            "data": {"root": root, "defects": defects, **data},
            "base": {"model": "base"},
            "output": {"root": root / "out"},
        }
    )


@pytest.fixture
def nut(tmp_path: Path) -> Path:
    """Return the folder of a category without any problem, which a test may break."""
    from nut_category import write_nut_category

    return write_nut_category(tmp_path / "nut")


def references(records: Sequence[ImageRecord], defect: str = "hole") -> list[str]:
    """Return the paths of the references among `records`."""
    return [record.path for record in records if record.role == "reference" and record.defect == defect]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the process's environment with a Prefect home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, **ENVIRONMENT, "PREFECT_HOME": str(home), **more}


def free_port() -> str:
    """Return a port of this machine on which no one listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start a Prefect server with its services, yield the environment that reaches it, stop it in the end."""
    port = free_port()
    env = environment(tmp_path_factory.mktemp("server"), PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(env["PREFECT_API_URL"])
        yield env
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_server(url: str) -> None:
    """Return once the server at `url` answers; TimeoutError where it does not within minutes."""
    for _ in range(180):
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise TimeoutError(f"no Prefect server at {url}")


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Start an S3-compatible server, and give its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.HTTPError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Remote":
    """Make an empty bucket, the environment that reaches it, and a cache of this machine's own."""
    from s3fs import S3FileSystem

    from defectfill.io.s3 import Remote

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "DEFECTFILL_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    name = f"bucket-{os.urandom(6).hex()}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return Remote(f"s3://{name}")
