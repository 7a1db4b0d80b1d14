"""The check of a config: what it would do and all that is wrong with it, without a GPU and without writing anything."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from defectfill.adapters.files import is_trained
from defectfill.adapters.references import divide_references
from defectfill.config.run import RunConfig
from defectfill.ingest.find import mask_files
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import ConfigError, DefectFillError
from defectfill.io.images import read_image
from defectfill.masks.category import folder_masks
from defectfill.operations.findings import notes, warnings
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.operations.promotion import needs_verdict
from defectfill.operations.reports import Check, DefectImages, DefectWork, RemainingWork
from defectfill.operations.requirements import requirement_problems
from defectfill.operations.storage.fetch import fetch_data
from defectfill.records.forecast import Forecast
from defectfill.records.snapshot import ImageRecord, references_of
from defectfill.runs.defect_planner import check_placement
from defectfill.runs.review import read_review
from defectfill.runs.run import Run
from defectfill.runs.shards import Outcome, finished_shards, sample_outcomes
from defectfill.synthesis.forecast import forecast_without_base
from defectfill.synthesis.reuse import DIGEST_FILE

logger = logging.getLogger(__name__)


def check_config(config: RunConfig, *, measure: bool = False) -> Check:
    """Return what a run of `config` finds and would do.

    measure: with a forecast of time, memory and disk from a few steps of training and painting.

    Raises one error with every problem: of the base and its tokenizer, of the folders, of each image, of the output, of
    the user's own masks and zones.
    """
    run: Run | None = None
    errors: list[DefectFillError] = []
    try:
        run = prepare_run(config)
    except DefectFillError as error:
        errors.append(error)
    records, decided = check_run(config, run, errors)
    assert run is not None
    work = remaining_work(run, records)
    return Check(
        category=config.category,
        normals=sum(record.role == "normal" for record in records),
        test_normals=sum(record.role == "test_normal" for record in records),
        defects=tuple(_images_of(records, defect) for defect in config.data.defects),
        work=work,
        notes=(*notes(config, records), *decided),
        warnings=tuple(warnings(config, records)),
        forecast=_forecast(run, records, work) if measure and work.defects else None,
    )


class Checked(NamedTuple):
    """A config with which nothing is wrong."""

    records: Sequence[ImageRecord]
    """The real images, each read once."""
    notes: tuple[str, ...]
    """What was decided about their objects, a line each."""


def check_run(config: RunConfig, run: Run | None, errors: Sequence[DefectFillError] = ()) -> Checked:
    """Return the real images of a config with which nothing is wrong, and what was decided about their objects.

    run: the prepared one; errors: why there is none. Raises one error with these and every other problem.
    """
    found = list(errors)
    records: Sequence[ImageRecord] = ()
    try:
        if run is None:
            fetch_data(config)
        records = ingest(config)
    except DefectFillError as error:
        found.append(error)
    said: list[str] = []
    for check in _checks(config, run, records):
        try:
            said += check()
        except DefectFillError as error:
            found.append(error)
    if found:
        problems = dict.fromkeys(problem for error in found for problem in error.problems)
        raise type(found[0])(list(problems))
    return Checked(records, tuple(said))


def start_checked(config: RunConfig) -> Run:
    """Check a config, write run.json and snapshot.parquet of its run, and return it; raises before it writes.

    What is to be said goes to the log. A finished run is not checked again. To be called under `locked`.
    """
    run = prepare_run(config)
    if run.is_finished():
        return start_run(config, run)
    records, decided = check_run(config, run)
    for line in (*notes(config, records), *decided):
        logger.info(line)
    for line in warnings(config, records):
        logger.warning(line)
    return start_run(config, run, records)


def _checks(config: RunConfig, run: Run | None, records: Sequence[ImageRecord]) -> Iterator[Callable[[], list[str]]]:
    """Yield what raises what a run would raise after it has begun, or else gives lines of what was decided.

    Of images only where they were read.
    """
    yield partial(_check_requirements, config, records)
    if run and config.generate.uses_base and Path(config.base.model).is_absolute():
        yield partial(_check_base, config)
    yield partial(_check_mask_files, config)
    for defect in config.data.defects if records else ():
        yield partial(_check_defect, config, records, defect)


def _check_requirements(config: RunConfig, records: Sequence[ImageRecord]) -> list[str]:
    if problems := list(requirement_problems(config, records)):
        raise ConfigError(problems)
    return []


def _check_defect(config: RunConfig, records: Sequence[ImageRecord], defect: str) -> list[str]:
    """Raise unless validation leaves references of a defect to learn from, and a first mask finds room."""
    if config.generate.uses_base:
        divide_references(config, records, defect)
    said = check_placement(config, records, defect)
    return [f"{defect}: {said}"] if said else []


def _check_base(config: RunConfig) -> list[str]:
    """Raise unless [V*] is one token of the tokenizer and a pass through the base works.

    Of a base in a folder; a hub's base shows it only when it is fetched.
    """
    from transformers import CLIPTokenizer

    from defectfill.model.base.base import find_token
    from defectfill.model.base.trial import try_base

    try:
        tokenizer = CLIPTokenizer.from_pretrained(config.base.model, subfolder="tokenizer", local_files_only=True)
        for defect in config.data.defects:
            for prompt in config.prompts(defect):
                find_token(tokenizer, prompt, config.token(defect))
    except DefectFillError:
        raise
    except Exception as error:  # the library raises nearly anything over damaged files
        raise ConfigError(f"base.model: {config.base.model}/tokenizer cannot be loaded: {error}") from error
    try_base(config.base)
    return []


def _check_mask_files(config: RunConfig) -> list[str]:
    """Raise unless zones and masks of the user's own can be read."""
    for path in mask_files(config.masks).values():
        read_image(path)
    for _ in folder_masks(config.masks):
        pass
    return []


