"""A category on shared storage: what a step needs is fetched into the local copy, and what it made is handed over.

With roots that are folders there is nothing to do, and every function returns at once. What is handed over counts as
there once its last file is: training.json of an adapter, `digest` of a shard, plan.parquet of a plan, finished.json of
a dataset. So whoever dies while handing over, or fetching, leaves nothing that another takes for whole.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from defectfill.adapters.files import TRAINING_FILE
from defectfill.config.run import RunConfig
from defectfill.ingest.find import GROUPS_FILE
from defectfill.io.errors import DataError
from defectfill.io.files import new_folder, write_bytes
from defectfill.io.s3 import Remote, check_url, is_copy, is_remote, local_folder
from defectfill.records.plan import Shard
from defectfill.runs.plan import read_plan
from defectfill.runs.run import FINISHED_FILE, Run, latest_folder
from defectfill.runs.shards import ROWS_FILE
from defectfill.runs.timings import TIMINGS_FILE
from defectfill.synthesis.reuse import BATCH_FILE, DIGEST_FILE

DATA_FOLDERS = ("train", "test", "ground_truth")
"""Of a category; beside them may be data.GROUPS_FILE."""
ETAGS_FILE = ".etags.json"
"""In the local copy of a category's data: the ETag that each file was fetched with."""
INGESTED = ("run.json", "snapshot.parquet")
RECORD_FILES = (*INGESTED, TIMINGS_FILE, BATCH_FILE)
"""Small files in the folder of a run."""
PROOFS = {TRAINING_FILE, DIGEST_FILE, FINISHED_FILE}
"""Files that say that their folder is whole."""
TABLES = ("manifest.parquet", "rejected.parquet", "metadata.parquet", "README.md")


def output_of(config: RunConfig) -> Remote | None:
    """The category's output on shared storage; None where it is a folder."""
    return Remote(config.output.root) / config.category if is_remote(config.output.root) else None


def _remote(run: Run) -> Remote | None:
    output = output_of(run.config)
    return output and output / "runs" / run.record.key


def fetch_data(config: RunConfig) -> None:
    """Makes the local copy of the category's images what is on storage: files that differ are fetched, others go."""
    if not is_remote(config.data.root):
        return
    remote, folder = Remote(config.data.root) / config.category, config.category_folder
    with _one_at_a_time(folder):
        there = {f"{part}/{path}": etag for part in DATA_FOLDERS for path, etag in (remote / part).files().items()}
        if (etag := remote.etag(GROUPS_FILE)) is not None:
            there[GROUPS_FILE] = etag
        if not there:
            raise DataError(f"{remote.url}: expected the category's images, found none")
        known = json.loads((folder / ETAGS_FILE).read_bytes()) if (folder / ETAGS_FILE).is_file() else {}
        missing = [path for path, etag in there.items() if known.get(path) != etag or not (folder / path).is_file()]
        whole = {path: etag for path, etag in there.items() if path not in set(missing)}
        write_bytes(folder / ETAGS_FILE, json.dumps(whole).encode())
        for path in set(_files_in(folder)) - there.keys():
            (folder / path).unlink()
        remote.download(missing, folder)
        write_bytes(folder / ETAGS_FILE, json.dumps(there).encode())


def fetch_run(run: Run) -> None:
    """Fetches what is known of a run, and of the newest finished one: all that is left to do can be told then.

    Of a finished run the tables come, of another one adapters, plan and shards that are not here.
    """
    output, remote = output_of(run.config), _remote(run)
    if output is None or remote is None:
        return
    with _one_at_a_time(run.category_output):
        _mirror(output, "latest", run.category_output)
        _mirror(remote, FINISHED_FILE, run.folder)
        for folder in {run.folder, latest_folder(run.config) or run.folder}:
            _fetch_missing(output / "runs" / folder.name, RECORD_FILES, folder)
        if run.is_marked_finished():
            for name in TABLES:
                _refresh(remote / "dataset", name, run.dataset)
            _refresh(remote, run.plan_path.name, run.folder)
            return
        _fetch_units(output / "adapters", run.category_output / "adapters", TRAINING_FILE)
        masks, planned = run.folder / "planned_masks", remote / "planned_masks"
        planned.download((path for path in planned.files() if not (masks / path).is_file()), masks)
        _fetch_missing(remote, [run.plan_path.name], run.folder)
        _fetch_units(remote / "shards", run.folder / "shards", DIGEST_FILE)


