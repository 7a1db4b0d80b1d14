"""Shared storage: what one machine makes another one finds, and nothing half is ever taken for whole."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import torch
from conftest import TOY_CONFIG, contents, free_port, judge, run_all_steps

from defectfill.config.run import RunConfig, load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.io.errors import ConfigError, StorageError
from defectfill.io.s3 import Remote
from defectfill.operations import lock
from defectfill.operations.announced import fingerprint, is_announced, mark_announced
from defectfill.operations.finished import is_settled, settle
from defectfill.operations.garbage import collect_garbage
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run
from defectfill.operations.promotion import finish_evaluation
from defectfill.operations.report import finished_run
from defectfill.operations.review.apply import apply_review
from defectfill.operations.status import status
from defectfill.operations.storage import fetch
from defectfill.operations.storage.layout import remote_category
from defectfill.operations.storage.upload import upload_dataset
from defectfill.records.evaluation import EVALUATION_VERSION
from defectfill.runs.run import Run
from defectfill.runs.verdict import VERDICT_FILE, read_verdict

pytestmark = pytest.mark.runs


def write_shared_config(folder: Path, bucket: Remote, base_folder: Path, toy_data: Path) -> Path:
    """Write and return `folder`/toy.yaml, with the toy category and the output on storage."""
    (bucket / "images").upload(contents(toy_data), toy_data)
    httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/{bucket.url.removeprefix('s3://')}/images/washer/train/good/")
    text = TOY_CONFIG.format(root=folder, base=base_folder)
    text = text.replace(f"{folder}/data", f"{bucket.url}/images").replace(f"{folder}/out", f"{bucket.url}/made/here/")
    path = folder / "toy.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def config_path(bucket: Remote, tmp_path: Path, base_folder: Path, toy_data: Path) -> Path:
    """Return the toy config with its data and its output on storage."""
    return write_shared_config(tmp_path, bucket, base_folder, toy_data)


def on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    """Make the cache another machine's from now on."""
    monkeypatch.setenv("DEFECTFILL_CACHE", str(tmp_path / name))
    fetch.fetch_data_once.cache_clear()


def run_shared(config_path: Path) -> Run:
    """Do the steps of the flow, each with what it uploads, without Prefect."""
    from flows.steps import ingest, inpaint_shard, sample_masks, train_adapter, write_manifest

    with locked(load_config(config_path)):
        run_uri = ingest.fn(load_config(config_path))
        run = fetch.open_run(run_uri)
        if run.is_finished():
            return run
        for defect in run.config.data.defects:
            train_adapter.fn(run_uri, defect)
        while shards := sample_masks.fn(run_uri):
            for shard in shards:
                inpaint_shard.fn(run_uri, shard.name)
        write_manifest.fn(run_uri)
    return run


def in_bucket(remote: Remote) -> dict[str, bytes]:
    return {name: remote.read(name) or b"" for name in remote.files()}


