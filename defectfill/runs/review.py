"""The decisions of people on the samples of a run: review.json in its folder, which the dataset's column repeats."""

from pydantic import BaseModel, ConfigDict

from defectfill.io.files import damage_named, write_bytes
from defectfill.records.manifest import TAKEN_OUT, Decision
from defectfill.runs.run import REVIEW_FILE, Run


class Decided(BaseModel):
    """A person's decision on a sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Decision
    note: str = ""


class Review(BaseModel):
    """All decisions on the samples of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refill: bool = False
    """Whether runs paint others for those that were taken out; asked for once, it stays."""
    decisions: dict[str, Decided] = {}
    """By sample_id."""

    @property
    def taken_out(self) -> list[str]:
        """The samples that are not in the dataset, whatever the gates said."""
        return [sample_id for sample_id, each in self.decisions.items() if each.decision in TAKEN_OUT]

    @property
    def replaced(self) -> list[str]:
        """Those of them that others are painted for."""
        return self.taken_out if self.refill else []


def read_review(run: Run) -> Review:
    """Return what was decided so far; DataError where its file is damaged."""
    path = run.folder / REVIEW_FILE
    if not path.exists():
        return Review()
    with damage_named(path, "remove it and apply the review again"):
        return Review.model_validate_json(path.read_bytes())


def write_review(run: Run, review: Review) -> None:
    """Write what was decided, in one step; equal decisions give equal bytes, in whatever order they came."""
    ordered = review.model_copy(update={"decisions": dict(sorted(review.decisions.items()))})
    write_bytes(run.folder / REVIEW_FILE, f"{ordered.model_dump_json(indent=1)}\n".encode(), sync=True)
