"""A finished run that is asked for again: what lies around its dataset is brought up to what its config asks for."""

from defectfill.operations.promotion import refusal, refuse_harmful
from defectfill.operations.storage.upload import upload_latest
from defectfill.runs.run import Run


def is_settled(run: Run) -> bool:
    """Return whether `settle` has nothing to write for a finished run."""
    return run.is_latest() == (refusal(run) is None)


def settle(run: Run) -> None:
    """Make a finished run the latest, since it is the one that was asked for last.

    To be called under `locked` unless `is_settled`. Raises DefectFillError where dataset.promote keeps it from becoming
    the latest.
    """
    refuse_harmful(run)
    if not run.is_latest():
        run.promote()
        upload_latest(run)
