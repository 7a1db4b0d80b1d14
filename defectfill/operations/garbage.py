"""Garbage collection: old runs, and adapters that nothing points to any more, are removed."""

import re
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from defectfill.adapters.files import adapter_sha256_in
from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import ingest
from defectfill.io.files import damage_named, read_rows, remove_folder
from defectfill.operations.lock import output_of
from defectfill.operations.prepare import prepare_run
from defectfill.operations.reports import GarbageReport
from defectfill.operations.storage.fetch import remote_index
from defectfill.operations.storage.layout import remote_category
from defectfill.operations.storage.upload import delete_remote
from defectfill.runs.keys import KEY_LENGTH
from defectfill.runs.run import RUN_FILE, Run, latest_name
from defectfill.runs.shards import ROWS_FILE

RUN_NAME = re.compile(f"[0-9a-f]{{{KEY_LENGTH}}}")
ADAPTER_NAME = re.compile(rf"[^.].*-{RUN_NAME.pattern}", re.DOTALL)
TRAINING_NAME = re.compile(rf"\.({ADAPTER_NAME.pattern})\.work", re.DOTALL)


def collect_garbage(config: RunConfig, keep: int) -> GarbageReport:
    """Remove the category's runs but the `keep` newest, and what no run left points to; return the uris of all of it.

    That are adapters, and on this machine checkpoints of trainings that were stopped. The newest finished run and the
    one that the config asks for stay in any case. To be called under `locked`.
    """
    run, records = prepare_run(config), ingest(config)
    pinned = {run.folder.name, *(run.adapter_folder(defect, records).name for defect in config.data.defects)}
    with remote_index(config) as folder:
        staying = _newest_runs(folder, keep) | pinned | {latest_name(folder)}
        removed = _unused(folder, staying)
    trainings = _stopped_trainings(config.category_output, staying)
    for name in removed:
        if output := remote_category(config):
            delete_remote(output / name)
        if (config.category_output / name).exists():
            remove_folder(config.category_output / name)
    for training in trainings:
        remove_folder(training)
    uris = (f"{output_of(config)}/{name}" for name in removed)
    return GarbageReport(category=config.category, removed=(*uris, *map(str, trainings)))


def _runs_in(folder: Path) -> list[Path]:
    """Return the folders of a category's runs; others, such as a copy that someone made of one, are not ours."""
    return [each for each in folder.glob("runs/*/") if RUN_NAME.fullmatch(each.name)]


def _newest_runs(folder: Path, keep: int) -> set[str]:
    runs = sorted(_runs_in(folder), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    return {each.name for each in runs[:keep]}


def _unused(folder: Path, staying: set[str]) -> list[str]:
    """Return paths of runs and adapters in a category's output that can go; those with a name in `staying` stay."""
    runs = _runs_in(folder)
    removed = [each for each in runs if each.name not in staying]
    used = {sha256 for each in runs if each.name in staying for sha256 in _adapters_of(each)}
    for adapter in sorted(each for each in folder.glob("adapters/*/") if ADAPTER_NAME.fullmatch(each.name)):
        if adapter.name not in staying and adapter_sha256_in(adapter) not in used:
            removed.append(adapter)
    return [each.relative_to(folder).as_posix() for each in removed]


def _stopped_trainings(folder: Path, staying: set[str]) -> list[Path]:
    """Return the folders of trainings with which no run goes on of those whose names are in `staying`, sorted."""
    found = {path: TRAINING_NAME.fullmatch(path.name) for path in sorted(folder.glob("adapters/.*.work/"))}
    stopped = {path: name[1] for path, name in found.items() if name and name[1] not in staying}
    runs = [each for each in _runs_in(folder) if each.name in staying] if stopped else []
    wanted = {name for each in runs for name in _adapters_trained_by(each)}
    return [path for path, name in stopped.items() if name not in wanted]


def _adapters_trained_by(folder: Path) -> list[str]:
    """Return the names of the adapters of the run in a folder; of another version's none, which would train others."""
    run = Run.open_if_current(folder) if (folder / RUN_FILE).is_file() else None
    if run is None or not run.snapshot_path.is_file():
        return []
    return [run.adapter_folder(defect).name for defect in run.config.data.defects]


def _adapters_of(folder: Path) -> list[str]:
    """Return the hashes of the adapters that the dataset or the shards in a run's folder were painted with.

    Raises DataError with the file that cannot be read: it may name an adapter that is to stay.
    """
    files = [*folder.glob("dataset/manifest.parquet"), *folder.glob(f"shards/*/*/{ROWS_FILE}")]
    tables = []
    for path in files:
        with damage_named(path, f"remove {path.parent} and run again"):
            tables.append(
                read_rows(path) if path.name == ROWS_FILE else pq.read_table(path, columns=["adapter_sha256"])
            )
    return [sha256 for table in tables for sha256 in pc.unique(table["adapter_sha256"]).to_pylist()]
