"""How a run begins: what a config asks for is found out, checked and written down."""

import os
from pathlib import Path
from typing import Any

from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import data_digest, ingest
from defectfill.io.errors import ConfigError, DefectFillError
from defectfill.io.files import write_bytes
from defectfill.model.base.identity import identify_base, resolve_device_kind, resolve_distance
from defectfill.operations.remote import fetch_data, fetch_run
from defectfill.records.snapshot import write_snapshot
from defectfill.runs.record import METHOD_VERSION, RunRecord
from defectfill.runs.run import Run, latest_folder


def prepare_run(config: RunConfig) -> Run:
    """The run that `config` describes. Nothing is written but the local copy of what is on shared storage.

    Raises one error with every problem of the output folder, the base model and the data's folders.
    """
    unwritable = _output_problems(config.category_output / "runs")
    errors: list[DefectFillError] = [ConfigError(unwritable)] if unwritable else []
    found: dict[str, Any] = {}
    checks = {
        "base": lambda: identify_base(config.base),
        "distance": lambda: resolve_distance(config.generate.distance),
        "device": lambda: resolve_device_kind(config.base),
        "data_digest": lambda: _digest_of_data(config),
    }
    for name, check in checks.items():
        try:
            found[name] = check()
        except DefectFillError as error:
            errors.append(error)
    if errors:
        raise type(errors[0])([problem for error in errors for problem in error.problems])
    run = Run.of(RunRecord(method_version=METHOD_VERSION, config=config, **found))
    fetch_run(run)
    return run


def _digest_of_data(config: RunConfig) -> str:
    fetch_data(config)
    return data_digest(config)


def _output_problems(runs: Path) -> list[str]:
    """Whether the folder of the runs, or the nearest one above it that exists, can be written to."""
    folder = next(path for path in (runs, *runs.parents) if path.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return []
    return [f"output.root: {folder} is not a folder that can be written to"]


def start_run(config: RunConfig) -> Run:
    """The ingest step: checks everything, then writes run.json and snapshot.parquet. Raises before it writes.

    To be called under `locked`, since the steps of a run that is under way read run.json.
    """
    run = prepare_run(config)
    snapshot = run.folder / "snapshot.parquet"
    if not snapshot.exists():
        records = ingest(config)
        write_snapshot(records, snapshot)
    write_bytes(run.folder / "run.json", run.record.model_dump_json(indent=2).encode())
    return run


def latest_run(config: RunConfig) -> Run | None:
    """Return the category's newest finished run; None where there is none, or another version of defectfill made it."""
    folder = latest_folder(config)
    if folder is None or not (folder / "run.json").is_file():
        return None
    return Run.of_this_version(folder)
