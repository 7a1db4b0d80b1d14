"""run.json: what a run depends on, and the key that names it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config.run import RunConfig
from defectfill.config.train import WITHOUT_EFFECT
from defectfill.io.hashing import digest
from defectfill.model.base.identity import BaseIdentity

METHOD_VERSION = 7
"""Part of every key; raised when the same config and data would give other bytes than before."""


KEY_LENGTH = 12


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
