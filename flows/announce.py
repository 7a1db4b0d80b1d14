"""The news of a finished dataset, for other flows."""

from collections import Counter
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from defectfill.io.names import safe_name
from defectfill.operations.announced import fingerprint, is_announced, mark_announced
from defectfill.runs.run import Run

FINISHED = "defect-dataset.finished"
"""The event; its resource is `defect-dataset.<category>`, its payload dataset_facts."""


def announce(run: Run) -> None:
    """Tell of a finished dataset unless that was done: materialize its manifest's asset, with facts, emit the event."""
    if is_announced(run):
        return
    facts = dataset_facts(run)
    asset = Asset(
        key=f"defectfill://{safe_name(run.config.category)}/manifest.parquet",
        properties=AssetProperties(name=f"{run.config.category} defects", description=run.dataset_uri),
    )

    @materialize(asset, name="announce", cache_policy=NO_CACHE)
    def tell() -> None:
        add_asset_metadata(asset, facts)

    tell()
    emit_event(FINISHED, resource={"prefect.resource.id": resource_of(run.config.category)}, payload=facts)
    mark_announced(run, facts["fingerprint"])


def resource_of(category: str) -> str:
    """Return the id by which events name the dataset of a category."""
    return f"defect-dataset.{category}"


def dataset_facts(run: Run) -> dict[str, Any]:
    """Return where a finished dataset is and what is in it, with a fingerprint that tells whether it has been seen."""
    manifest, rejected = run.dataset / "manifest.parquet", run.dataset / "rejected.parquet"
    made = pq.read_table(manifest, columns=["defect"], filters=pc.field("origin") == "synthetic")["defect"]
    reasons = pq.read_table(rejected, columns=["reason"])["reason"]
    return {
        "category": run.config.category,
        "dataset": run.dataset_uri,
        "run": run.record.key,
        "rows": pq.read_metadata(manifest).num_rows,
        "synthetic": dict(Counter(made.to_pylist())),
        "rejected": dict(Counter(reasons.to_pylist())),
        "fingerprint": fingerprint(run),
    }
