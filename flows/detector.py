"""What datasets are made for: a detector is trained on one and tested on the real images held out."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.category import artifact_key


@flow(name="train-detector", persist_result=False)
def train_detector(dataset: Path, epochs: int = 12, side: int = 128, seed: int = 0) -> Path:
    """The folder of the trained detector and its report, beside the dataset.

    Args:
        dataset: Folder of a finished dataset.
        epochs: Passes over the train split; the best by a validation part of it is kept.
        side: Pixels that images are brought to, a multiple of 16.
        seed: Of weights, draws and the validation part.
    """
    output = dataset.with_name(f"detector-{epochs}-{side}-{seed}")
    report = fit(dataset, output, epochs, side, seed)
    create_table_artifact(
        key=artifact_key(f"detector-{report['category']}"),
        table=[{"defect": defect, **scores} for defect, scores in report["test"].items()],
        description=str(output),
    )
    return output


@task(cache_policy=NO_CACHE)
def fit(dataset: Path, output: Path, epochs: int, side: int, seed: int) -> dict[str, Any]:
    """The report of a detector, which is written to `output`."""
    from defectfill.model.detector import DetectorSettings
    from defectfill.model.detector import train_detector as train

    return train(dataset, output, DetectorSettings(epochs=epochs, side=side, seed=seed))