def open_run(uri: str) -> Run:
    """The run at a uri, Run.uri; of one on storage its record is fetched."""
    folder = local_folder(uri)
    if is_remote(uri):
        with _one_at_a_time(folder.parents[1]):
            for name in INGESTED:
                _mirror(Remote(uri), name, folder)
    return Run.at(folder)


@lru_cache(maxsize=1)
def _fetch_data_of(uri: str) -> None:
    fetch_data(open_run(uri).config)


def fetch_for_shard(run: Run, shard: Shard) -> None:
    """Fetches what painting a shard takes and is not on this machine, and what earlier runs have painted of it."""
    output, remote = output_of(run.config), _remote(run)
    _fetch_data_of(run.uri)
    if output is None or remote is None:
        return
    with _one_at_a_time(run.category_output):
        adapter = run.adapter_folder(shard.defect)
        _fetch_unit(output / "adapters" / adapter.name, adapter, TRAINING_FILE)
        _fetch_missing(remote, [BATCH_FILE], run.folder)
        if len(read_plan(run, shard.defect, shard.start, shard.stop)) < shard.stop - shard.start:
            remote.download([run.plan_path.name], run.folder)
        masks = [spec.planned_mask_path for spec in read_plan(run, shard.defect, shard.start, shard.stop)]
        remote.download([path for path in masks if path and not (run.folder / path).is_file()], run.folder)
        for key in (output / "runs").folders():
            if key != run.record.key:
                other = run.folder.with_name(key)
                _fetch_missing(output / "runs" / key, [BATCH_FILE], other)
                _fetch_unit(output / "runs" / key / "shards" / shard.name, other / "shards" / shard.name, DIGEST_FILE)


def upload_record(run: Run) -> None:
    """Hands over what the ingest step wrote."""
    if remote := _remote(run):
        remote.upload(INGESTED, run.folder)


def upload_adapter(run: Run, defect: str) -> None:
    """Hands over the adapter that paints a defect."""
    if output := output_of(run.config):
        adapter = run.adapter_folder(defect)
        _upload_unit(output / "adapters" / adapter.name, adapter, TRAINING_FILE)


def upload_plan(run: Run) -> None:
    """Hands over planned masks that are not there, then the plan."""
    if remote := _remote(run):
        there = (remote / "planned_masks").files()
        masks = run.folder / "planned_masks"
        (remote / "planned_masks").upload((path for path in _files_in(masks) if path not in there), masks)
        remote.upload([run.plan_path.name], run.folder)


def upload_shard(run: Run, shard: Shard) -> None:
    """Hands over a painted shard, and how many samples are painted at once where no one has yet."""
    if remote := _remote(run):
        _upload_unit(remote / "shards" / shard.name, run.shard_folder(shard), DIGEST_FILE)
        if (run.folder / BATCH_FILE).is_file():
            remote.write_if(BATCH_FILE, (run.folder / BATCH_FILE).read_bytes(), None)


def sync_shards(run: Run) -> None:
    """Fetches shards that others have painted, and hands over those that a killed run did not get to."""
    if remote := _remote(run):
        shards = run.folder / "shards"
        with _one_at_a_time(run.category_output):
            there = _fetch_units(remote / "shards", shards, DIGEST_FILE)
        for proof in shards.glob(f"[!.]*/[!.]*/{DIGEST_FILE}"):
            name = proof.parent.relative_to(shards).as_posix()
            if name not in there:
                _upload_unit(remote / "shards" / name, proof.parent, DIGEST_FILE)


def upload_dataset(run: Run) -> None:
    """Makes the dataset on storage the one that is here; last come the tables, then finished.json and `latest`."""
    output, remote = output_of(run.config), _remote(run)
    if output is None or remote is None:
        return
    remote.remove([FINISHED_FILE] if remote.etag(FINISHED_FILE) else [])
    dataset = remote / "dataset"
    there, here = dataset.files(), _files_in(run.dataset)
    dataset.remove(there.keys() - set(here))
    changed = [path for path in here if not is_copy(run.dataset / path, there.get(path))]
    dataset.upload((path for path in changed if path not in TABLES), run.dataset)
    dataset.upload((path for path in changed if path in TABLES), run.dataset)
    remote.upload(["run.json", TIMINGS_FILE, "contact_sheet.png"], run.folder)
    remote.upload([FINISHED_FILE], run.folder)
    output.upload(["latest"], run.category_output)


