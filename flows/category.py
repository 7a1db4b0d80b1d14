"""One product category, from its references to a finished dataset. Read this second."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from defectfill.config import load_config
from defectfill.run import Run, locked
from flows.steps import ingest, inpaint_shard, sample_masks, train_adapter, write_manifest


@flow(name="synthesize-category", persist_result=False)
def synthesize_category(config_path: Path) -> Path:
    """The dataset's folder. What an earlier run has finished is found and kept."""
    config = load_config(config_path)
    with locked(config):
        run_folder = ingest(config_path)
        run = Run.at(run_folder)
        if run.is_finished():
            return run.dataset
        for defect in config.data.defects:
            train_adapter(run_folder, defect)
        while shards := sample_masks(run_folder):  # again for those that are rejected
            for shard in shards:
                inpaint_shard(run_folder, shard)
        dataset = write_manifest(run_folder)
    create_markdown_artifact(
        key=f"dataset-{config.category.lower().replace('_', '-').replace('.', '-')}",
        markdown=(dataset / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],
        description=str(dataset),
    )
    return dataset
