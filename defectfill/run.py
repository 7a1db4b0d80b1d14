"""A run: where everything of it lies on disk, and the key that decides what can be reused.

<output.root>/<category>/
  latest                         name of the newest finished run
  adapters/<defect>-<key>/       shared by runs that learn from the same references in the same way; joint-<key>
                                 where all defects share one adapter
  adapters/.<defect>-<key>.work/ checkpoints of its training, until it is finished
  runs/<key>/                    run.json snapshot.parquet plan.parquet planned_masks/ shards/ dataset/ finished.json
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config import WITHOUT_EFFECT, RunConfig
from defectfill.data import data_digest, ingest
from defectfill.errors import ConfigError, DataError, DefectFillError
from defectfill.files import damage_named, remove_partials, write_bytes
from defectfill.hashing import derive_seed, digest
from defectfill.model.preflight import BaseIdentity, identify_base, resolve_device_kind, resolve_distance
from defectfill.snapshot import ImageRecord, read_snapshot, write_snapshot

METHOD_VERSION = 7
"""Part of every key; raised when the same config and data would give other bytes than before."""

KEY_LENGTH = 12

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
        return self.config.output.root / self.config.category

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
        try:
            finished = json.loads((self.folder / "finished.json").read_bytes())
            Run.at(self.folder)
        except (OSError, ValueError, RecursionError, DataError):
            return False
        return bool(finished == {"settings": self.record.settings_digest()}) and self.dataset.is_dir()

    def mark_unfinished(self) -> None:
        """Takes the mark back, before the dataset is changed."""
        (self.folder / "finished.json").unlink(missing_ok=True)

    def mark_finished(self) -> None:
        """Says, after everything else is written, that the dataset is whole, and that it is the newest."""
        write_bytes(self.category_output / "latest", f"{self.record.key}\n".encode())
        content = {"settings": self.record.settings_digest()}
        write_bytes(self.folder / "finished.json", json.dumps(content).encode())


def references_of(records: Sequence[ImageRecord], defect: str) -> list[ImageRecord]:
    """The real images of `defect` that may be learnt from."""
    return [record for record in records if record.role == "reference" and record.defect == defect]


def prepare_run(config: RunConfig) -> Run:
    """The run that `config` describes, without writing anything.

    Raises one error with every problem of the output folder, the base model and the data's folders.
    """
    unwritable = _output_problems(config.output.root / config.category / "runs")
    errors: list[DefectFillError] = [ConfigError(unwritable)] if unwritable else []
    found: dict[str, Any] = {}
    checks = {
        "base": lambda: identify_base(config.base),
        "distance": lambda: resolve_distance(config.generate.distance),
        "device": lambda: resolve_device_kind(config.base),
        "data_digest": lambda: data_digest(config),
    }
    for name, check in checks.items():
        try:
            found[name] = check()
        except DefectFillError as error:
            errors.append(error)
    if errors:
        raise type(errors[0])([problem for error in errors for problem in error.problems])
    return Run(RunRecord(method_version=METHOD_VERSION, config=config, **found))


def run_folders(config: RunConfig) -> list[Path]:
    """The folders of the category's runs, finished or not."""
    return sorted((config.output.root / config.category / "runs").glob("[!.]*/"))


def latest_folder(config: RunConfig) -> Path | None:
    """The folder of the category's newest finished run, whatever version made it; None where there is none."""
    latest = config.output.root / config.category / "latest"
    return latest.parent / "runs" / latest.read_text(encoding="utf-8").strip() if latest.is_file() else None


def latest_run(config: RunConfig) -> Run | None:
    """The category's newest finished run, or None where there is none or another version of defectfill made it."""
    folder = latest_folder(config)
    if folder is None or not (folder / "run.json").is_file():
        return None
    found = Run.at(folder).record
    here = found.config.model_copy(update={"output": config.output})  # wherever it was made
    run = Run(found.model_copy(update={"config": here}))
    return run if run.folder == folder else None


def _output_problems(runs: Path) -> list[str]:
    """Whether the folder of the runs, or the nearest one above it that exists, can be written to."""
    folder = next(path for path in (runs, *runs.parents) if path.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return []
    return [f"output.root: {folder} is not a folder that can be written to"]


def start_run(config: RunConfig) -> Run:
    """The ingest step: checks everything, then writes run.json and snapshot.parquet. Raises before it writes.

    To be called under `locked`, since the steps of a run that is under way read run.json.
    """
    run = prepare_run(config)
    snapshot = run.folder / "snapshot.parquet"
    if not snapshot.exists():
        records = ingest(config)
        write_snapshot(records, snapshot)
    write_bytes(run.folder / "run.json", run.record.model_dump_json(indent=2).encode())
    return run


@contextmanager
def locked(config: RunConfig) -> Iterator[None]:
    """Keeps other processes out of the category's output; what killed ones left unfinished is removed.

    Raises ConfigError while another process works there. The lock goes with the process that holds it.
    """
    folder = config.output.root / config.category
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"output.root: another run is working in {folder}") from error
        remove_partials(folder)
        yield
