"""What of a config's dataset is up to date, what is not and why."""

from collections.abc import Iterator, Sequence
from typing import Any

from defectfill.config.affects import Affects, settings_that_affect
from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import ingest
from defectfill.operations.check import left_to_do, to_do
from defectfill.operations.prepare import latest_run, prepare_run
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.run import Run, latest_folder
from defectfill.runs.timings import seconds_per

COUNTED = Affects.RUN | Affects.DATASET
"""Settings that decide what is in the dataset."""
NAMED = 3
"""Files that are named of those that changed."""


def status(config: RunConfig) -> list[str]:
    """Lines: whether the dataset is up to date; if not, in what the newest finished run differs, what is left to do.

    Nothing is written. Raises as `check_config` does for what is not good.
    """
    run = prepare_run(config)
    if run.is_finished():
        return [f"{config.category}: up to date: {run.dataset_uri}"]
    records = ingest(config)
    newest = latest_run(config)
    made_before = latest_folder(config)
    if newest is None and made_before:
        dataset = f"{config.output.root}/{config.category}/runs/{made_before.name}/dataset"
        lines = [f"{config.category}: stale: {dataset}", "  it was made by another version of defectfill"]
    elif newest is None:
        lines = [f"{config.category}: no run has been finished"]
    else:
        differences = list(_differences(newest, run, records)) or ["it was not finished after its last change"]
        lines = [
            f"{config.category}: stale: {newest.dataset_uri}",
            *(f"  {difference}" for difference in differences),
        ]
    return [*lines, *to_do(run, records), *_cost(newest, run, records)]


def _cost(newest: Run | None, run: Run, records: Sequence[ImageRecord]) -> Iterator[str]:
    """The time that is left to do, by what the newest finished run took."""
    took = seconds_per(newest) if newest else {}
    if {"train", "inpaint"} <= took.keys():
        trainings, samples = left_to_do(run, records)
        seconds = trainings * took["train"] + samples * took["inpaint"]
        yield f"about {seconds / 60:.0f} minutes at most, by what the last run took"


def _differences(old: Run, new: Run, records: Sequence[ImageRecord]) -> Iterator[str]:
    """In what a finished run differs from the one that the config asks for now."""
    before, now = (dict(_leaves(settings_that_affect(run.config, COUNTED))) for run in (old, new))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            yield f"{key} was {before.get(key)}, is {now.get(key)}"
    for name in ("base", "distance", "device"):
        was, is_now = getattr(old.record, name), getattr(new.record, name)
        if was != is_now:
            yield f"{name} was {was}, is {is_now}"
    files = [{path: sha256 for record in each for path, sha256 in _files(record)} for each in (old.snapshot(), records)]
    changes = {
        "added": [path for path in files[1] if path not in files[0]],
        "removed": [path for path in files[0] if path not in files[1]],
        "changed": [path for path, sha256 in files[1].items() if files[0].get(path, sha256) != sha256],
    }
    for change, paths in changes.items():
        if paths:
            more = ", ..." if len(paths) > NAMED else ""
            yield f"{len(paths)} files {change}: {', '.join(sorted(paths)[:NAMED])}{more}"


def _files(record: ImageRecord) -> Iterator[tuple[str, str]]:
    yield record.path, record.sha256
    if record.mask_path:
        yield record.mask_path, record.mask_sha256


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested dicts, dotted, with its value."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, each in value.items():
        yield from _leaves(each, f"{path}.{key}" if path else key)
