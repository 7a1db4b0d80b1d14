"""Whether a category's dataset helps: a flow of its own, beside synthesize-category."""

from pathlib import Path

from prefect import flow
from pydantic.json_schema import SkipJsonSchema

from defectfill.config.run import load_config
from defectfill.operations.lock import locked
from defectfill.operations.prepare import prepare_run
from defectfill.operations.requirements import check_evaluation
from defectfill.runs.keys import RunRecord
from defectfill.runs.run import Run
from flows.category import synthesize_category
from flows.names import evaluation_run_name
from flows.trials import evaluate


@flow(name="evaluate-dataset", flow_run_name=evaluation_run_name, persist_result=False)
def evaluate_dataset(config_path: Path | SkipJsonSchema[RunRecord], gpu_limit: str | None = None) -> str:
    """Train detectors on a finished dataset and on what it is compared with, and return the verdicts, a line each.

    Args:
        config_path: The category's YAML file, on the machine of the worker; or the record of its run.
        gpu_limit: Global concurrency limit of which training takes a slot; none if empty.
    """
    record = config_path if isinstance(config_path, RunRecord) else prepare_run(load_config(config_path)).record
    run = Run.from_record(record)
    with locked(run.config):
        check_evaluation(run)
        evaluation = evaluate(run, synthesize_category, gpu_limit)
    return "\n".join(each.sentence for each in evaluation.defects.values())
