"""The section `gates`: the thresholds that a sample must pass."""

from typing import Annotated

from pydantic import Field

from defectfill.config.loading import ConfigSection, Formerly


class GatesConfig(ConfigSection):
    """The thresholds that a sample must pass to be kept."""

    min_drawn_fraction: float = Field(default=0.3, ge=0, le=1)
    """mask_lost: the drawn mask covers less than this share of the planned one, times the share of the references'
    masks in which one sees the defect."""
    max_off_mask_fraction: float = Field(default=0.75, ge=0, le=1)
    """off_mask: more than this share of the drawn mask lies outside the planned one."""
    tolerance: float = Field(default=1.0, ge=0, le=20)
    """How far a sample's appearance may lie beyond what the references span; each factor is raised to this power.
    too_faint: contrast below the faintest reference's by 1.5; no_texture: fine structure below the smoothest
    reference's by 1.8, in any of its bands; blurred_edge: sharpness of the edge below the softest reference's by 1.2;
    seam_visible, out_of_range: seam and contrast above, by the factor by which one reference exceeds the others, 1.5 at
    least; out_of_range too: appearance further from the nearest reference than any reference's is from the others,
    by 1.5."""
    max_reference_correlation: Annotated[float, Formerly("max_likeness")] = Field(default=0.5, ge=0, le=1)
    """near_copy: this share of the way from the most alike two references to equality."""
