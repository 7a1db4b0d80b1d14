"""The sections `window`, `generate`, `gates` and `dataset`: painting, and what is made of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection, Formerly
from defectfill.config.types import Fraction, Solver


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


class GenerateConfig(ConfigSection):
    """Painting."""

    count: Annotated[int, Affects.DATASET] = Field(default=200, ge=1, le=10_000_000)
    """Images wanted per defect. Raising it later extends the dataset and touches nothing made before."""
    max_attempts: Annotated[float, Affects.DATASET] = Field(default=2.0, ge=1, le=100)
    """Samples are planned anew for those rejected, up to this many times the count in all; 1: none."""
    candidates: int = Field(default=8, ge=1, le=1000)
    """Paintings per sample, of which Low-Fidelity Selection keeps one."""
    steps: int = Field(default=50, ge=1, le=500)
    """The noise schedule's 1000 timesteps are divided evenly; for DDIM best a divisor of 1000."""
    solver: Solver = "ddim"
    """DDIM as in the paper; DPM-Solver++ (2M) and UniPC paint nearly as well in fewer steps."""
    guidance_scale: float = Field(default=2.0, ge=1)
    """Classifier-free guidance; 1 turns it off and halves the cost."""
    choice: Literal["lfs", "balanced"] = "lfs"
    """lfs: the least reconstructed candidate, as in the paper, which favours the grossest change. balanced: of those
    that pass the gates, the one whose drawn mask agrees best with the planned one and whose appearance is nearest a
    reference's."""
    selection: Literal["full", "early"] = "full"
    """early: after `early_share` of the steps only the `early_keep` candidates go on that promise to be the least
    reconstructed, by their predicted latents inside the mask."""
    early_share: Fraction = 0.2
    """With `selection: early`: share of the steps after which candidates are dropped."""
    early_keep: int = Field(default=3, ge=1)
    """And how many go on."""
    distance: Annotated[Literal["auto", "vae", "lpips"], Affects.RESOLVED] = "auto"
    """Perceptual distance of the selection. auto: lpips where its extra and weights are installed, else vae."""
    samples_per_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """The UNet sees samples_per_batch x candidates (x 2 under guidance) images at once. auto: as many as fit into the
    memory of the GPU, 2 on a CPU."""
    shard_size: Annotated[int, Affects.NOTHING] = Field(default=16, ge=1)
    """Samples per shard, the unit of work and of resume."""
    vae_normals: Annotated[float, Formerly("codec_normals")] = Field(default=0, ge=0, le=1)
    """For this share of the kept images the same window without a defect is added too, as a normal: a detector then
    cannot tell defects by the traces of VAE and blend."""
    min_change: float = Field(default=0.04, gt=0, lt=1)
    """A pixel counts as drawn when it differs by more than this share of the value range."""

    @property
    def kept_candidates(self) -> int:
        """Candidates per sample that are painted to the end."""
        return min(self.early_keep, self.candidates) if self.selection == "early" else self.candidates

    @model_validator(mode="after")
    def _start_near_pure_noise(self) -> Self:
        if self.solver == "ddim" and 1000 % self.steps > 100:
            start = 1000 - 1000 % self.steps
            raise ValueError(f"steps: {self.steps} of DDIM would start at timestep {start} of 1000; take a divisor")
        return self


class GatesConfig(ConfigSection):
    """The thresholds that a sample must pass to be kept."""

    min_drawn_fraction: float = Field(default=0.3, ge=0, le=1)
    """mask_lost: less than this share of the planned mask really changed."""
    max_off_mask_fraction: float = Field(default=0.75, ge=0, le=1)
    """off_mask: more than this share of the drawn mask lies outside the planned one."""
    tolerance: float = Field(default=1.0, ge=0, le=20)
    """How far a sample's appearance may lie beyond what the references span. too_faint: contrast below the faintest
    reference's by 1.1 to this power; seam_visible, out_of_range: seam and contrast above, by the factor by which one
    reference exceeds the others to this power; out_of_range too: appearance further from the nearest reference than any
    reference's is from the others, by 1.1 to this power."""
    max_reference_correlation: Annotated[float, Formerly("max_likeness")] = Field(default=0.5, ge=0, le=1)
    """near_copy: this share of the way from the most alike two references to equality."""


class DatasetConfig(ConfigSection):
    """The dataset as its consumers get it."""

    real_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of anomalous draws that sampling_weight gives to real references, the rest being synthetic."""
    label: Literal["drawn", "planned"] = "drawn"
    """The mask of a synthetic image: what really changed, or what was asked for. Both are kept."""
    rejected_images: bool = False
    """Images and masks of rejected samples come along, below rejected/. Their rows always do, and the shards
    keep them."""
