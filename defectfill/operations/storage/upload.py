"""Upload of what a step made to shared storage."""

from pathlib import Path

from defectfill.adapters.files import TRAINING_FILE
from defectfill.dataset.report.build import REPORT_FOLDER
from defectfill.io.s3 import Remote, is_copy, is_remote
from defectfill.operations.storage.fetch import fetch_units
from defectfill.operations.storage.layout import (
    CARD_FILE,
    INGESTED,
    PROOFS,
    files_in,
    one_at_a_time,
    remote_category,
    remote_run,
)
from defectfill.records.plan import Shard
from defectfill.runs.run import FINISHED_FILE, REVIEW_FILE, Run
from defectfill.runs.timings import TIMINGS_FILE
from defectfill.runs.verdict import VERDICT_FILE
from defectfill.runs.whole import TABLES
from defectfill.synthesis.reuse import BATCH_FILE, DIGEST_FILE


def upload_record(run: Run) -> None:
    """Upload what the ingest step wrote."""
    if remote := remote_run(run):
        remote.upload(INGESTED, run.folder)


def upload_adapter(run: Run, defect: str) -> None:
    """Upload the adapter that paints a defect."""
    if output := remote_category(run.config):
        adapter = run.adapter_folder(defect)
        _upload_unit(output / "adapters" / adapter.name, adapter, TRAINING_FILE)


def upload_plan(run: Run) -> None:
    """Upload planned masks that are not there, then the plan."""
    if remote := remote_run(run):
        there = (remote / "planned_masks").files()
        masks = run.folder / "planned_masks"
        (remote / "planned_masks").upload((path for path in files_in(masks) if path not in there), masks)
        remote.upload([run.plan_path.name], run.folder)


def upload_shard(run: Run, shard: Shard) -> None:
    """Upload a painted shard, and how many samples are painted at once where no one has yet."""
    if remote := remote_run(run):
        _upload_unit(remote / "shards" / shard.name, run.shard_folder(shard), DIGEST_FILE)
        if (run.folder / BATCH_FILE).is_file():
            remote.write_if(BATCH_FILE, (run.folder / BATCH_FILE).read_bytes(), None)


def sync_shards(run: Run) -> None:
    """Fetch shards that others have painted, and upload those that a killed run did not get to."""
    if remote := remote_run(run):
        shards = run.folder / "shards"
        with one_at_a_time(run.category_output):
            there = fetch_units(remote / "shards", shards, DIGEST_FILE)
        for proof in shards.glob(f"[!.]*/[!.]*/{DIGEST_FILE}"):
            name = proof.parent.relative_to(shards).as_posix()
            if name not in there:
                _upload_unit(remote / "shards" / name, proof.parent, DIGEST_FILE)


def upload_dataset(run: Run) -> None:
    """Make the dataset on storage the one that is here; last come the tables, then finished.json and `latest`.

    What was decided of its samples comes first, and the verdict on it. The last two are left out where more is to be
    painted for it.
    """
    if (remote := remote_run(run)) is None:
        return
    remote.upload([name for name in (REVIEW_FILE, str(VERDICT_FILE)) if (run.folder / name).is_file()], run.folder)
    remote.remove([FINISHED_FILE] if remote.etag(FINISHED_FILE) else [])
    dataset = remote / "dataset"
    there, here = dataset.files(), files_in(run.dataset)
    dataset.remove(there.keys() - set(here))
    changed = [path for path in here if not is_copy(run.dataset / path, there.get(path))]
    last = (*TABLES, CARD_FILE)
    dataset.upload((path for path in changed if path not in last), run.dataset)
    dataset.upload((path for path in changed if path in last), run.dataset)
    remote.upload(["run.json", TIMINGS_FILE, "contact_sheet.png"], run.folder)
    _mirror_report(remote / REPORT_FOLDER, run.folder / REPORT_FOLDER)
    if (run.folder / FINISHED_FILE).is_file():
        remote.upload([FINISHED_FILE], run.folder)
        upload_latest(run)


def upload_latest(run: Run) -> None:
    """Make what says on storage which run of the category is the latest what is said here."""
    if (output := remote_category(run.config)) is None:
        return
    if (run.category_output / "latest").is_file():
        output.upload(["latest"], run.category_output)
    elif output.etag("latest") is not None:
        output.remove(["latest"])


def _mirror_report(remote: Remote, folder: Path) -> None:
    """Make the report on storage the one that is here, or remove it where none is."""
    there, here = remote.files(), files_in(folder)
    remote.remove(there.keys() - set(here))
    remote.upload((path for path in here if not is_copy(folder / path, there.get(path))), folder)


def upload_folder(folder: Path, beside: str) -> str:
    """Upload a folder beside the dataset at a uri, and return its uri; of a local dataset the folder's own path."""
    if not is_remote(beside):
        return str(folder)
    remote = Remote(beside.rstrip("/").rpartition("/")[0]) / folder.name
    remote.upload(files_in(folder), folder)
    return remote.url


def delete_remote(remote: Remote) -> None:
    """Remove all files below a URL, those first that say that others are whole."""
    files = remote.files()
    remote.remove(path for path in files if path.rpartition("/")[2] in PROOFS)
    remote.remove(path for path in files if path.rpartition("/")[2] not in PROOFS)


def _upload_unit(remote: Remote, folder: Path, proof: str) -> None:
    """Upload a folder unless a whole one of that name is there; the proof comes last."""
    if remote.etag(proof) is None:
        remote.upload((path for path in files_in(folder) if path != proof), folder)
        remote.upload([proof], folder)
