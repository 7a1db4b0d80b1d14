"""The run that a report is asked for, and the report where those find it who share its storage."""

from pathlib import Path

from defectfill.config.run import load_config
from defectfill.dataset.report.build import write_report
from defectfill.dataset.report.compare import write_comparison
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.s3 import is_remote, local_folder
from defectfill.operations.prepare import latest_run
from defectfill.operations.storage.fetch import fetch_dataset, fetch_latest, fetch_run, open_run
from defectfill.operations.storage.upload import upload_folder
from defectfill.runs.run import Run


def page_of(target: str | None, compare: tuple[str, str] | None) -> str:
    """Write the report of a finished run, or what differs between two, and return the path or URL of its page.

    Runs are named as in `finished_run`. Raises ConfigError unless it is either the one or the other.
    """
    if target is not None and compare is None:
        run = finished_run(target)
        page = write_report(run)
    elif target is None and compare is not None:
        before, run = (finished_run(each) for each in compare)
        page = write_comparison(before, run)
    else:
        raise ConfigError("expected either CONFIG or RUN, or --compare with two runs")
    return f"{upload_folder(page.parent, run.dataset_uri)}/{page.name}"


def finished_run(target: str) -> Run:
    """Return a finished run, with its dataset on this machine.

    target: the folder or URL of the run or of its dataset, or the YAML file of a category, whose newest finished run it
    is. Raises DataError where there is none, or another version of defectfill made it.
    """
    if is_remote(target):
        run = open_run(target.rstrip("/").removesuffix("/dataset"))
    elif Path(target).is_dir():
        run = _run_in(Path(target))
    else:
        run = _newest(Path(target))
    if is_remote(run.config.output.root):
        fetch_run(run)
        fetch_dataset(run.dataset_uri)
    if not (run.dataset / "manifest.parquet").is_file():
        raise DataError(f"{target}: expected a finished run, found one without a dataset; run it first")
    return run


def _run_in(folder: Path) -> Run:
    """Return the run in a folder, or that of the dataset there."""
    folder = folder if (folder / "run.json").is_file() else folder.resolve().parent
    if not (folder / "run.json").is_file():
        raise DataError(f"{folder}: expected the folder of a run, with run.json, found none")
    return _current(Run.open_if_current(folder), folder)


def _newest(config_path: Path) -> Run:
    config = load_config(config_path)
    fetch_latest(config)
    if not (config.category_output / "latest").is_file():
        raise DataError(f"{config_path}: expected a finished run of it, found none in {config.output.root}")
    return _current(latest_run(config), local_folder(config.output.root) / config.category)


def _current(run: Run | None, folder: Path) -> Run:
    if run is None:
        raise DataError(f"{folder}: expected a run of this version of defectfill, found another's; run again")
    return run
