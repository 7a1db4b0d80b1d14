"""The section `dataset`: what the finished dataset tells its consumers."""

from typing import Annotated, Literal

from pydantic import Field

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection


class DatasetConfig(ConfigSection):
    """The dataset as its consumers get it."""

    real_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of anomalous draws that sampling_weight gives to real references, the rest being synthetic."""
    label: Literal["drawn", "planned", "annotated"] = "drawn"
    """The mask of a synthetic image. drawn: the pixels that were pasted. planned: where the defect was asked for.
    annotated: drawn, grown by as many pixels as the references' masks reach beyond what one sees. All are kept."""
    rejected_images: bool = False
    """Images and masks of rejected samples come along, below rejected/. Their rows always do, and the shards
    keep them."""
    promote: Annotated[Literal["always", "unless_harmful"], Affects.NOTHING] = "always"
    """What `latest` points to. unless_harmful: a run ends with its evaluation, and a dataset that harms or
    misleads (docs/evaluation.md) does not become the latest."""
