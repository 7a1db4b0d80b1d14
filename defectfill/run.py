"""A run: where everything of it lies on disk, and the key that decides what can be reused.

<output.root>/<category>/
  latest                         name of the newest finished run
  adapters/<defect>-<key>/       shared by runs that learn from the same references in the same way; joint-<key>
                                 where all defects share one adapter
  adapters/.<defect>-<key>.work/ checkpoints of its training, until it is finished
  runs/<key>/                    run.json snapshot.parquet plan.parquet planned_masks/ shards/ dataset/ finished.json
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config import WITHOUT_EFFECT, RunConfig
from defectfill.errors import DataError
from defectfill.files import damage_named, write_bytes
from defectfill.hashing import derive_seed, digest
from defectfill.model.preflight import BaseIdentity
from defectfill.snapshot import ImageRecord, read_snapshot

METHOD_VERSION = 7
"""Part of every key; raised when the same config and data would give other bytes than before."""

KEY_LENGTH = 12

FINISHED_FILE = "finished.json"
"""In the folder of a run, once its dataset is whole."""

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""In the folder of an adapter."""


class RunRecord(BaseModel):
    """run.json: all that the steps of a run need to know."""

    model_config = ConfigDict(frozen=True)

    method_version: int = 0
    """METHOD_VERSION of what made it."""
    config: RunConfig
    base: BaseIdentity
    distance: Literal["vae", "lpips"]
    device: str
    """Kind of device and precision of the frozen weights, for instance `cuda bf16`."""
    data_digest: str

    @property
    def key(self) -> str:
        """Name of the run's folder: a digest of everything that decides its bytes, and of no path.

        Left out are the paths, and what only extends or divides the work: count, attempts, shard size, checkpoints,
        sampling weights, the choice of the label, schedule, runner. Device and precision count as what they resolve to.
        """
        content = {
            "config": self.keyed_config(),
            "base": self.base.model_dump(),
            "distance": self.distance,
            "device": self.device,
            "data": self.data_digest,
        }
        return digest(["run", self.method_version, content])[:KEY_LENGTH]

    def keyed_config(self) -> dict[str, Any]:
        """The config without what is left out of the key."""
        left_out: dict[str, Any] = {
            "data": {"root"},
            "base": {"model", "revision", "device", "precision"},
            "train": set(WITHOUT_EFFECT),
            "masks": {"folder", "zones"},
            "generate": {"count", "max_attempts", "shard_size", "distance"},
            "dataset": True,
            "output": True,
            "schedule": True,
            "runner": True,
        }
        return self.config.model_dump(mode="json", exclude=left_out)

    def settings_digest(self) -> str:
        """Digest of what finished.json stands for: the key and what extends it."""
        generate = self.config.generate
        return digest([self.key, generate.count, generate.max_attempts, self.config.dataset.model_dump(mode="json")])


@dataclass(frozen=True)
class Shard:
    """A block of consecutive samples of one defect: the unit of work, retry and resume."""

    defect: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.defect}/{self.start:06d}-{self.stop:06d}"

    @classmethod
    def named(cls, name: str) -> "Shard":
        """The shard of that name."""
        defect, samples = name.rsplit("/", 1)
        start, stop = samples.split("-")
        return cls(defect, int(start), int(stop))


@dataclass(frozen=True)
class Run:
    """One run and its places on disk."""

    record: RunRecord

    @classmethod
    def at(cls, folder: Path) -> "Run":
        """The run whose run.json is in `folder`; DataError where that is damaged."""
        with damage_named(folder / "run.json", "run again to have it written anew"):
            return cls(RunRecord.model_validate_json((folder / "run.json").read_bytes()))

    @property
    def config(self) -> RunConfig:
        return self.record.config

    @property
    def category_output(self) -> Path:
        return self.config.category_output

    @property
    def place(self) -> str:
        """The run's folder as those find it who share its storage."""
        return f"{self.config.output.root}/{self.config.category}/runs/{self.record.key}"

    @property
    def dataset_place(self) -> str:
        """The same of the dataset's folder."""
        return f"{self.place}/{self.dataset.name}"

    @cached_property
    def folder(self) -> Path:
        return self.category_output / "runs" / self.record.key

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.parquet"

    def shard_folder(self, shard: Shard) -> Path:
        return self.folder / "shards" / shard.name

    def snapshot(self) -> tuple[ImageRecord, ...]:
        """Every real image with its role."""
        return read_snapshot(self.folder / "snapshot.parquet")

    def adapter_folder(self, defect: str, records: Sequence[ImageRecord] | None = None) -> Path:
        """Where the adapter of `defect` lies, or will: named by all that training depends on.

        records: the real images, where there is no snapshot yet.
        """
        config, learnt = self.config, self.config.defects_learnt_with(defect)
        records = self.snapshot() if records is None else records
        content = {
            "references": [
                [[record.sha256, record.mask_sha256] for record in references_of(records, each)] for each in learnt
            ],
            "base": [self.record.base.revision, config.base.resolution, self.record.device],
            "train": config.train.content(),
            "window": config.window.model_dump(mode="json"),
            "prompts": [config.prompts(each) for each in learnt],
            "seed": self.training_seed(defect),
        }
        key = digest(["adapter", self.record.method_version, content])[:KEY_LENGTH]
        return self.category_output / "adapters" / f"{'joint' if config.train.joint else defect}-{key}"

    def training_folder(self, defect: str) -> Path:
        """Where the checkpoints of that adapter's training lie until it is finished."""
        folder = self.adapter_folder(defect)
        return folder.with_name(f".{folder.name}.work")

    def training_seed(self, defect: str) -> int:
        learnt = self.config.defects_learnt_with(defect)
        return derive_seed(self.config.seed, self.config.category, *learnt, "training")

    def is_finished(self) -> bool:
        """Whether the dataset of exactly this config is there, and run.json to tell of it."""
        return self.is_marked_finished() and self.dataset.is_dir()

    def is_marked_finished(self) -> bool:
        """The same by what is written of the dataset, wherever that is."""
        try:
            finished = json.loads((self.folder / FINISHED_FILE).read_bytes())
            Run.at(self.folder)
        except (OSError, ValueError, RecursionError, DataError):
            return False
        return bool(finished == {"settings": self.record.settings_digest()})

    def mark_unfinished(self) -> None:
        """Takes the mark back, before the dataset is changed."""
        (self.folder / FINISHED_FILE).unlink(missing_ok=True)

    def mark_finished(self) -> None:
        """Says, after everything else is written, that the dataset is whole, and that it is the newest."""
        write_bytes(self.category_output / "latest", f"{self.record.key}\n".encode())
        content = {"settings": self.record.settings_digest()}
        write_bytes(self.folder / FINISHED_FILE, json.dumps(content).encode())


def references_of(records: Sequence[ImageRecord], defect: str) -> list[ImageRecord]:
    """The real images of `defect` that may be learnt from."""
    return [record for record in records if record.role == "reference" and record.defect == defect]


def latest_folder(config: RunConfig) -> Path | None:
    """The folder of the category's newest finished run, whatever version made it; None where there is none."""
    latest = config.category_output / "latest"
    return latest.parent / "runs" / latest.read_text(encoding="utf-8").strip() if latest.is_file() else None
