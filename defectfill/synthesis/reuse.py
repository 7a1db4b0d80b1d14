"""Shards that an earlier run has painted, found again by their digest. What counts in it is said in runs.keys."""

import glob
from collections.abc import Sequence
from pathlib import Path

from defectfill.io.files import write_once
from defectfill.records.plan import SampleSpec, Shard
from defectfill.records.snapshot import references_of
from defectfill.runs.plan import planned_mask_sha256
from defectfill.runs.run import Run

DIGEST_FILE = "digest"
"""In the folder of a shard: shard_digest."""
BATCH_FILE = "samples_per_batch"
"""In the folder of a run: how many samples are painted at once, where that was found by memory."""


def shard_digest(run: Run, shard: Shard, specs: Sequence[SampleSpec], adapter: str) -> str:
    """Return the digest of a shard's painted samples `specs`; adapter: its hash. See RunRecord.shard_digest."""
    mask_hashes = [planned_mask_sha256(run, spec.planned_mask_path) for spec in specs]
    return run.record.shard_digest(specs, mask_hashes, adapter, references_of(run.snapshot(), shard.defect))


def find_painted(run: Run, shard: Shard, wanted: str) -> Path | None:
    """Return the folder of the same shard with the digest `wanted` in another run of the category, or None.

    Where the number of samples per batch was found by memory, it must have been the same, or not yet be found here:
    then it is what it was there.
    """
    own = _read(run.folder / BATCH_FILE)
    for folder in sorted(run.folder.parent.glob(f"*/shards/{glob.escape(shard.name)}")):
        other = folder.parents[2]
        if other == run.folder or _read(folder / DIGEST_FILE) != wanted:
            continue
        if (batch := _read(other / BATCH_FILE)) == own:
            return folder
        if own is None and batch is not None:
            own = write_once(run.folder / BATCH_FILE, batch.encode()).decode()
            if batch == own:
                return folder
    return None


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
