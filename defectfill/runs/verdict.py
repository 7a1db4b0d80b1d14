"""The verdict that an evaluation leaves beside a run's dataset, and whether it is about the dataset as it is."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from defectfill.io.files import new_table
from defectfill.io.hashing import digest
from defectfill.records.evaluation import Evaluation
from defectfill.runs.run import Run

VERDICT_FILE = Path("evaluation/verdict.json")
"""In the folder of a run."""
VERDICT_KEY = b"defectfill.verdict"
"""In the file metadata of a manifest."""
COUNTED = ("sample_id", "image_sha256", "mask_sha256", "defect", "split", "origin", "sampling_weight")
"""Columns of the manifest that decide what an evaluation finds."""


def rows_digest(dataset: Path) -> str:
    """Return the digest of the images, labels and weights of a dataset."""
    return digest(pq.read_table(dataset / "manifest.parquet", columns=list(COUNTED)).to_pydict())


def read_verdict(run: Run, dataset: Path | None = None) -> Evaluation | None:
    """Return the verdict on a dataset, the run's own by default; None where there is none, or it is about another."""
    try:
        found = Evaluation.model_validate_json((run.folder / VERDICT_FILE).read_bytes())
        return found if found.rows_digest == rows_digest(dataset or run.dataset) else None
    except (OSError, ValueError):
        return None


def has_verdict(manifest: Path, verdict: Evaluation) -> bool:
    """Return whether a manifest's file metadata has a verdict, as `add_verdict` writes it."""
    return (pq.read_schema(manifest).metadata or {}).get(VERDICT_KEY) == _words(verdict)


def add_verdict(manifest: Path, verdict: Evaluation | None) -> None:
    """Write the verdict on a dataset, if there is one, into its manifest's file metadata: VERDICT_KEY, as JSON."""
    if verdict is None:
        return
    table = pq.read_table(manifest)
    known = table.schema.metadata or {}
    table = table.replace_schema_metadata({**known, VERDICT_KEY: _words(verdict)})
    with new_table(manifest.with_name(".judged.parquet"), table.schema) as judged:
        judged.write_table(table)
    manifest.with_name(".judged.parquet").replace(manifest)


def _words(verdict: Evaluation) -> bytes:
    words = {defect: each.model_dump() for defect, each in verdict.defects.items()}
    return json.dumps(words, sort_keys=True).encode()