@contextmanager
def outline_of(config: RunConfig) -> Iterator[Path]:
    """A folder that has of the category's output at least what tells which runs there are and what they point to.

    On storage that is `latest`, and of each run and adapter the tables and the proof; a run is as old as its run.json.
    """
    output = output_of(config)
    if output is None:
        yield config.category_output
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fetch_missing(output, ["latest"], folder)
        for adapter in (output / "adapters").folders():
            _fetch_missing(output / "adapters" / adapter, [TRAINING_FILE], folder / "adapters" / adapter)
        for key in (output / "runs").folders():
            run, copy = output / "runs" / key, folder / "runs" / key
            copy.mkdir(parents=True)
            _fetch_missing(run, ["run.json", "dataset/manifest.parquet"], copy)
            rows = (path for path in (run / "shards").files() if path.endswith(f"/{ROWS_FILE}"))
            (run / "shards").download(rows, copy / "shards")
            os.utime(copy, (run.modified("run.json"),) * 2)
        yield folder


def delete_remote(remote: Remote) -> None:
    """Removes all files below, those first that say that others are whole."""
    files = remote.files()
    remote.remove(path for path in files if path.rpartition("/")[2] in PROOFS)
    remote.remove(path for path in files if path.rpartition("/")[2] not in PROOFS)


def fetch_dataset(uri: str) -> Path:
    """The folder of a finished dataset at a uri; of one on storage what is not here is fetched.

    Raises DataError where none is, or one that is not finished.
    """
    folder = local_folder(uri)
    if is_remote(uri):
        try:
            dataset = Remote(check_url(uri))
            run = Remote(check_url(dataset.url.rpartition("/")[0]))
        except ValueError as error:
            raise DataError(f"{uri}: {error}") from error
        if run.etag(FINISHED_FILE) is None:
            raise DataError(f"{uri}: expected a finished dataset, found none")
        with _one_at_a_time(folder.parent):
            there = dataset.files()
            for path in set(_files_in(folder)) - there.keys():
                (folder / path).unlink()
            dataset.download([path for path, etag in there.items() if not is_copy(folder / path, etag)], folder)
    return folder


def upload_folder(folder: Path, beside: str) -> str:
    """Hands over a folder beside the dataset at a uri; gives its uri."""
    if not is_remote(beside):
        return str(folder)
    remote = Remote(beside.rstrip("/").rpartition("/")[0]) / folder.name
    remote.upload(_files_in(folder), folder)
    return remote.url


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps other processes of this machine from fetching into a folder at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".fetch").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _files_in(folder: Path) -> list[str]:
    """Every file below a local folder but hidden ones, by its path, sorted."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def _mirror(remote: Remote, name: str, folder: Path) -> None:
    """Makes a small local file what it is on storage, or nothing."""
    content = remote.read(name)
    if content is None:
        (folder / name).unlink(missing_ok=True)
    else:
        write_bytes(folder / name, content)


def _refresh(remote: Remote, name: str, folder: Path) -> None:
    if not is_copy(folder / name, remote.etag(name)):
        remote.download([name], folder)


def _fetch_missing(remote: Remote, names: Iterable[str], folder: Path) -> None:
    """Fetches those of some small files that are there and not here."""
    for name in names:
        if not (folder / name).exists() and (content := remote.read(name)) is not None:
            write_bytes(folder / name, content)


def _fetch_units(remote: Remote, folder: Path, proof: str) -> set[str]:
    """Fetches all whole units that are not here; gives the paths of those there."""
    files = remote.files()
    there = {path.rpartition("/")[0] for path in files if path.rpartition("/")[2] == proof}
    for name in sorted(there):
        if not (folder / name).exists():
            with new_folder(folder / name) as unit:
                (remote / name).download(
                    (path.removeprefix(f"{name}/") for path in files if path.startswith(f"{name}/")), unit
                )
    return there


def _fetch_unit(remote: Remote, folder: Path, proof: str) -> None:
    if not folder.exists() and remote.etag(proof) is not None:
        with new_folder(folder) as unit:
            remote.download(remote.files(), unit)


def _upload_unit(remote: Remote, folder: Path, proof: str) -> None:
    """Hands over a folder unless a whole one of that name is there; the proof comes last."""
    if remote.etag(proof) is None:
        remote.upload((path for path in _files_in(folder) if path != proof), folder)
        remote.upload([proof], folder)
