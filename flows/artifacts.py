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

from defectfill.dataset.summary import defect_summaries, funnel
from defectfill.io.embedded import data_uri
from defectfill.io.markdown import code, plain
from defectfill.io.names import safe_name
from defectfill.io.progress import listening
from defectfill.runs.run import Run
from defectfill.runs.verdict import read_verdict

MOST_BYTES = 128 * 2**10
"""Of the contact sheet on a page: Prefect keeps it in its database, and the list of artifacts loads it."""
REPORT_FILE = "report/index.html"
"""In the folder of a run."""


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
                progress=100 * share, key=artifact_key(f"{category}-{label}"), description=plain(f"{category}: {label}")
            )

    with listening(show):
        yield


def show_dataset(run: Run) -> None:
    """Show a finished dataset on the page of the flow's run: what became of its samples, pictures, where all lies."""
    category = run.config.category
    create_table_artifact(
        key=artifact_key(f"samples-{category}"), table=samples_table(run), description=f"{plain(category)}: samples"
    )
    sheet = run.folder / "contact_sheet.png"
    # Of what Prefect's pages show pictures by, an image's address alone may hold the picture itself: they take it out
    # of Markdown.
    if sheet.is_file():  # of a dataset that was made on another machine it lies on storage
        create_image_artifact(
            key=artifact_key(f"contact-sheet-{category}"),
            image_url=data_uri(sheet, MOST_BYTES),
            description=plain(f"{category}: {run.uri}/{sheet.name}"),
        )
    create_markdown_artifact(
        key=artifact_key(f"dataset-{category}"), markdown=dataset_page(run), description=plain(run.dataset_uri)
    )


def samples_table(run: Run) -> list[dict[str, Any]]:
    """Return a row per defect: how many samples were planned, rejected and kept, and the verdict where there is one."""
    evaluation = read_verdict(run)
    verdicts = {defect: each.verdict for defect, each in evaluation.defects.items()} if evaluation else {}
    rows = funnel(defect_summaries(run, run.dataset))
    return [{**row, **({"verdict": verdicts.get(row["defect"], "")} if verdicts else {})} for row in rows]


def dataset_page(run: Run) -> str:
    """Return the dataset's card in Markdown, after where dataset and report lie."""
    report = [f"- Report: {code(f'{run.uri}/{REPORT_FILE}')}"] if (run.folder / REPORT_FILE).is_file() else []
    card = (run.dataset / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    return "\n".join([f"- Dataset: {code(run.dataset_uri)}", *report, "", card])
