"""The forecast of a run: what is left to do of it, and what that takes."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from defectfill.config.run import RunConfig
from defectfill.records.snapshot import ImageRecord

MIB = 2**20


class Forecast(BaseModel):
    """How long so many trainings and paintings take, what memory they need and what disk."""

    model_config = ConfigDict(frozen=True)

    trainings: int
    training_seconds: float
    """Of one adapter."""
    paintings: int
    painting_seconds: float
    """Of one sample with all its candidates."""
    memory_mib: float
    """Most memory of the device; on a CPU of the process."""
    disk_mib: float
    """For images in shards and dataset."""

    @property
    def seconds(self) -> float:
        """Of all trainings and paintings, without what rejected samples add."""
        return self.trainings * self.training_seconds + self.paintings * self.painting_seconds


def image_mib(config: RunConfig, records: Sequence[ImageRecord]) -> float:
    """Return the size of one sample in MiB: that of a normal's file on average."""
    sizes = [(config.category_folder / record.path).stat().st_size for record in records if record.role == "normal"]
    return sum(sizes) / len(sizes) / MIB
