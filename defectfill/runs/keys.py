"""The rule of what is made anew: keys of runs, adapters and shards, from all that their bytes depend on.

What has the same key is found again; what has another is made anew. Which setting counts in which key is said at its
field (config.affects); beside the settings count the real images, the base, the device and METHOD_VERSION. A run whose
settings only extend it (generate.count) or put its dataset together otherwise (section dataset) keeps its key, and its
dataset is written anew (`settings_digest`). Where the painter needs no base, neither base nor training count.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config.affects import Affects, keys_of, settings_that_affect
from defectfill.config.run import RunConfig
from defectfill.io.hashing import derive_seed, digest
from defectfill.model.base.identity import BaseIdentity
from defectfill.records.plan import SampleSpec
from defectfill.records.snapshot import ImageRecord, references_of

METHOD_VERSION = 15
"""Part of every key; raised when the same config and data would give other bytes than before, or a key is renamed."""

KEY_LENGTH = 12


NO_BASE = BaseIdentity(model="", revision="")
"""The base of a painter that needs none."""


class RecordVersion(BaseModel):
    """The part of run.json that every version can read."""

    model_config = ConfigDict(frozen=True)

    method_version: int = 0
    """METHOD_VERSION of what made it."""


class RunRecord(RecordVersion):
    """run.json: all that the steps of a run need to know."""

    config: RunConfig
    base: BaseIdentity
    distance: Literal["vae", "lpips", "pixels"]
    """What candidates are scored by; pixels, the mean absolute difference, without a base."""
    device: str
    """Kind of device and precision of the frozen weights, for instance `cuda bf16`; empty without a base."""
    data_digest: str

    @property
    def key(self) -> str:
        """Name of the run's folder: a digest of everything that decides its bytes, and of no path.

        Settings that only extend, divide or assemble the work do not count. Those that count as what they resolve to
        are here as base, distance, device and data.
        """
        content = {
            "config": counted_settings(self.config, Affects.RUN),
            "base": self.base.model_dump(),
            "distance": self.distance,
            "device": self.device,
            "data": self.data_digest,
        }
        return digest(["run", self.method_version, content])[:KEY_LENGTH]

    def settings_digest(self) -> str:
        """Return the digest that finished.json holds: of the key, and of the settings of the dataset."""
        return digest([self.key, counted_settings(self.config, Affects.DATASET)])

    def adapter_key(self, defect: str, records: Sequence[ImageRecord]) -> str:
        """Return the key of the adapter that paints `defect`: a digest of all that its training depends on.

        records: the real images, of which the references count.
        """
        learnt = self.config.defects_learnt_with(defect)
        content = {
            "references": [_contents(references_of(records, each)) for each in learnt],
            "base": [self.base.revision, self.device],
            "config": counted_settings(self.config, Affects.ADAPTER),
            "prompts": [self.config.prompts(each) for each in learnt],
            "seed": self.training_seed(defect),
        }
        return digest(["adapter", self.method_version, content])[:KEY_LENGTH]

    def training_seed(self, defect: str) -> int:
        """Return the seed of that adapter's training."""
        learnt = self.config.defects_learnt_with(defect)
        return derive_seed(self.config.seed, self.config.category, *learnt, "training")

    def shard_digest(
        self, specs: Sequence[SampleSpec], mask_hashes: Sequence[str], adapter: str, references: Sequence[ImageRecord]
    ) -> str:
        """Return 64 hex digits of all that decides a shard's bytes.

        specs, mask_hashes: its samples and the hashes of their planned masks. adapter: its hash. references: the real
        defects that its gates are calibrated on.
        """
        content = {
            "samples": [[spec.model_dump(mode="json"), sha] for spec, sha in zip(specs, mask_hashes, strict=True)],
            "adapter": adapter,
            "base": self.base.model_dump(),
            "device": self.device,
            "distance": self.distance,
            "config": counted_settings(self.config, Affects.SHARDS),
            "references": _contents(references),
        }
        return digest(["shard", self.method_version, content])


def counted_settings(config: RunConfig, what: Affects) -> dict[str, Any]:
    """Return the settings that affect any of `what`, by their path, without those that this painter does not mind."""
    needless = set() if config.generate.uses_base else {key.path for key in keys_of(RunConfig) if key.is_for_diffusion}
    return {path: value for path, value in settings_that_affect(config, what).items() if path not in needless}


def compared_settings(*configs: RunConfig) -> list[dict[str, Any]]:
    """Return the settings of each config that decide what is in its dataset, by their path.

    Where one painter alone needs a base, without those that only that one minds.
    """
    counted = [counted_settings(config, Affects.RUN | Affects.DATASET) for config in configs]
    if len({config.generate.uses_base for config in configs}) == 1:
        return counted
    return [{path: each[path] for path in each if all(path in other for other in counted)} for each in counted]


def _contents(records: Sequence[ImageRecord]) -> list[Any]:
    """Return what counts of real images; a white level only where it is not what the bit depth says."""
    return [
        [record.sha256, record.mask_sha256, *([record.white_level] if record.white_level else [])] for record in records
    ]
