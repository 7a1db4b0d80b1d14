"""The evaluation of a finished run: the sets of other painters, a task per trial, and the verdict."""

from collections.abc import Callable

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.task_runners import ThreadPoolTaskRunner

from defectfill.io.markdown import plain
from defectfill.operations.announced import fingerprint, is_announced, mark_announced
from defectfill.operations.prepare import prepare_run
from defectfill.operations.promotion import finish_evaluation
from defectfill.operations.storage.fetch import fetch_dataset, fetch_for_review
from defectfill.operations.storage.upload import upload_dataset
from defectfill.records.evaluation import Evaluation, Trial
from defectfill.runs.run import Run
from flows.artifacts import artifact_key
from flows.runners import WAITING, run_in_window
from flows.steps import gpu, step


def evaluate(run: Run, make: Callable[..., str], gpu_limit: str | None = None) -> Evaluation:
    """Try out all arms that are not tried yet, and write the verdict; to be called under the category's lock.

    make: the flow of a category, for the sets of other painters, of which no one is told. Raises DefectFillError where
    the dataset harms and dataset.promote is `unless_harmful`.
    """
    from defectfill.model.evaluation.trials import thread_share  # these import torch, which no deployment needs
    from defectfill.operations.evaluation import Evaluator

    fetch_for_review(run)
    fetch_dataset(run.dataset_uri)
    evaluator = Evaluator(run)
    for config in evaluator.other_painters:
        make(prepare_run(config).record, tell=False)

    workers, bench = run.config.evaluate.workers, evaluator.bench  # which is made once, for all threads
    take_share = thread_share(workers)

    @step(name="try-detector", task_run_name="try {trial}")
    def try_out(trial: str) -> None:
        take_share()
        with gpu(gpu_limit):
            evaluator.try_out(Trial.named(trial))

    trials = ({"trial": trial.name} for trial in evaluator.trials)
    if workers == 1:
        for trial in trials:
            try_out(**trial)
    else:
        with ThreadPoolTaskRunner(workers) as threads:
            try:
                for _ in run_in_window(threads, try_out, trials, WAITING * workers):
                    pass
            except BaseException:
                bench.stopped.set()
                raise
    evaluation = evaluator.conclude()
    _show(run, evaluation, (evaluator.folder / "table.md").read_text(encoding="utf-8"))
    known = is_announced(run)
    try:
        finish_evaluation(run)
    finally:
        upload_dataset(run)
    if known:  # a verdict in its manifest makes no other dataset of it
        mark_announced(run, fingerprint(run))
    return evaluation


def _show(run: Run, evaluation: Evaluation, page: str) -> None:
    """Make artifacts of the verdicts and of all figures."""
    key = artifact_key(f"evaluation-{run.config.category}")
    table = [
        {"defect": defect, "verdict": each.verdict, "best arm": each.best_arm, "in words": each.sentence}
        for defect, each in evaluation.defects.items()
    ]
    create_table_artifact(key=f"{key}-verdict", table=table, description=plain(run.dataset_uri))
    create_markdown_artifact(key=key, markdown=page, description=plain(run.dataset_uri))
