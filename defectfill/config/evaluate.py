"""The section `evaluate`: detectors that say whether the dataset helps."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from defectfill.config.loading import ConfigSection

ArmName = Literal[
    "real",
    "real_augmented",
    "real_paste",
    "real_perlin",
    "synthetic",
    "mixed_75",
    "mixed_50",
    "mixed_25",
    "two_stage",
    "gates_off",
    "unseen",
    "ceiling",
]
DetectorName = Literal["unet", "linear"]
REFERENCE_ARM: ArmName = "real_augmented"
"""What all other arms are compared with: the references with classical augmentation."""


class EvaluateConfig(ConfigSection):
    """Detectors trained on the dataset and on what it is compared with, and tested on the real images held out."""

    arms: tuple[ArmName, ...] = get_args(ArmName)[:-1]
    """What is compared; `ceiling` trains on all real defects in cross-validation. real_augmented and a mixed arm are
    needed."""
    detectors: tuple[DetectorName, ...] = ("unet", "linear")
    """unet: a U-Net from scratch. linear: a linear head per pixel on frozen features. The first decides the verdict."""
    workers: int = Field(default=1, ge=1, le=1000)
    """Trainings at the same time, each with its share of the CPU's threads: two with one thread each are quicker than
    one after the other with two."""
    seeds: int = Field(default=3, ge=1, le=100)
    """Trainings of each arm, of weights and draws; for published tables 5."""
    steps: int = Field(default=2000, ge=1, le=10_000_000)
    """Optimiser steps, the same in all arms."""
    checks: int = Field(default=8, ge=1, le=10_000)
    """How often the validation part is looked at; the best step by its pixel AP is tested."""
    batch_size: int = Field(default=8, ge=2, le=10_000)
    """Crops per step; half of them of normals, the same ones in all arms."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Of the U-Net; AdamW."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the trainings' products; weights and losses are fp32. auto: bf16 on a GPU, fp32 on a CPU."""
    crop_px: int = Field(default=256, ge=32, le=8192, multiple_of=16)
    """Side of the crops that the detectors learn from; whole images are tested by a sliding window of this side."""
    image_px: Annotated[int, Field(ge=32)] | Literal["auto"] = "auto"
    """Pixels to which the longer side of images is brought, where it is larger. auto: crop_px or as many more as the
    median defect of the references needs to be 8 px wide, at most what the images have."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Of the groups of references of each defect and of the normals, not trained on; at least one, but none of a single
    one."""
    features: Literal["auto", "vae", "efficientnet"] = "auto"
    """Of the linear detector and of the fidelity figures. vae: the encoder of the base. auto: efficientnet where its
    extra is installed."""

    @field_validator("arms", "detectors")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) < len(names):
            raise ValueError("expected one name or more, each once")
        return names

    @model_validator(mode="after")
    def _reference_among_them(self) -> Self:
        if REFERENCE_ARM not in self.arms:
            raise ValueError(f"arms: expected {REFERENCE_ARM} among them, which the others are compared with")
        if not any(arm.startswith("mixed_") for arm in self.arms):
            raise ValueError("arms: expected a mixed one among them, which the verdict is about")
        return self
