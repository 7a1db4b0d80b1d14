"""One row of the plan."""

from dataclasses import dataclass

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from defectfill.io.files import InnerPath


class SampleSpec(BaseModel):
    """One row of the plan."""

    model_config = ConfigDict(frozen=True)

    sample_id: str
    defect: str
    index: int
    """0, 1, 2 ... within the defect."""
    seed: int
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
    """How many of the model's latent cells the width of the mask spans there; below 1 it is hardly painted as asked."""
    mask_sampler: str
    mask_like: tuple[str, ...]
    """The references that the mask's defects follow in size and direction."""
    mask_area_fraction: float
    """Of the whole image."""
    reason: str = ""
    """Why no mask could be placed; such a sample is not painted."""


SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("defect", pa.string()),
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("source_path", pa.string()),
        ("source_sha256", pa.string()),
        ("planned_mask_path", pa.string()),
        ("window", pa.list_(pa.int32(), 4)),
        ("latent_cells", pa.float32()),
        ("mask_sampler", pa.string()),
        ("mask_like", pa.list_(pa.string())),
        ("mask_area_fraction", pa.float32()),
        ("reason", pa.string()),
    ]
)


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
