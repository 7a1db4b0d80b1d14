"""One product category, from its references to a finished dataset. Read this second."""

from pathlib import Path

from prefect import flow
from pydantic.json_schema import SkipJsonSchema

from defectfill.config.run import load_config
from defectfill.operations.finished import settle
from defectfill.operations.lock import StillHeld, locked
from defectfill.operations.promotion import needs_verdict
from defectfill.operations.storage.fetch import open_run
from defectfill.runs.keys import RunRecord
from defectfill.runs.run import Run
from flows.announce import announce
from flows.artifacts import progress_artifacts, show_dataset
from flows.names import category_run_name
from flows.runners import open_runner
from flows.slots import tell_output
from flows.steps import ingest, sample_masks, train_adapter, write_manifest
from flows.trials import evaluate


@flow(name="synthesize-category", flow_run_name=category_run_name, persist_result=False)
def synthesize_category(
    config_path: Path | SkipJsonSchema[RunRecord],
    count: int | None = None,
    gpu_limit: str | None = None,
    tell: bool = True,
) -> str:
    """Make a category's dataset, and return its folder or URL. What an earlier run has finished is found and kept.

    Args:
        config_path: The category's YAML file, on the machine of the worker. A process that has begun the run already
            gives its record instead, and no file is read again.
        count: Kept images per defect, in place of the file's generate.count.
        gpu_limit: Global concurrency limit of which training and painting take a slot; none if empty.
        tell: Whether consumers are told of the dataset, and Prefect's pages show it.
    """
    asked = config_path if isinstance(config_path, RunRecord) else load_config(config_path, count)
    config = asked.config if isinstance(asked, RunRecord) else asked
    with locked(config) as still_held:
        tell_output(config)
        run = open_run(ingest(asked))
        if not run.is_finished():
            _make(run, gpu_limit, still_held)
        if needs_verdict(run):
            evaluate(run, synthesize_category, gpu_limit)
        settle(run)
    if tell:
        announce(run)
        show_dataset(run)
    return run.dataset_uri


def _make(run: Run, gpu_limit: str | None, still_held: StillHeld) -> None:
    """Train, plan, paint and write what is not there yet."""
    for defect in run.config.data.defects if run.config.generate.uses_base else ():
        train_adapter(run.uri, defect, gpu_limit)
    with progress_artifacts(run.config.category), open_runner(run.uri, gpu_limit) as paint:
        while shards := sample_masks(run.uri):  # again for those that are rejected
            paint(shards)
    still_held()
    write_manifest(run.uri)
