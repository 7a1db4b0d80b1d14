"""Reports of check, status, gc and deploy: the command line prints them as lines or as JSON."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from defectfill.records.forecast import Forecast


class DefectImages(BaseModel):
    """The real images of a defect."""

    model_config = ConfigDict(frozen=True)

    defect: str
    references: tuple[str, ...]
    """File names."""
    held_out: int


class DefectWork(BaseModel):
    """Work left to do for a defect."""

    model_config = ConfigDict(frozen=True)

    defect: str
    is_trained: bool
    """Whether its adapter is there."""
    samples: int
    """To paint, if none is rejected."""
    unet_passes: int
    """Of these samples."""


class RemainingWork(BaseModel):
    """Work that a run has left to do."""

    model_config = ConfigDict(frozen=True)

    run: str
    """Folder or URL."""
    dataset: str
    """Folder or URL; there once the run is finished."""
    is_finished: bool
    """Nothing is left to do."""
    evaluation: bool
    """Whether an evaluation is, since dataset.promote asks for its verdict."""
    painter: str
    """generate.painter; those without a base train nothing."""
    base: str
    """Empty, as its revision, where the painter needs none."""
    base_revision: str
    distance: str
    """What candidates are selected by."""
    training_steps: int
    """Of each adapter."""
    trainings: int
    """Adapters to train; one that several defects share counts once."""
    count: int
    """Samples that are wanted of each defect."""
    candidates: int
    """Of each sample."""
    painting_steps: int
    older_shards: bool
    """Whether older runs have painted some of them, which is taken over as far as it would come out the same."""
    defects: tuple[DefectWork, ...]
    """None where the dataset is finished."""

    @property
    def paintings(self) -> int:
        """Samples to paint, if none is rejected."""
        return sum(each.samples for each in self.defects)


class Check(BaseModel):
    """Findings of a check: the images of a config, and the work of its run."""

    model_config = ConfigDict(frozen=True)

    category: str
    normals: int
    """To paint on."""
    test_normals: int
    """Set aside for test."""
    defects: tuple[DefectImages, ...]
    work: RemainingWork
    notes: tuple[str, ...]
    """What was decided about values of images and masks, a line each."""
    warnings: tuple[str, ...]
    """What looks wrong though it can be used, a line each."""
    forecast: Forecast | None
    """Where it was asked for and something is left to do."""


class SettingChange(BaseModel):
    """A setting, the base, the distance or the device, that was another when the dataset was made."""

    model_config = ConfigDict(frozen=True)

    key: str
    """Dotted."""
    before: Any
    now: Any


class FileChanges(BaseModel):
    """Real images and masks that differ from those of the dataset, by their paths in the category."""

    model_config = ConfigDict(frozen=True)

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Status(BaseModel):
    """State of a config's dataset; where it is not up to date, why, and the work left."""

    model_config = ConfigDict(frozen=True)

    category: str
    state: Literal["up to date", "stale", "never finished"]
    dataset: str | None
    """The newest finished one, folder or URL."""
    settings: tuple[SettingChange, ...] = ()
    files: FileChanges = FileChanges()
    refill: bool = False
    """Whether a review took samples out for which others are to be painted."""
    damage: str = ""
    """What is missing of the dataset, or no longer as large as it was written."""
    other_version: bool = False
    """Whether another version of defectfill made the dataset."""
    work: RemainingWork
    seconds: float | None = None
    """That are left at most, by what the last run took; None where it is not known."""


class GateAgreement(BaseModel):
    """One gate beside the decisions of people on samples that were painted."""

    model_config = ConfigDict(frozen=True)

    gate: str
    setting: str
    """Its key in section gates."""
    refused_of_taken_out: int
    """Of the samples that a person took out, those it refuses."""
    refused_of_kept: int
    """Of those that a person keeps."""
    separation: float | None
    """How often a sample that a person took out is further from passing than one that was kept, half of the equal ones
    counted: 1 where the gate's measure tells all, 0.5 where it tells nothing. None unless there are both."""


class Proposal(BaseModel):
    """A setting of the gates with which they would agree better."""

    model_config = ConfigDict(frozen=True)

    setting: str
    now: float
    proposed: float


class Agreement(BaseModel):
    """How far gates and people agree on the samples that people were sure of."""

    model_config = ConfigDict(frozen=True)

    kept: int
    """By a person, whatever the gates said."""
    taken_out: int
    agree: int
    """Of both, those on which all gates together say the same."""
    gates: tuple[GateAgreement, ...]
    proposals: tuple[Proposal, ...] = ()
    """Together the settings that agree best; empty unless they agree better on decisions that did not choose them."""
    best: int | None = None
    """On how many they agree with these; None where too few were decided on."""
    best_unseen: int | None = None
    """The same where each fifth of the decisions is held against settings that the others chose."""


class ReviewReport(BaseModel):
    """Decisions on a run's samples, as they are applied now."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    """Folder or URL."""
    decisions: dict[str, int]
    """Samples by decision, those of earlier reviews too."""
    kept: dict[str, int]
    """Samples in the dataset by defect."""
    taken_out: int
    """Samples that the gates kept and that are not in it by a decision, over all defects."""
    wanted: int
    """generate.count, of each defect."""
    is_finished: bool
    """Whether the dataset is as it is to be; else the next run paints others for those taken out."""
    agreement: Agreement


class GarbageReport(BaseModel):
    """What was removed from a category's output."""

    model_config = ConfigDict(frozen=True)

    category: str
    removed: tuple[str, ...]
    """Folders or URLs of runs and adapters, folders of trainings that were stopped."""


class Deployment(BaseModel):
    """A deployment on a Prefect server."""

    model_config = ConfigDict(frozen=True)

    name: str
    """flow/deployment."""
    starts: str
    """When: a cron line with its time zone, or in words."""


class RemovedDeployment(BaseModel):
    """A deployment that was removed, since its config is gone."""

    model_config = ConfigDict(frozen=True)

    name: str
    config: str


class Freed(BaseModel):
    """A run that was gone and is marked as crashed now, or slots that no run held and are free now."""

    model_config = ConfigDict(frozen=True)

    name: str
    """flow/deployment, or the limit of the pool's GPUs."""
    run: str = ""
    slots: int = 0


class DeployReport(BaseModel):
    """Deployments that deploy made, updated or removed, and what it freed."""

    model_config = ConfigDict(frozen=True)

    deployments: tuple[Deployment, ...]
    removed: tuple[RemovedDeployment, ...]
    freed: tuple[Freed, ...] = ()
    warnings: tuple[str, ...] = ()