def test_two_machines_make_on_storage_what_one_makes_in_folders(
    bucket: Remote, config_path: Path, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_path.write_text(config_path.read_text().replace("report: false", "report: true"))
    run = run_shared(config_path)
    dataset = Remote(run.dataset_uri)
    assert dataset.url == f"{bucket.url}/made/here/washer/runs/{finished.record.key}/dataset"
    assert in_bucket(dataset) == contents(finished.dataset)
    assert in_bucket(Remote(f"{run.uri}/report")) == contents(run.folder / "report")

    on_another_machine(monkeypatch, tmp_path)
    found = status(load_config(config_path))
    assert (found.state, found.dataset) == ("up to date", dataset.url)
    assert list(prepare_run(load_config(config_path)).folder.rglob("*.png")) == [], "images were fetched for nothing"
    assert verify_dataset(fetch.fetch_dataset(dataset.url)).rows == 26

    config_path.write_text(config_path.read_text().replace("count: 5", "count: 7"))
    assert [each.samples for each in status(load_config(config_path)).work.defects] == [2, 2]
    run = run_shared(config_path)
    assert in_bucket(Remote(f"{run.uri}/report")) == contents(run.folder / "report") != {}
    shutil.copytree(finished.config.output.root, tmp_path / "out")
    text = (Path(finished.config.output.root).parent / "toy.yaml").read_text()
    grown = tmp_path / "grown.yaml"
    grown.write_text(text.replace("count: 5", "count: 7").replace(finished.config.output.root, "out"))
    assert in_bucket(dataset) == contents(run_all_steps(grown).dataset)


def test_images_and_output_may_lie_in_one_folder(bucket: Remote, config_path: Path) -> None:
    config_path.write_text(
        config_path.read_text().replace("made/here/", "images").replace("{count: 5,", "{count: 2, painter: paste,")
    )
    run = run_shared(config_path)
    assert status(load_config(config_path)).state == "up to date"
    assert in_bucket(Remote(run.dataset_uri)) == contents(run.dataset) != {}
    assert run.snapshot_path.is_file()
    (bucket / "images/washer").remove(["test/good/000.png"])
    prepare_run(load_config(config_path))
    assert not (run.config.category_folder / "test/good/000.png").exists()
    assert run.is_finished()


def test_a_review_is_applied_to_what_lies_on_storage_and_another_machine_paints_the_others(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config_path.read_text().replace("[hole, scratch]", "[hole]").replace("count: 5", "count: 2")
    config_path.write_text(text)
    dataset = Remote(run_shared(config_path).dataset_uri)
    table = tmp_path / "review.csv"

    def painted() -> list[str]:
        rows = pq.read_table(BytesIO(dataset.read("manifest.parquet") or b"")).to_pylist()
        return [row["sample_id"] for row in rows if row["origin"] == "synthetic"]

    first = painted()
    table.write_text(f"id,decision,note\n{first[0]},reject,\n{first[1]},keep,\n")
    on_another_machine(monkeypatch, tmp_path)
    assert apply_review(finished_run(str(config_path)), table).is_finished
    assert painted() == first[1:]
    on_another_machine(monkeypatch, tmp_path, "third")
    assert status(load_config(config_path)).state == "up to date"
    assert not apply_review(finished_run(dataset.url), table, refill=True).is_finished
    on_another_machine(monkeypatch, tmp_path, "fourth")
    assert status(load_config(config_path)).state == "stale"
    run_shared(config_path)
    assert len(painted()) == len(first)
    assert first[0] not in painted()
    assert status(load_config(config_path)).state == "up to date"
    verify_dataset(fetch.fetch_dataset(dataset.url))


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [0, 4, 16])
def test_what_is_cut_short_on_one_machine_is_finished_on_another(
    config_path: Path, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Cut a run short after so many uploads, the last of which stops half-way."""
    upload, calls = Remote.upload, 0

    def half(self: Remote, names: Iterable[str], folder: Path) -> None:
        nonlocal calls
        calls += 1
        listed = list(names)
        upload(self, listed if calls <= after else listed[: len(listed) // 2], folder)
        if calls > after:
            raise Killed

    monkeypatch.setattr(Remote, "upload", half)
    with pytest.raises(Killed):
        run_shared(config_path)
    monkeypatch.setattr(Remote, "upload", upload)
    on_another_machine(monkeypatch, tmp_path)
    run = run_shared(config_path)
    assert in_bucket(Remote(run.dataset_uri)) == contents(finished.dataset)
    assert run_shared(config_path).is_finished()


def test_other_machines_know_who_was_told_of_a_dataset_and_write_what_it_lacks(
    bucket: Remote, config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_path.write_text(config_path.read_text().replace("{count: 5,", "{count: 1, painter: paste,"))
    run = run_shared(config_path)
    on_another_machine(monkeypatch, tmp_path)
    run = prepare_run(load_config(config_path))
    assert not is_announced(run)
    mark_announced(run, "of the dataset that was there before")
    assert not is_announced(run)
    mark_announced(run, fingerprint(run))
    on_another_machine(monkeypatch, tmp_path, "third")
    run = prepare_run(load_config(config_path))
    assert is_announced(run)
    assert is_settled(run)
    (bucket / "made/here/washer").write("latest", b"0123456789ab\n")
    run = prepare_run(load_config(config_path))
    assert not is_settled(run)
    settle(run)
    assert (bucket / "made/here/washer").read("latest") == f"{run.record.key}\n".encode()
    config_path.write_text(config_path.read_text().replace("report: false", "report: true"))
    run = prepare_run(load_config(config_path))
    assert not is_settled(run)
    settle(run)
    assert in_bucket(Remote(f"{run.uri}/report")) == contents(run.folder / "report") != {}
    on_another_machine(monkeypatch, tmp_path, "fourth")
    assert is_settled(prepare_run(load_config(config_path)))


def test_other_machines_know_the_verdict_and_the_latest_where_images_are_away(
    bucket: Remote, config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config_path.read_text().replace("{count: 5,", "{count: 1, painter: paste,")
    config_path.write_text(text + "dataset: {promote: unless_harmful}\n")
    run = run_shared(config_path)
    assert status(load_config(config_path)).state == "stale"
    judge(run, "it helps")
    verdict = read_verdict(run)
    assert verdict is not None
    now = {"version": EVALUATION_VERSION, "settings": run.config.evaluate.model_dump(mode="json")}
    (run.folder / VERDICT_FILE).write_text(verdict.model_copy(update=now).model_dump_json())
    finish_evaluation(run)
    upload_dataset(run)
    on_another_machine(monkeypatch, tmp_path)
    assert status(load_config(config_path)).state == "up to date"
    on_another_machine(monkeypatch, tmp_path, "third")
    config_path.write_text(config_path.read_text().replace(f"{bucket.url}/images", str(tmp_path / "away")))
    assert finished_run(str(config_path)).folder.name == run.folder.name


def test_a_lock_is_refused_while_it_is_renewed_and_taken_over_when_it_is_not(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(config_path)
    for name, seconds in {"LEASE_S": 3, "RENEWED_EVERY_S": 0.2, "POLL_EVERY_S": 0.5}.items():
        monkeypatch.setattr(lock, name, seconds)
    with locked(config) as still_held:
        with pytest.raises(ConfigError, match="another run is working in"), locked(config):
            pass
        on_another_machine(monkeypatch, tmp_path)
        with (
            pytest.raises(ConfigError, match=r"another run is working in s3://.*/washer"),
            locked(config),
        ):
            pass
        still_held()
        monkeypatch.setattr(lock, "RENEWED_EVERY_S", 3600)
        time.sleep(1)
        begun = time.monotonic()
        with locked(config) as others:
            assert 2.5 < time.monotonic() - begun < 30
            others()
            with pytest.raises(StorageError, match="the lock was lost"):
                still_held()
    assert output_files(config) == []


def test_a_lock_of_a_process_that_died_on_this_machine_does_not_hold(config_path: Path) -> None:
    config = load_config(config_path)
    code = "import os, sys; from pathlib import Path; from defectfill.config.run import load_config\n"
    code += "from defectfill.operations.lock import locked\nwith locked(load_config(Path(sys.argv[1]))): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(config_path)], timeout=60).returncode == 9
    assert output_files(config) == [lock.LOCK_FILE]
    begun = time.monotonic()
    with locked(config):
        assert time.monotonic() - begun < lock.LEASE_S / 2


def output_files(config: RunConfig) -> list[str]:
    remote = remote_category(config)
    assert remote is not None
    return list(remote.files())


def test_garbage_goes_from_storage_and_from_the_copy(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_path.write_text(config_path.read_text().replace("count: 5", "count: 1"))
    first = run_shared(config_path)
    config_path.write_text(config_path.read_text().replace("steps: 2, batch_size", "steps: 3, batch_size"))
    second = run_shared(config_path)
    dataset = in_bucket(Remote(second.dataset_uri))
    on_another_machine(monkeypatch, tmp_path)
    config = load_config(config_path)
    removed = collect_garbage(config, keep=0).removed
    adapters = [
        f"{config.output.root}/washer/adapters/{first.adapter_folder(each).name}" for each in ("hole", "scratch")
    ]
    assert removed == (first.uri, *adapters)
    assert Remote(first.uri).files() == {}
    assert in_bucket(Remote(second.dataset_uri)) == dataset
    assert len({path.split("/")[1] for path in output_files(config) if path.startswith("adapters/")}) == 2
    assert collect_garbage(config, keep=0).removed == ()


@pytest.mark.server
@pytest.mark.timeout(600)
def test_workers_of_other_machines_paint_what_one_process_paints(
    server: dict[str, str], bucket: Remote, config_path: Path, finished: Run, tmp_path: Path
) -> None:
    """Let two Dask workers with caches of their own stand for two machines that share nothing but storage."""
    trained = finished.category_output / "adapters"
    (bucket / "made/here/washer/adapters").upload(contents(trained), trained)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    config_path.write_text(config_path.read_text() + f"runner: {{kind: dask, address: '{address}', processes: 2}}\n")
    shared = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))
    env = {**server, **shared, **threads}
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", address, "--no-nanny", "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
    with ExitStack() as stack:

        def start(command: list[str], cache: str) -> None:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(
                command, env={**env, "DEFECTFILL_CACHE": str(tmp_path / cache)}, stdout=quiet, stderr=quiet
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start([*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"], "none")
        for number in (1, 2):
            start([*worker, "--local-directory", str(tmp_path / f"dask-{number}")], f"cache-{number}")
        command = [sys.executable, "-m", "defectfill.cli", "run", str(config_path)]
        env["DEFECTFILL_CACHE"] = str(tmp_path / "coordinator")
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert in_bucket(Remote(done.stdout.splitlines()[-1])) == contents(finished.dataset)
    caches = [tmp_path / f"cache-{number}" for number in (1, 2)]
    painted = [{path.parts[-3:] for path in cache.rglob("digest")} for cache in caches]
    assert all(painted)
    assert not painted[0] & painted[1]
