"""dataset.promote: what a dataset's verdict has to say before it becomes the latest."""

from pathlib import Path

from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import DataError, DefectFillError
from defectfill.operations.storage.layout import remote_run
from defectfill.operations.storage.upload import upload_latest
from defectfill.records.evaluation import EVALUATION_VERSION, Evaluation
from defectfill.runs.run import FINISHED_FILE, Run
from defectfill.runs.verdict import has_verdict, read_verdict


def needs_verdict(run: Run) -> bool:
    """Return whether a finished dataset has to be evaluated before it may become the latest.

    So has one whose manifest lacks the verdict that lies beside it: the merge of that was cut short.
    """
    if run.config.dataset.promote != "unless_harmful":
        return False
    verdict = _verdict_asked_for(run)
    return verdict is None or not has_verdict(run.dataset / "manifest.parquet", verdict)


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


def refusal(run: Run) -> Evaluation | None:
    """Return the verdict that keeps a dataset from being the latest, since it harms; None where nothing does."""
    verdict = _verdict_asked_for(run) if run.config.dataset.promote == "unless_harmful" else None
    return verdict if verdict and verdict.harmful else None


def refuse_harmful(run: Run) -> None:
    """Raise DefectFillError where there is a refusal; the latest it is no longer then, so `locked` is to be held."""
    if (verdict := refusal(run)) is None:
        return
    said = "kept, but not made the latest (dataset.promote)"
    if run.is_latest():
        now = _withdraw(run)
        said = f"kept, but no longer the latest (dataset.promote): {f'that is {now.uri} again' if now else 'none is'}"
    sentences = [verdict.defects[defect].sentence for defect in verdict.harmful]
    raise DefectFillError([*sentences, f"{run.dataset_uri}: {said}"])


def _withdraw(run: Run) -> Run | None:
    """Make the newest other dataset that may be it the latest in place of a run's, and return it; or remove `latest`.

    Of an output on storage those come into question that are on this machine too.
    """
    marks = [path for path in run.category_output.glob(f"runs/*/{FINISHED_FILE}") if path.parent != run.folder]
    marks.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    other = next((each for path in marks if (each := _opened(path.parent)) and _may_be_latest(each)), None)
    if other:
        other.promote()
    else:
        (run.category_output / "latest").unlink()
    upload_latest(run)
    return other


def _opened(folder: Path) -> Run | None:
    """Return the run in a folder; None where it is damaged, of another version of defectfill, or a copy of a run."""
    try:
        run = Run.open_if_current(folder)
    except DataError:
        return None
    return run if run and run.record.key == folder.name else None


def _may_be_latest(run: Run) -> bool:
    """Return whether a dataset is whole, also on storage, and is not known to harm."""
    remote, verdict = remote_run(run), read_verdict(run)
    stored = remote is None or remote.etag(FINISHED_FILE) is not None
    return stored and is_done(run) and not (verdict and verdict.harmful)
