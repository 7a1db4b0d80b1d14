"""A run: where everything of it lies on disk. Which keys name its folders is said in runs.keys.

<output.root>/<category>/
  latest                         name of the run that was asked for and finished last
  adapters/<defect>-<key>/       shared by runs that learn from the same references in the same way; joint-<key>
                                 where all defects share one adapter
  adapters/.<defect>-<key>.work/ checkpoints of its training, until it is finished
  runs/<key>/                    run.json snapshot.parquet plan.parquet planned_masks/ shards/ dataset/ finished.json
                                 announced; review.json, where people decided on samples
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.files import damage_named, write_bytes
from defectfill.io.hashing import digest
from defectfill.io.names import safe_name
from defectfill.io.s3 import is_remote
from defectfill.records.plan import Shard
from defectfill.records.snapshot import ImageRecord, read_snapshot
from defectfill.runs.keys import METHOD_VERSION, RecordVersion, RunRecord
from defectfill.runs.whole import damage_of, dataset_bytes

KEY_PATTERN = re.compile("[0-9a-f]+")
RUN_FILE = "run.json"
FINISHED_FILE = "finished.json"
"""In the folder of a run, once its dataset is whole."""
ANNOUNCED_FILE = "announced"
"""In the folder of a run, the fingerprint of the dataset that others were told of, see operations.announced."""
REVIEW_FILE = "review.json"
"""In the folder of a run, what people decided of its samples, see runs.review."""


@dataclass(frozen=True)
class Run:
    """One run and where everything of it lies on disk."""

    record: RunRecord
    folder: Path

    @classmethod
    def from_record(cls, record: RunRecord) -> "Run":
        """Return the run of a record, in the folder that its config gives it."""
        return cls(record, record.config.category_output / "runs" / record.key)

    @classmethod
    def at(cls, folder: Path) -> "Run":
        """Return the run in `folder`, also where that was moved; DataError where its run.json is damaged."""
        with damage_named(folder / RUN_FILE, "run again to have it written anew"):
            record = RunRecord.model_validate_json((folder / RUN_FILE).read_bytes())
        return cls(record, Path(os.path.abspath(folder)))

    @classmethod
    def open_if_current(cls, folder: Path) -> "Run | None":
        """Return the run in `folder`; None where another version of defectfill made it, whose run.json may differ."""
        with damage_named(folder / RUN_FILE, "run again to have it written anew"):
            version = RecordVersion.model_validate_json((folder / RUN_FILE).read_bytes())
        return cls.at(folder) if version.method_version == METHOD_VERSION else None

    @property
    def config(self) -> RunConfig:
        return self.record.config

    @property
    def category_output(self) -> Path:
        """The folder of all that is made of the category, or its local copy."""
        return self.folder.parents[1]

    @property
    def uri(self) -> str:
        """The run's folder as those find it who share its storage."""
        root = self.config.output.root
        return f"{root}/{self.config.category}/runs/{self.folder.name}" if is_remote(root) else str(self.folder)

    @property
    def dataset_uri(self) -> str:
        """The dataset's folder as those find it who share its storage."""
        return f"{self.uri}/{self.dataset.name}"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.parquet"

    @property
    def snapshot_path(self) -> Path:
        return self.folder / "snapshot.parquet"

    def shard_folder(self, shard: Shard) -> Path:
        return self.folder / "shards" / shard.name

    def snapshot(self) -> tuple[ImageRecord, ...]:
        """Return every real image with its role."""
        return read_snapshot(self.snapshot_path)

    def adapter_folder(self, defect: str, records: Sequence[ImageRecord] | None = None) -> Path:
        """Return the folder of the adapter that paints `defect`, which its key names; it need not be there yet.

        records: the real images, where there is no snapshot yet.
        """
        key = self.record.adapter_key(defect, self.snapshot() if records is None else records)
        return self.category_output / "adapters" / f"{'joint' if self.config.train.joint else safe_name(defect)}-{key}"

    def training_folder(self, defect: str) -> Path:
        """Return the folder of the checkpoints of that adapter's training, until it is finished."""
        folder = self.adapter_folder(defect)
        return folder.with_name(f".{folder.name}.work")

    def is_finished(self) -> bool:
        """Return whether the dataset of exactly this config is finished and, by a quick look, still whole."""
        return self.is_marked_finished() and not self.damage()

    def is_marked_finished(self) -> bool:
        """Return whether finished.json says so of exactly this config; the dataset itself may be on storage only."""
        return self._mark().get("settings") == self._digest_of_dataset()

    def damage(self) -> str:
        """Return in words which files of the dataset are missing or no longer as large as they were; empty for none.

        Snapshot and plan, which tell where its images are from, count too. Of a dataset on storage only what is on this
        machine can be looked at: whether its folder is there.
        """
        if is_remote(self.config.output.root):
            return "" if self.dataset.is_dir() else f"{self.dataset} is missing"
        for path in (self.snapshot_path, self.plan_path):
            if not path.is_file():
                return f"{path} is missing"
        return damage_of(self.dataset, self._mark().get("bytes"))

    def _digest_of_dataset(self) -> str:
        """Return the digest that finished.json holds: of the record's settings, and of the review where there is one.

        So a run whose review is newer than its dataset is not finished.
        """
        settings, review = self.record.settings_digest(), self.folder / REVIEW_FILE
        return (
            digest([settings, review.read_text(encoding="utf-8", errors="replace")]) if review.is_file() else settings
        )

    def _mark(self) -> dict[str, Any]:
        """Return the content of finished.json; nothing where that or run.json is missing or damaged."""
        try:
            finished = json.loads((self.folder / FINISHED_FILE).read_bytes())
            Run.at(self.folder)  # raises where run.json is damaged
        except (OSError, ValueError, RecursionError, DataError):
            return {}
        return finished if isinstance(finished, dict) else {}

    def mark_unfinished(self) -> None:
        """Remove the mark, before the dataset is changed."""
        (self.folder / FINISHED_FILE).unlink(missing_ok=True)

    def mark_finished(self) -> None:
        """Mark the dataset as whole after everything else is written, and as the latest unless that is to be earned."""
        if self.config.dataset.promote == "always":
            self.promote()
        content = {"settings": self._digest_of_dataset(), "bytes": dataset_bytes(self.dataset)[0]}
        write_bytes(self.folder / FINISHED_FILE, json.dumps(content).encode())

    def promote(self) -> None:
        """Make the dataset the category's latest."""
        write_bytes(self.category_output / "latest", f"{self.record.key}\n".encode())

    def is_latest(self) -> bool:
        """Return whether the dataset is the category's latest."""
        return latest_name(self.category_output) == self.folder.name


def latest_folder(config: RunConfig) -> Path | None:
    """Return the folder of the category's newest finished run, whatever version made it; None where there is none."""
    name = latest_name(config.category_output)
    return config.category_output / "runs" / name if name else None


def latest_name(category_output: Path) -> str:
    """Return the name of that folder, as `latest` says; empty where it is missing or damaged."""
    latest = category_output / "latest"
    name = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.is_file() else ""
    return name if KEY_PATTERN.fullmatch(name) else ""
