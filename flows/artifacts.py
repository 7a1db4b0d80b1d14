"""The artifacts that Prefect's pages show of a run, beside its state."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from defectfill.io.names import safe_name
from defectfill.io.progress import listening


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
