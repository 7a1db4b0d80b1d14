"""dataset.promote: what a dataset's verdict has to say before it becomes the latest."""

from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import DefectFillError
from defectfill.records.evaluation import EVALUATION_VERSION, Evaluation
from defectfill.runs.run import Run
from defectfill.runs.verdict import read_verdict


def needs_verdict(run: Run) -> bool:
    """Return whether a finished dataset has to be evaluated before it may become the latest."""
    return run.config.dataset.promote == "unless_harmful" and _verdict_asked_for(run) is None


def is_done(run: Run) -> bool:
    """Return whether a run's dataset is finished, and evaluated where dataset.promote asks for that."""
    return run.is_finished() and not needs_verdict(run)


def _verdict_asked_for(run: Run) -> Evaluation | None:
    """Return the verdict on a run's dataset; None where there is none, or one by other settings or older code."""
    found, settings = read_verdict(run), run.config.evaluate.model_dump(mode="json")
    return found if found and (found.version, found.settings) == (EVALUATION_VERSION, settings) else None


def finish_evaluation(run: Run) -> None:
    """Write the verdict into the dataset, and let that become the latest unless it harms.

    To be called under `locked`. Raises DefectFillError where dataset.promote keeps it from becoming the latest.
    """
    write_dataset(run)
    if run.config.dataset.promote == "unless_harmful":
        refuse_harmful(run)
        run.promote()


def refuse_harmful(run: Run) -> None:
    """Raise DefectFillError where a dataset harms and dataset.promote is `unless_harmful`."""
    verdict = _verdict_asked_for(run)
    if run.config.dataset.promote != "unless_harmful" or verdict is None or not verdict.harmful:
        return
    sentences = [verdict.defects[defect].sentence for defect in verdict.harmful]
    raise DefectFillError([*sentences, f"{run.dataset_uri}: kept, but not made the latest (dataset.promote)"])
