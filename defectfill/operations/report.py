"""The run that a report is asked for, and the report where those find it who share its storage."""

from contextlib import suppress
from pathlib import Path

from defectfill.config.run import load_config
from defectfill.dataset.report.build import PAGE, REPORT_FOLDER, write_report
from defectfill.dataset.report.compare import write_comparison
from defectfill.io.errors import ConfigError, DataError, DefectFillError
from defectfill.io.s3 import is_remote
from defectfill.operations.prepare import prepare_run
from defectfill.operations.storage.fetch import fetch_dataset, fetch_latest, fetch_run, open_run
from defectfill.operations.storage.layout import remote_run
from defectfill.operations.storage.upload import upload_folder
from defectfill.runs.run import RUN_FILE, Run, latest_folder

PAGE_SUFFIX = Path(PAGE).suffix


def page_of(target: str | None, compare: tuple[str, str] | None) -> str:
    """Write the report of a finished run, or what differs between two, and return the path or URL of its page.

    Runs are named as in `finished_run`. Raises ConfigError unless it is either the one or the other.
    """
    if target is not None and compare is None:
        return write_page(finished_run(target))
    if target is None and compare is not None:
        before, run = (finished_run(each) for each in compare)
        if before.folder == run.folder:
            raise ConfigError(f"--compare: expected two runs, found {run.uri} twice; name them by their folders")
        return _uploaded(write_comparison(before, run), run)
    raise ConfigError("expected either CONFIG or RUN, or --compare with two runs")


def write_page(run: Run) -> str:
    """Write the report of a finished run whose dataset is on this machine; return the path or URL of its page."""
    return _uploaded(write_report(run), run)


def lacks_page(run: Run) -> bool:
    """Return whether the config of a finished run asks for a report that was not written."""
    if not run.config.report:
        return False
    if remote := remote_run(run):
        return (remote / REPORT_FOLDER).etag(PAGE) is None
    return not (run.folder / REPORT_FOLDER / PAGE).is_file()


def _uploaded(page: Path, run: Run) -> str:
    """Return where those find the page of a report who share the run's storage, to which it is uploaded."""
    return f"{upload_folder(page.parent, run.dataset_uri)}/{page.name}"


def finished_run(target: str) -> Run:
    """Return a finished run, with its dataset on this machine.

    target: the folder or URL of the run or of its dataset, the page of its report, or the YAML file of a category: its
    own run where that has a dataset and images and base are at hand, else the category's latest. Raises DataError where
    there is none, or another version of defectfill made it.
    """
    if is_remote(target):
        run = open_run(target.rstrip("/").removesuffix("/dataset"))
    elif Path(target).is_dir() or Path(target).suffix == PAGE_SUFFIX:
        run = _run_in(Path(target))
    else:
        run = _run_of(Path(target))
    if is_remote(run.config.output.root):
        fetch_run(run)
        fetch_dataset(run.dataset_uri)
    if not (run.dataset / "manifest.parquet").is_file():
        raise DataError(f"{target}: expected a finished run, found one without a dataset; run it first")
    if run.is_marked_finished() and (damage := run.damage()):
        raise DataError(f"{target}: expected a run whose dataset is whole, found that {damage}; run again")
    return run


def _run_in(path: Path) -> Run:
    """Return the run in a folder, or that whose dataset or page a path is."""
    found = next((each for each in (path, *path.resolve().parents) if (each / RUN_FILE).is_file()), None)
    if found is None:
        raise DataError(f"{path}: expected the folder of a run, with {RUN_FILE}, or what lies in it, found neither")
    return _current(Run.open_if_current(found), found)


def _run_of(config_path: Path) -> Run:
    config = load_config(config_path)
    own: Run | None = None
    with suppress(DefectFillError):
        own = prepare_run(config, to_write=False)
    if own is None:
        fetch_latest(config)
    has_dataset = own is not None and (own.dataset / "manifest.parquet").is_file()
    folder = own.folder if own and has_dataset else latest_folder(config)
    if folder is None or not (folder / RUN_FILE).is_file():
        found = f"found none that {config.category_output / 'latest'} names"
        raise DataError(f"{config_path}: expected a finished run of it, {found}; run it first")
    return _current(Run.open_if_current(folder), folder)


def _current(run: Run | None, folder: Path) -> Run:
    if run is None:
        raise DataError(f"{folder}: expected a run of this version of defectfill, found another's; run again")
    return run
