"""The section `masks`: where defects are asked for, and of which shape."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection


class ZonesConfig(ConfigSection):
    """Images the user drew, white where defects may, or must not, be. By default there are none."""

    allowed: Path | None = None
    """White where defects may be."""
    forbidden: Path | None = None
    """White where they must not be."""
    drawn_on: Path | None = None
    """The image that they were drawn over. Zones then follow the object; without it they are fixed in the frame."""

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.allowed is None and self.forbidden is None:
            raise ValueError("give allowed, forbidden or both")
        return self


class MasksConfig(ConfigSection):
    """The masks: where defects are asked for, and of which shape."""

    source: Annotated[Literal["references", "held_out"], Affects.PLAN] = "references"
    """references: drawn by the samplers, which learn from the references alone. held_out: the masks of the held-out
    images as they lie, each in turn, to repeat the paper's protocol. What is tested on then leaks into all that is
    made, and the dataset is stamped as leaky. Samplers, placement and what shapes masks then do not count."""
    samplers: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(default={"reference": 0.6, "morph": 0.4})
    """Sampler -> weight: reference, morph, stroke, blob, polygon, box, star, folder."""
    folder: Annotated[Path | None, Affects.RESOLVED] = None
    """Masks of your own, for the sampler `folder`."""
    rotation_degrees: float = Field(default=15.0, ge=0, le=180)
    """Turned by up to this much either way, relative to the object; less where the references differ less."""
    turn_freely: bool = False
    """In any direction instead; round objects have it so anyway."""
    elastic: float = Field(default=0.05, ge=0, le=0.3)
    """Largest displacement over the longer side of the mask's bounding box; 0 turns bending off."""
    flip: bool = True
    """Mirrored too, where the object's outline is as good as symmetric."""
    foreground: Literal["auto", "aligned", "full"] = "auto"
    """auto: defects lie inside the object, which is found in the image; where it does not stand out surely from its
    ground, as with aligned or, if the pictures are not alike, with full. aligned: the part lies the same in all
    pictures, which are brought on top of each other; defects lie where the references have them. full: anywhere in the
    frame."""
    min_probability: float = Field(default=0.5, gt=0, le=1)
    """A pixel counts as the object from this probability on; more keeps defects off doubtful outlines."""
    placement: Literal["learned", "uniform", "zones"] = "learned"
    """learned: where on the object the references' defects lie; uniform: anywhere on it; zones: anywhere in them."""
    zones: Annotated[ZonesConfig | None, Affects.RESOLVED] = None
    """They limit learned positions too."""
    novelty: float = Field(default=0.0, ge=0, le=1)
    """Share of the masks that are placed anywhere legal in spite of `learned`."""
    max_cut: float = Field(default=0.1, ge=0, lt=1)
    """At most this share of a shape may be cut off at the outline of the object."""
    area_tolerance: float = Field(default=1.5, ge=1)
    """A mask's share of its object lies within the references' range, extended by this factor both ways."""
    count: tuple[int, int] = (1, 1)
    """Fewest and most defects in one image."""
    min_distance_px: int = Field(default=0, ge=0)
    """Between the defects of one image."""

    @field_validator("samplers")
    @classmethod
    def _known(cls, samplers: dict[str, float]) -> dict[str, float]:
        from mask_sampling.sampling import FOLDER, SAMPLERS

        known = sorted([*SAMPLERS, FOLDER])
        unknown = [name for name in samplers if name not in known]
        if unknown or not samplers:
            raise ValueError(f"unknown sampler {unknown}, known are {known}" if unknown else "is empty")
        return samplers

    @field_validator("count")
    @classmethod
    def _ordered(cls, count: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= count[0] <= count[1]:
            raise ValueError("expected 1 <= fewest <= most")
        return count

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.folder is None) == ("folder" in self.samplers):
            raise ValueError("folder: the sampler `folder` and the key folder go together")
        if (self.placement == "zones" and self.zones is None) or (self.placement == "uniform" and self.zones):
            raise ValueError("zones: with placement `zones` they must be there, with `uniform` they must not")
        if self.source == "held_out" and (self.folder or self.zones):
            raise ValueError("source: held_out takes masks as they lie; folder and zones must not be there")
        return self
