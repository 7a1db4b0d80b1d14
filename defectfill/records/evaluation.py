"""What an evaluation finds: trials of detectors, differences with intervals, and a verdict per defect."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from defectfill.config.evaluate import ArmName, DetectorName

EVALUATION_VERSION = 6
"""Part of every trial's key; raised when the same images and settings would give other figures."""
VerdictWord = Literal["helps", "no difference found", "misleads", "harms", "not trained"]
"""misleads: no difference where references are mixed in; alone, the images teach less than half of what those do."""


class Trial(BaseModel):
    """One training of a detector on an arm."""

    model_config = ConfigDict(frozen=True)

    arm: ArmName
    detector: DetectorName
    seed: int

    @property
    def name(self) -> str:
        """The folder of what it found."""
        return f"{self.arm}-{self.detector}-{self.seed}"

    @classmethod
    def named(cls, name: str) -> "Trial":
        """Return the trial of such a name."""
        arm, detector, seed = name.split("-")
        return cls.model_validate({"arm": arm, "detector": detector, "seed": int(seed)})


class Training(BaseModel):
    """How a training went."""

    images: dict[str, int]
    """Real, synthetic and normal images trained on."""
    first_loss: float
    last_loss: float
    """Means over the first steps, five at most, and over the last tenth of them."""
    validation_pixel_ap: tuple[float, ...]
    best_step: int
    threshold: float
    """Image score at which the validation part's F1 is largest."""
    constant: bool
    """Whether the network says the same of every pixel of the test images."""
    seconds: float

    @property
    def learnt(self) -> bool:
        """Whether the loss fell by a tenth and the maps are not constant."""
        return not self.constant and self.last_loss < 0.9 * self.first_loss


class Scores(BaseModel):
    """Metrics over the held-out images of one defect and the test normals; None where they cannot be had."""

    images: int
    normals: int
    image_auroc: float | None
    image_ap: float | None
    image_f1_max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    pixel_f1_max: float | None
    au_pro_30: float | None
    au_pro_05: float | None
    """Area under the per-region overlap up to a false positive rate of 0.3 and 0.05, over that rate."""
    recall: float
    """Of images, at the threshold of the validation part."""
    false_alarms: float | None
    """Per 1000 normals, at the same."""


class Difference(BaseModel):
    """How much larger the pixel AP of an arm is than that of the reference arm."""

    mean: float
    low: float
    high: float
    """95 % interval."""

    def __str__(self) -> str:
        return f"{self.mean:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}"


class ArmFigures(BaseModel):
    """An arm, detector and defect over all seeds."""

    arm: ArmName
    detector: DetectorName
    defect: str
    scores: Scores
    """Means over the seeds."""
    spread: float
    """Largest minus smallest pixel AP of the seeds."""
    learnt: int
    """Trainings that learnt anything, of as many as there are seeds."""
    difference: Difference | None
    """None for the reference arm itself."""


class Verdict(BaseModel):
    """Whether the dataset helps to find a defect."""

    verdict: VerdictWord
    sentence: str
    arm: ArmName
    """The arm that it is about: the dataset at the share of real draws nearest to its own."""
    best_arm: ArmName
    """With the largest mean pixel AP."""
    real_share: float | None
    """Of the mixed arms that with the largest mean pixel AP; None without any."""
    difference: Difference | None


class Subset(BaseModel):
    """Pixel AP over a part of the held-out images, by size of the defect or by its distance from the border."""

    defect: str
    by: Literal["size", "border distance"]
    part: str
    images: int
    reference: float | None
    mixed: float | None
    """Pixel AP of the reference arm and of the verdict's."""


class Evaluation(BaseModel):
    """verdict.json: everything that an evaluation found."""

    version: int
    """EVALUATION_VERSION then."""
    category: str
    rows_digest: str
    """Of the dataset's images and labels, by which it is told whether this is about them."""
    settings: dict[str, object]
    detectors: dict[DetectorName, str]
    """What each is, with what its features come from."""
    image_px: int
    defects: dict[str, Verdict]
    figures: tuple[ArmFigures, ...]
    subsets: tuple[Subset, ...]
    fidelity: dict[str, dict[str, object]]
    """How like the real defects the synthetic ones are, and how unlike each other, by defect."""
    fidelity_table: tuple[dict[str, str], ...]
    """The same in words, a row per defect and view."""
    notes: tuple[str, ...]

    @property
    def harmful(self) -> list[str]:
        """The defects that the dataset makes worse, or whose images by themselves teach too little."""
        return [defect for defect, each in self.defects.items() if each.verdict in ("harms", "misleads")]
