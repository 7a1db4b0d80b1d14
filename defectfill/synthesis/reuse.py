"""Shards that an earlier run has painted, found again by their digest. What counts in it is said in runs.keys."""

import glob
from collections.abc import Sequence
from pathlib import Path

from defectfill.io.errors import DataError
from defectfill.io.files import read_rows, write_once
from defectfill.io.images import file_sha256
from defectfill.records.manifest import SHARD_SCHEMA
from defectfill.records.plan import SampleSpec, Shard
from defectfill.records.snapshot import references_of
from defectfill.runs.plan import planned_mask_sha256
from defectfill.runs.run import Run
from defectfill.runs.shards import ROWS_FILE

DIGEST_FILE = "digest"
"""In the folder of a shard: shard_digest."""
BATCH_FILE = "samples_per_batch"
"""In the folder of a run: how many samples are painted at once, where that was found by memory."""


def shard_digest(run: Run, shard: Shard, specs: Sequence[SampleSpec], adapter: str) -> str:
    """Return the digest of a shard's painted samples `specs`; adapter: its hash. See RunRecord.shard_digest."""
    mask_hashes = [planned_mask_sha256(run, spec.planned_mask_path) for spec in specs]
    return run.record.shard_digest(specs, mask_hashes, adapter, references_of(run.snapshot(), shard.defect))


def find_painted(run: Run, shard: Shard, wanted: str) -> Path | None:
    """Return the folder of the same shard, whole, with the digest `wanted` in another run of the category, or None.

    Where the number of samples per batch was found by memory, it must have been the same, or not yet be found here:
    then it is what it was there.
    """
    own = _read(run.folder / BATCH_FILE)
    for folder in sorted(run.folder.parent.glob(f"*/shards/{glob.escape(shard.name)}")):
        other = folder.parents[2]
        if other == run.folder or _read(folder / DIGEST_FILE) != wanted or not _is_whole(folder):
            continue
        if (batch := _read(other / BATCH_FILE)) == own:
            return folder
        if own is None and batch is not None:
            own = write_once(run.folder / BATCH_FILE, batch.encode()).decode()
            if batch == own:
                return folder
    return None


def _is_whole(shard_folder: Path) -> bool:
    """Return whether the images and masks of a shard are what its rows say."""
    try:
        rows = read_rows(shard_folder / ROWS_FILE, SHARD_SCHEMA).to_pylist()
        files = {row[f"{kind}_path"]: row[f"{kind}_sha256"] for row in rows for kind in ("image", "mask")}
        return all(file_sha256(shard_folder / path) == sha256 for path, sha256 in files.items() if path)
    except (OSError, ValueError, DataError):
        return False


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
