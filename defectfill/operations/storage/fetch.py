"""Fetching of what a step needs from shared storage into the local copy."""

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
from defectfill.io.s3 import Remote, check_location, check_url, is_copy, is_remote, local_folder
from defectfill.operations.storage.layout import (
    CARD_FILE,
    DATA_FOLDERS,
    INGESTED,
    RECORD_FILES,
    files_in,
    one_at_a_time,
    remote_category,
    remote_run,
)
from defectfill.records.plan import Shard
from defectfill.records.reading import check_is_dataset
from defectfill.runs.plan import read_plan
from defectfill.runs.run import ANNOUNCED_FILE, FINISHED_FILE, REVIEW_FILE, Run, latest_folder
from defectfill.runs.shards import ROWS_FILE
from defectfill.runs.verdict import VERDICT_FILE
from defectfill.runs.whole import TABLES
from defectfill.synthesis.reuse import BATCH_FILE, DIGEST_FILE

ETAGS_FILE = ".etags.json"
"""In the local copy of a category's data: the ETag that each file was fetched with."""


def fetch_data(config: RunConfig) -> None:
    """Make the local copy of the category's images equal to storage: fetch files that differ, remove others.

    The ETags of the files that stay are written before any file changes, and all of them after, so that whoever is
    killed in between fetches what is missing the next time.
    """
    if not is_remote(config.data.root):
        return
    remote, folder = Remote(config.data.root) / config.category, config.category_folder
    with one_at_a_time(folder):
        stored = {f"{part}/{path}": etag for part in DATA_FOLDERS for path, etag in (remote / part).files().items()}
        if (etag := remote.etag(GROUPS_FILE)) is not None:
            stored[GROUPS_FILE] = etag
        if not stored:
            raise DataError(f"{remote.url}: expected the category's images, found none")
        known = json.loads((folder / ETAGS_FILE).read_bytes()) if (folder / ETAGS_FILE).is_file() else {}
        missing = [path for path, etag in stored.items() if known.get(path) != etag or not (folder / path).is_file()]
        staying = {path: etag for path, etag in stored.items() if path not in set(missing)}
        write_bytes(folder / ETAGS_FILE, json.dumps(staying).encode())
        here = {f"{part}/{path}" for part in DATA_FOLDERS for path in files_in(folder / part)}  # runs may lie beside
        for path in {*here, GROUPS_FILE} - stored.keys():
            (folder / path).unlink(missing_ok=True)
        remote.download(missing, folder)
        write_bytes(folder / ETAGS_FILE, json.dumps(stored).encode())


def fetch_run(run: Run) -> None:
    """Fetch what is known of a run, and of the newest finished one: all that is left to do can be told then.

    Of a finished run the tables come, of another one adapters, plan and shards that are not here.
    """
    output, remote = remote_category(run.config), remote_run(run)
    if output is None or remote is None:
        return
    with one_at_a_time(run.category_output):
        _mirror(output, "latest", run.category_output)
        for name in (FINISHED_FILE, REVIEW_FILE, ANNOUNCED_FILE):
            _mirror(remote, name, run.folder)
        for folder in {run.folder, latest_folder(run.config) or run.folder}:
            _fetch_missing(output / "runs" / folder.name, RECORD_FILES, folder)
        if run.is_marked_finished():
            for name in (*TABLES, CARD_FILE):
                _update(remote / "dataset", name, run.dataset)
            _update(remote, run.plan_path.name, run.folder)
            if (verdict := remote.read(str(VERDICT_FILE))) is not None:
                write_bytes(run.folder / VERDICT_FILE, verdict)
            return
        fetch_units(output / "adapters", run.category_output / "adapters", TRAINING_FILE)
        _fetch_painted(run, remote)


def _fetch_painted(run: Run, remote: Remote) -> None:
    """Fetch the plan and the shards of a run that are not here."""
    masks, planned = run.folder / "planned_masks", remote / "planned_masks"
    planned.download((path for path in planned.files() if not (masks / path).is_file()), masks)
    _fetch_missing(remote, [run.plan_path.name], run.folder)
    fetch_units(remote / "shards", run.folder / "shards", DIGEST_FILE)


def fetch_latest(config: RunConfig) -> None:
    """Fetch what says which run of a category is the newest finished one, and its record."""
    if (output := remote_category(config)) is None:
        return
    with one_at_a_time(config.category_output):
        _mirror(output, "latest", config.category_output)
        if folder := latest_folder(config):
            _fetch_missing(output / "runs" / folder.name, RECORD_FILES, folder)


