"""The forecast of a run: what is left to do of it, and what that takes."""

from pydantic import BaseModel, ConfigDict


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
