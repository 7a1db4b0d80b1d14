"""The plan: one row per sample to be made, and the blocks of them that are painted together."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from defectfill.io.files import InnerPath
from defectfill.records.arrow import Int64, arrow_schema


class SampleSpec(BaseModel):
    """One row of the plan."""

    model_config = ConfigDict(frozen=True)

    sample_id: str
    defect: str
    index: int
    """0, 1, 2 ... within the defect."""
    seed: Int64
    """Of the painting; depends on the run's seed, category, defect and index alone."""
    prompt: str
    source_path: InnerPath
    """The normal, relative to the category's folder."""
    source_sha256: str
    planned_mask_path: InnerPath
    """Relative to the run's folder."""
    window: tuple[int, int, int, int]
    """left, top, right, bottom in source pixels."""
    latent_cells: float
    """Latent cells of the model that the width of the mask spans there; below 1 it is hardly painted as asked."""
    mask_sampler: str
    mask_like: tuple[str, ...]
    """The references that the mask's defects follow in size and direction."""
    mask_area_fraction: float
    """Of the whole image."""
    reason: str = ""
    """Why no mask could be placed; such a sample is not painted."""


SCHEMA = arrow_schema(SampleSpec)
"""plan.parquet"""


@dataclass(frozen=True)
class Shard:
    """A block of consecutive samples of one defect: the unit of work, retry and resume."""

    defect: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Its folder below `shards/`: defect, first sample and the one after the last."""
        return f"{self.defect}/{self.start:06d}-{self.stop:06d}"

    @classmethod
    def named(cls, name: str) -> "Shard":
        """Return the shard of that name."""
        defect, samples = name.rsplit("/", 1)
        start, stop = samples.split("-")
        return cls(defect, int(start), int(stop))
