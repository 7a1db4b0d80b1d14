"""The section `window`: the crop around a defect that the model sees."""

from typing import Literal

from pydantic import Field

from defectfill.config.loading import ConfigSection


class WindowConfig(ConfigSection):
    """The square crop around a defect that the model sees, in training and in painting alike."""

    mode: Literal["crop", "whole"] = "crop"
    """whole: the full frame, as in the paper; small defects then cover few latent cells."""
    context: float = Field(default=2.5, ge=1.0, le=20.0)
    """Side of the window over the longer side of the mask's bounding box."""
    min_side_px: int = Field(default=64, ge=16)
    """Never less than this many source pixels."""
    min_cells: float = Field(default=1.0, ge=0)
    """Latent cells that the defect's width is to span: the window of a long thin one gets smaller for it, as far as
    both ends stay inside and min_side_px allows."""
