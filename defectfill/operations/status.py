"""The status of a config's dataset: what is up to date, what is not and why."""

from collections.abc import Iterator, Sequence
from typing import Any

from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import ingest
from defectfill.operations.check import remaining_work
from defectfill.operations.prepare import latest_run, prepare_run
from defectfill.operations.promotion import is_done
from defectfill.operations.reports import FileChanges, RemainingWork, SettingChange, Status
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.keys import compared_settings
from defectfill.runs.review import read_review
from defectfill.runs.run import RUN_FILE, Run, latest_folder
from defectfill.runs.timings import seconds_per


def status(config: RunConfig) -> Status:
    """Return whether the dataset is up to date; if not, in what the newest finished run differs, what is left to do.

    Nothing is written, nor need anything be writable. Of a finished dataset the files are looked at, not read. Raises
    as `check_config` does for what is not good.
    """
    run = prepare_run(config, to_write=False)
    if is_done(run):
        work = remaining_work(run, ())
        return Status(category=config.category, state="up to date", dataset=run.dataset_uri, work=work)
    records = ingest(config)
    work, newest = remaining_work(run, records), run if run.is_finished() else latest_run(config)
    other = newest.folder if newest else latest_folder(config)
    if other is None or not (other / RUN_FILE).is_file():
        return Status(category=config.category, state="never finished", dataset=None, work=work)
    if newest is None:
        made = f"{config.output.root}/{config.category}/runs/{other.name}/dataset"
        return Status(category=config.category, state="stale", dataset=made, other_version=True, work=work)
    return Status(
        category=config.category,
        state="stale",
        dataset=newest.dataset_uri,
        settings=tuple(_setting_changes(newest, run)),
        files=_file_changes(newest.snapshot(), records),
        refill=newest.folder == run.folder and bool(read_review(run).replaced),
        damage=newest.damage() if newest.is_marked_finished() else "",
        work=work,
        seconds=_seconds_left(newest, work),
    )


def _seconds_left(newest: Run, work: RemainingWork) -> float | None:
    """Return the time that is left at most, by what the newest finished run took; None where that is not known."""
    took = seconds_per(newest)
    if (
        not work.defects
        or newest.config.generate.painter != work.painter
        or "inpaint" not in took
        or (work.trainings and "train" not in took)
    ):
        return None
    return work.trainings * took.get("train", 0.0) + work.paintings * took["inpaint"]


def _setting_changes(old: Run, new: Run) -> Iterator[SettingChange]:
    """Yield in what a finished run differs from the one that the config asks for now, but for its files."""
    before, now = (dict(_leaves(settings)) for settings in compared_settings(old.config, new.config))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            yield SettingChange(key=key, before=before.get(key), now=now.get(key))
    both_or_neither = old.config.generate.uses_base == new.config.generate.uses_base
    names = ("base", "distance", "device") if both_or_neither else ()
    resolved = {name: [getattr(run.record, name) for run in (old, new)] for name in names}
    resolved["data.white_level"] = [run.config.data.white_level for run in (old, new)]
    for key, (was, is_now) in resolved.items():
        if was != is_now:
            yield SettingChange(key=key, before=str(was), now=str(is_now))


def _file_changes(old: Sequence[ImageRecord], new: Sequence[ImageRecord]) -> FileChanges:
    before, now = ({path: sha256 for record in each for path, sha256 in _files(record)} for each in (old, new))
    return FileChanges(
        added=tuple(sorted(now.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - now.keys())),
        changed=tuple(sorted(path for path in now.keys() & before.keys() if now[path] != before[path])),
    )


def _files(record: ImageRecord) -> Iterator[tuple[str, str]]:
    yield record.path, record.sha256
    if record.mask_path:
        yield record.mask_path, record.mask_sha256


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of nested dicts, dotted, with its value."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, each in value.items():
        yield from _leaves(each, f"{path}.{key}" if path else key)