def _images_of(records: Sequence[ImageRecord], defect: str) -> DefectImages:
    return DefectImages(
        defect=defect,
        references=tuple(Path(record.path).name for record in references_of(records, defect)),
        held_out=sum((record.role, record.defect) == ("held_out", defect) for record in records),
    )


def remaining_work(run: Run, records: Sequence[ImageRecord]) -> RemainingWork:
    """Return what a run has left to do."""
    config, evaluation = run.config, needs_verdict(run)
    generate, defects = config.generate, () if run.is_finished() else config.data.defects
    trained = {defect: not generate.uses_base or is_trained(run, defect, records) for defect in defects}
    passes = generate.candidates * generate.steps * (2 if generate.guidance_scale > 1 else 1)
    passes = passes if generate.uses_base else 0
    left = {defect: _samples_left(run, defect) for defect in defects}
    return RemainingWork(
        run=run.uri,
        dataset=run.dataset_uri,
        is_finished=not defects and not evaluation,
        evaluation=evaluation,
        painter=generate.painter,
        base=run.record.base.model,
        base_revision=run.record.base.revision,
        distance=run.record.distance,
        training_steps=config.train.steps,
        trainings=len({run.adapter_folder(defect, records) for defect in defects if not trained[defect]}),
        count=generate.count,
        candidates=generate.candidates,
        painting_steps=generate.steps,
        older_shards=any(left[each] and trained[each] and _has_older_shards(run, each) for each in defects),
        defects=tuple(
            DefectWork(
                defect=defect, is_trained=trained[defect], samples=left[defect], unet_passes=left[defect] * passes
            )
            for defect in defects
        ),
    )


def _samples_left(run: Run, defect: str) -> int:
    """Return how many samples are still to be painted, if none is rejected."""
    painted = max((shard.stop for shard in finished_shards(run, defect)), default=0)
    replaced = int((sample_outcomes(run, defect) == Outcome.KEPT).sum()) if read_review(run).replaced else painted
    return max(run.config.generate.count - replaced, 0)


def _has_older_shards(run: Run, defect: str) -> bool:
    """Return whether other runs have painted shards of a defect. Which of them fit shows only once all is planned."""
    others = (folder / "shards" / defect for folder in run.folder.parent.glob("[!.]*") if folder != run.folder)
    return any(next(folder.glob(f"[!.]*/{DIGEST_FILE}"), None) for folder in others)


def _forecast(run: Run, records: Sequence[ImageRecord], work: RemainingWork) -> Forecast:
    if run.record.distance == "pixels":
        return forecast_without_base(run.config, records, work.paintings)
    from defectfill.model.forecast import forecast

    return forecast(run.config, run.record.distance, records, work.trainings, work.paintings)
