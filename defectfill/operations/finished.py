"""A finished run that is asked for again: what lies around its dataset is brought up to what its config asks for."""

from defectfill.operations.prepare import is_written, write_run
from defectfill.operations.promotion import refusal, refuse_harmful
from defectfill.operations.report import lacks_page, write_page
from defectfill.operations.storage.fetch import fetch_dataset
from defectfill.operations.storage.upload import upload_latest, upload_record
from defectfill.runs.run import Run


def is_settled(run: Run) -> bool:
    """Return whether `settle` has nothing to write for a finished run."""
    return is_written(run) and not lacks_page(run) and run.is_latest() == (refusal(run) is None)


def settle(run: Run) -> None:
    """Write what a finished run lacks of what is asked for: its run.json, its report, and that it is the latest.

    Keys hold no paths: where data or output were moved, run.json is all that has to follow. To be called under `locked`
    unless `is_settled`. Raises DefectFillError where dataset.promote keeps it from becoming the latest.
    """
    if not is_written(run):
        write_run(run)
        upload_record(run)
    if lacks_page(run):
        fetch_dataset(run.dataset_uri)
        write_page(run)
    refuse_harmful(run)
    if not run.is_latest():
        run.promote()
        upload_latest(run)
