"""Decisions of people, written into a run and its dataset."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from defectfill.dataset.summary import defect_summaries
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import DataError
from defectfill.io.progress import progress
from defectfill.operations.lock import locked
from defectfill.operations.reports import ReviewReport
from defectfill.operations.review.agreement import agreement
from defectfill.operations.review.table import WORDS, read_table
from defectfill.operations.storage.fetch import fetch_for_review
from defectfill.operations.storage.upload import upload_dataset
from defectfill.records.manifest import REVIEWED
from defectfill.records.snapshot import ingested
from defectfill.runs.planner import is_filled
from defectfill.runs.review import Review, read_review, write_review
from defectfill.runs.run import Run
from defectfill.runs.shards import finished_shards, shard_rows


def apply_review(run: Run, table: Path, *, refill: bool = False) -> ReviewReport:
    """Add the decisions in review.csv to those on a run, write its dataset anew by them, and say how the gates agree.

    The decisions in the run's folder come first: whoever is killed in between leaves the dataset as it was, to be
    written anew by the next call or run. Where nothing changes nothing is written.

    refill: runs paint others for the samples that are not in the dataset by a decision, of now or of earlier reviews.
    Raises DataError for lines that are wrong, where there is no dataset, where its run was interrupted before all was
    painted that is wanted, or where the images it is made of have changed.
    """
    _check_place(run)
    with locked(run.config):
        fetch_for_review(run)
        if not run.dataset.is_dir():
            raise DataError(f"{run.dataset}: expected the dataset that was reviewed, found none; run first")
        if not run.is_marked_finished() and not is_filled(run, refill=False):
            raise DataError(
                f"{run.folder}: expected a run that has painted all it was asked for; run again, then apply"
            )
        decided, before = read_table(table, set(_painted(run))), read_review(run)
        review = Review(refill=before.refill or refill, decisions={**before.decisions, **decided})
        if review != before:
            _check_images(run)
            write_review(run, review)
        if not run.is_finished():
            write_dataset(run, filled=is_filled(run))
            upload_dataset(run)
        return _report(run, review)


def _report(run: Run, review: Review) -> ReviewReport:
    outcome = defect_summaries(run, run.dataset)
    words = Counter[str](each.decision for each in review.decisions.values())
    return ReviewReport(
        dataset=run.dataset_uri,
        decisions={word: words[word] for word in WORDS if words[word]},
        kept={defect: each.kept for defect, each in outcome.items()},
        taken_out=sum(each.rejected.get(REVIEWED, 0) for each in outcome.values()),
        wanted=run.config.generate.count,
        is_finished=run.is_finished(),
        agreement=agreement(run),
    )


def _check_place(run: Run) -> None:
    """Raise DataError where a run was moved: the images that it was made of, and its lock, are found by its config."""
    expected = Run.from_record(run.record).folder
    if run.folder.resolve() != expected.resolve():
        raise DataError(f"{run.folder}: expected the run where its config has it, {expected}")


def _check_images(run: Run) -> None:
    """Raise DataError where the dataset could not be written anew: an image or a mask of the run has changed."""
    for record in progress(run.snapshot(), "compare real images"):
        ingested(run.config.category_folder / record.path, record.sha256)
        if record.mask_path:
            ingested(run.config.category_folder / record.mask_path, record.mask_sha256)


def _painted(run: Run) -> Iterator[str]:
    """Yield the sample_id of every painted sample of a run, whatever the gates said."""
    for defect in run.config.data.defects:
        for shard in finished_shards(run, defect):
            rows = shard_rows(run, shard)
            yield from rows.filter(pc.equal(rows["defect"], defect))["sample_id"].to_pylist()