def fetch_for_review(run: Run) -> None:
    """Fetch all that a run's dataset is written from, and the tables of the one that is there."""
    if (remote := remote_run(run)) is None:
        return
    fetch_data(run.config)
    with one_at_a_time(run.category_output):
        for name in (FINISHED_FILE, REVIEW_FILE):
            _mirror(remote, name, run.folder)
        _fetch_painted(run, remote)
        for name in TABLES:
            if (remote / "dataset").etag(name) is not None:
                _update(remote / "dataset", name, run.dataset)


def open_run(uri: str) -> Run:
    """Open the run at a uri, Run.uri; of one on storage its record is fetched."""
    folder = local_folder(uri)
    if is_remote(uri):
        with one_at_a_time(folder.parents[1]):
            for name in (*INGESTED, REVIEW_FILE):
                _mirror(Remote(uri), name, folder)
    return Run.at(folder)


@lru_cache(maxsize=1)
def fetch_data_once(run_uri: str) -> None:
    """Fetch the images of a run, the first time that this process is asked for them."""
    fetch_data(open_run(run_uri).config)


def fetch_for_shard(run: Run, shard: Shard) -> None:
    """Fetch what painting a shard takes and is not on this machine, and what earlier runs have painted of it."""
    output, remote = remote_category(run.config), remote_run(run)
    fetch_data_once(run.uri)
    if output is None or remote is None:
        return
    with one_at_a_time(run.category_output):
        if run.config.generate.uses_base:
            adapter = run.adapter_folder(shard.defect)
            _fetch_unit(output / "adapters" / adapter.name, adapter, TRAINING_FILE)
        _fetch_missing(remote, [BATCH_FILE], run.folder)
        if len(read_plan(run, shard.defect, shard.start, shard.stop)) < shard.stop - shard.start:  # from before it grew
            remote.download([run.plan_path.name], run.folder)
        masks = [spec.planned_mask_path for spec in read_plan(run, shard.defect, shard.start, shard.stop)]
        remote.download([path for path in masks if path and not (run.folder / path).is_file()], run.folder)
        for key in (output / "runs").folders():
            if key != run.record.key:
                other = run.folder.with_name(key)
                _fetch_missing(output / "runs" / key, [BATCH_FILE], other)
                _fetch_unit(output / "runs" / key / "shards" / shard.name, other / "shards" / shard.name, DIGEST_FILE)


@contextmanager
def remote_index(config: RunConfig) -> Iterator[Path]:
    """Give a folder with what garbage collection reads of a category's output: its runs and their adapters.

    Of an output on storage these are `latest`, training.json of each adapter, and run.json, manifest and rows of the
    shards of each run, whose folder is as old as its run.json.
    """
    output = remote_category(config)
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


def fetch_dataset(uri: str) -> Path:
    """Return the folder of the finished dataset at a uri; of one on storage what is not here is fetched.

    Raises DataError where storage has none, or one that is not finished.
    """
    try:
        location = check_location(uri)
        folder = local_folder(uri)
        if not is_remote(uri):
            check_is_dataset(folder)
            return folder
        dataset = Remote(location)
        run = Remote(check_url(dataset.url.rpartition("/")[0]))
    except ValueError as error:
        raise DataError(f"{uri}: {error}") from error
    if run.etag(FINISHED_FILE) is None:
        raise DataError(f"{uri}: expected a finished dataset, found none")
    with one_at_a_time(folder.parent):
        there = dataset.files()
        for path in set(files_in(folder)) - there.keys():
            (folder / path).unlink()
        dataset.download([path for path, etag in there.items() if not is_copy(folder / path, etag)], folder)
    return folder


def fetch_units(remote: Remote, folder: Path, proof: str) -> set[str]:
    """Fetch all folders whose proof is on storage and that are not here; return the paths of all on storage."""
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
    """Fetch a folder that is not here and whose proof, the file that is uploaded last, is on storage."""
    if not folder.exists() and remote.etag(proof) is not None:
        with new_folder(folder) as unit:
            remote.download(remote.files(), unit)


def _mirror(remote: Remote, name: str, folder: Path) -> None:
    """Make a small local file equal to that on storage; remove it where there is none."""
    content = remote.read(name)
    if content is None:
        (folder / name).unlink(missing_ok=True)
    else:
        write_bytes(folder / name, content)


def _update(remote: Remote, name: str, folder: Path) -> None:
    """Fetch a file unless the local one is known to be equal."""
    if not is_copy(folder / name, remote.etag(name)):
        remote.download([name], folder)


def _fetch_missing(remote: Remote, names: Iterable[str], folder: Path) -> None:
    """Fetch those of some small files that are on storage and not here."""
    for name in names:
        if not (folder / name).exists() and (content := remote.read(name)) is not None:
            write_bytes(folder / name, content)
