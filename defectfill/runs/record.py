"""run.json: what a run depends on, and the key that names it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config.affects import Affects, settings_that_affect
from defectfill.config.run import RunConfig
from defectfill.io.hashing import digest
from defectfill.model.base.identity import BaseIdentity

METHOD_VERSION = 8
"""Part of every key; raised when the same config and data would give other bytes than before, or a key is renamed."""

KEY_LENGTH = 12


class RecordVersion(BaseModel):
    """The part of run.json that every version can read."""

    model_config = ConfigDict(frozen=True)

    method_version: int = 0
    """METHOD_VERSION of what made it."""


class RunRecord(RecordVersion):
    """run.json: all that the steps of a run need to know."""

    config: RunConfig
    base: BaseIdentity
    distance: Literal["vae", "lpips"]
    device: str
    """Kind of device and precision of the frozen weights, for instance `cuda bf16`."""
    data_digest: str

    @property
    def key(self) -> str:
        """Name of the run's folder: a digest of everything that decides its bytes, and of no path.

        Settings that only extend, divide or assemble the work do not count. Those that count as what they resolve to
        are here as base, distance, device and data.
        """
        content = {
            "config": settings_that_affect(self.config, Affects.RUN),
            "base": self.base.model_dump(),
            "distance": self.distance,
            "device": self.device,
            "data": self.data_digest,
        }
        return digest(["run", self.method_version, content])[:KEY_LENGTH]

    def settings_digest(self) -> str:
        """Return the digest that finished.json holds: of the key, and of the settings of the dataset."""
        return digest([self.key, settings_that_affect(self.config, Affects.DATASET)])
