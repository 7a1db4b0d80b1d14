"""The artifacts that Prefect's pages show of a run, beside its state."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from pydantic import BaseModel, ValidationError

from defectfill.dataset.summary import defect_summaries, funnel
from defectfill.io.embedded import data_uri
from defectfill.io.names import safe_name
from defectfill.io.progress import listening
from defectfill.runs.run import Run

MOST_BYTES = 128 * 2**10
"""Of the contact sheet on a page: Prefect keeps it in its database, and the list of artifacts loads it."""
VERDICT_FILE = "evaluation/verdict.json"
REPORT_FILE = "report/index.html"
"""In the folder of a run, where they were made."""


class _Verdict(BaseModel):
    verdict: str


class _Verdicts(BaseModel):
    """What is read of an evaluation's verdict."""

    defects: dict[str, _Verdict]


def artifact_key(name: str) -> str:
    """Return a name as Prefect takes keys of artifacts: lower-case letters, digits and dashes; no two names alike."""
    return re.sub("[^a-z0-9]", "-", (name if name.isascii() else safe_name(name)).lower())


@contextmanager
def progress_artifacts(category: str) -> Iterator[None]:
    """Make an artifact for every progress bar of the library that runs for long inside the context."""
    artifacts: dict[str, UUID] = {}

    def show(label: str, share: float) -> None:
        if label in artifacts:
            update_progress_artifact(artifacts[label], progress=100 * share)
        else:
            artifacts[label] = create_progress_artifact(
                progress=100 * share, key=artifact_key(f"{category}-{label}"), description=f"{category}: {label}"
            )

    with listening(show):
        yield


def show_dataset(run: Run) -> None:
    """Show a finished dataset on the page of the flow's run: what became of its samples, pictures, where all lies."""
    category = run.config.category
    create_table_artifact(
        key=artifact_key(f"samples-{category}"), table=samples_table(run), description=f"{category}: samples"
    )
    # Of what Prefect's pages show pictures by, an image's address alone may hold the picture itself: they take it out
    # of Markdown.
    create_image_artifact(
        key=artifact_key(f"contact-sheet-{category}"),
        image_url=data_uri(run.folder / "contact_sheet.png", MOST_BYTES),
        description=f"{category}: {run.uri}/contact_sheet.png",
    )
    create_markdown_artifact(
        key=artifact_key(f"dataset-{category}"), markdown=dataset_page(run), description=run.dataset_uri
    )


def samples_table(run: Run) -> list[dict[str, Any]]:
    """Return a row per defect: how many samples were planned, rejected and kept, and the verdict where there is one."""
    verdicts = _verdicts(run)
    rows = funnel(defect_summaries(run, run.dataset))
    return [{**row, **({"verdict": verdicts.get(row["defect"], "")} if verdicts else {})} for row in rows]


def dataset_page(run: Run) -> str:
    """Return the dataset's card in Markdown, after where dataset and report lie."""
    report = [f"- Report: `{run.uri}/{REPORT_FILE}`"] if (run.folder / REPORT_FILE).is_file() else []
    card = (run.dataset / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    return "\n".join([f"- Dataset: `{run.dataset_uri}`", *report, "", card])


def _verdicts(run: Run) -> dict[str, str]:
    """Return what an evaluation said of each defect; where the dataset was written anew since, that is said too."""
    path = run.folder / VERDICT_FILE
    if not path.is_file():
        return {}
    is_older = path.stat().st_mtime < (run.dataset / "manifest.parquet").stat().st_mtime
    try:
        found = _Verdicts.model_validate_json(path.read_bytes()).defects
    except ValidationError:
        return {}
    return {defect: f"{each.verdict}{', of an earlier dataset' if is_older else ''}" for defect, each in found.items()}
