"""The sections `schedule` and `runner`: when a category runs, and who paints."""

from datetime import datetime
from typing import Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from defectfill.config.loading import ConfigSection


class ScheduleConfig(ConfigSection):
    """The times at which `defectfill deploy` has the category run; without the section at none."""

    cron: str
    """Minute, hour, day of the month, month, day of the week: `0 2 * * 1` is Mondays at two."""
    timezone: str = "UTC"
    """Name in the IANA database, for instance `Europe/Berlin`."""
    overlap: Literal["queue", "skip"] = "queue"
    """The fate of a run that is due while the one before it is under way."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        from cronsim import CronSim, CronSimError

        if len(cron.split()) != 5:
            raise ValueError("expected the five fields of cron")
        try:
            CronSim(cron, datetime(2000, 1, 1))
        except CronSimError as error:
            raise ValueError(f"no such time: {error}") from error
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError("unknown time zone")
        return timezone


class RunnerConfig(ConfigSection):
    """The processes and machines that paint shards. The same bytes come out everywhere on the same kind of machine."""

    kind: Literal["local", "dask"] = "local"
    """local: on this machine; dask: by the workers of a Dask cluster (extra `dask`)."""
    processes: int = Field(default=1, ge=1)
    """Shards that are painted at the same time, each by a process that keeps the base loaded, one per GPU. With one
    and `local` the run's own process paints."""
    address: str | None = None
    """dask: of the scheduler of a cluster that is there; without it one of `processes` workers is started here."""

    @model_validator(mode="after")
    def _address_is_dasks(self) -> Self:
        if self.address and self.kind != "dask":
            raise ValueError("address: only kind dask has one")
        return self
