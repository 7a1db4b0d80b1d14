"""The beginning of a run: what a config asks for is found out, checked and written down."""

from collections.abc import Callable, Sequence
from typing import Any

from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import data_digest, ingest
from defectfill.io.errors import ConfigError, DefectFillError
from defectfill.io.files import unwritable, write_bytes
from defectfill.model.base.identity import identify_base, resolve_device_kind, resolve_distance
from defectfill.operations.storage.fetch import fetch_data, fetch_run
from defectfill.operations.storage.layout import DATA_FOLDERS
from defectfill.records.snapshot import ImageRecord, write_snapshot
from defectfill.runs.keys import METHOD_VERSION, NO_BASE, RunRecord
from defectfill.runs.run import RUN_FILE, Run, latest_folder


def prepare_run(config: RunConfig, *, to_write: bool = True) -> Run:
    """Return the run that `config` describes. Nothing is written but the local copy of what is on shared storage.

    to_write: whether anything is to be written later, so that the output has to allow it.

    Raises one error with every problem of the output folder, the base model and the data's folders.
    """
    unwritable = _output_problems(config) if to_write else []
    errors: list[DefectFillError] = [ConfigError(unwritable)] if unwritable else []
    found: dict[str, Any] = {}
    checks: dict[str, Callable[[], Any]] = {"data_digest": lambda: _digest_of_data(config)}
    if config.generate.uses_base:
        checks = {
            "base": lambda: identify_base(config.base),
            "distance": lambda: resolve_distance(config.generate.distance),
            "device": lambda: resolve_device_kind(config.base),
            **checks,
        }
    else:
        found = {"base": NO_BASE, "distance": "pixels", "device": ""}
    for name, check in checks.items():
        try:
            found[name] = check()
        except DefectFillError as error:
            errors.append(error)
    if errors:
        raise type(errors[0])([problem for error in errors for problem in error.problems])
    run = Run.from_record(RunRecord(method_version=METHOD_VERSION, config=config, **found))
    fetch_run(run)
    return run


def _digest_of_data(config: RunConfig) -> str:
    fetch_data(config)
    return data_digest(config)


def _output_problems(config: RunConfig) -> list[str]:
    """Return a problem where the output lies among the images, or its folder of runs cannot be written to."""
    output, images = config.category_output, (config.category_folder / name for name in DATA_FOLDERS)
    if among := next((folder for folder in images if output.is_relative_to(folder)), None):
        return [f"output.root: expected a folder that is not among the category's images, found one in {among}"]
    folder = unwritable(output / "runs")
    return [f"output.root: {folder} is not a folder that can be written to"] if folder else []


def start_run(config: RunConfig, checked: Run | None = None, records: Sequence[ImageRecord] = ()) -> Run:
    """Write run.json and snapshot.parquet of the run that `config` describes, and return it.

    checked, records: the run as it was prepared, and its real images as they were read since. They are taken unless
    the images have changed on the way; without them everything is prepared and read here.

    To be called under `locked`, since the steps of a run that is under way read run.json. Raises before it writes.
    """
    if checked is not None and data_digest(config) == checked.record.data_digest:
        return write_run(checked, records)
    return write_run(prepare_run(config))


def restart_run(record: RunRecord) -> Run:
    """Write run.json of a run that this process has started, and return it; started anew where its snapshot is gone.

    To be called under `locked`.
    """
    run = Run.from_record(record)
    return write_run(run) if run.snapshot_path.exists() else start_run(record.config)


def write_run(run: Run, records: Sequence[ImageRecord] = ()) -> Run:
    """Write run.json of a run, and its snapshot where there is none, of its real images as they were read; return it.

    To be called under `locked`.
    """
    if not run.snapshot_path.exists():
        write_snapshot(records or ingest(run.config), run.snapshot_path)
    write_bytes(run.folder / RUN_FILE, _content(run))
    return run


def is_written(run: Run) -> bool:
    """Return whether run.json of a run that was started says what its record says now."""
    return (run.folder / RUN_FILE).read_bytes() == _content(run)


def _content(run: Run) -> bytes:
    return run.record.model_dump_json(indent=2).encode()


def latest_run(config: RunConfig) -> Run | None:
    """Return the category's newest finished run; None where there is none, or another version of defectfill made it."""
    folder = latest_folder(config)
    if folder is None or not (folder / RUN_FILE).is_file():
        return None
    return Run.open_if_current(folder)
