"""One product category, from its references to a finished dataset. Read this second."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from defectfill.config import load_config
from defectfill.run import Run, locked
from flows.announce import announce
from flows.runners import open_runner
from flows.steps import ingest, sample_masks, train_adapter, write_manifest


@flow(name="synthesize-category", persist_result=False)
def synthesize_category(config_path: Path, count: int | None = None, gpu_limit: str | None = None) -> Path:
    """The dataset's folder. What an earlier run has finished is found and kept.

    Args:
        config_path: The category's YAML file, on the machine of the worker.
        count: Kept images per defect, in place of the file's generate.count.
        gpu_limit: Global concurrency limit of which training and painting take a slot; none if empty.
    """
    config = load_config(config_path, count)
    with locked(config):
        run_folder = ingest(config_path, count)
        run = Run.at(run_folder)
        if run.is_finished():
            return run.dataset
        for defect in config.data.defects:
            train_adapter(run_folder, defect, gpu_limit)
        with open_runner(run_folder, gpu_limit) as paint:
            while shards := sample_masks(run_folder):  # again for those that are rejected
                paint(shards)
        dataset = write_manifest(run_folder)
    announce(run)
    create_markdown_artifact(
        key=artifact_key(f"dataset-{config.category}"),
        markdown=(dataset / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],
        description=str(dataset),
    )
    return dataset


def artifact_key(name: str) -> str:
    """A name as Prefect takes keys of artifacts: lower-case letters, digits and dashes."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
