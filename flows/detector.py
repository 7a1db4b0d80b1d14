"""The detector, which datasets are made for: trained on one and tested on the real images held out."""

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from defectfill.operations.storage.fetch import fetch_dataset
from defectfill.operations.storage.upload import upload_folder
from flows.artifacts import artifact_key


@flow(name="train-detector", flow_run_name="detector of {dataset}", persist_result=False)
def train_detector(dataset: str, epochs: int = 12, side: int = 128, seed: int = 0) -> str:
    """Train a detector, and return the folder or URL of it and its report, beside the dataset.

    Args:
        dataset: Folder or URL of a finished dataset.
        epochs: Passes over the train split; the best by a validation part of it is kept.
        side: Pixels that images are brought to, a multiple of 16.
        seed: Of weights, draws and the validation part.
    """
    report, output = fit(dataset, epochs, side, seed)
    create_table_artifact(
        key=artifact_key(f"detector-{report['category']}"),
        table=[{"defect": defect, **scores} for defect, scores in report["test"].items()],
        description=output,
    )
    return output


@task(cache_policy=NO_CACHE)
def fit(dataset: str, epochs: int, side: int, seed: int) -> tuple[dict[str, Any], str]:
    """Train a detector; return its report, and the folder or URL of both, beside the dataset."""
    from defectfill.model.evaluation.detector import DetectorSettings
    from defectfill.model.evaluation.detector import train_detector as train

    folder = fetch_dataset(dataset)
    output = folder.with_name(f"detector-{epochs}-{side}-{seed}")
    report = train(folder, output, DetectorSettings(epochs=epochs, side=side, seed=seed))
    return report, upload_folder(output, beside=dataset)
