"""The section `generate`: painting."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from defectfill.config.affects import Affects
from defectfill.config.loading import ConfigSection, Formerly
from defectfill.config.types import Fraction, Solver

LARGEST_SIDE_PX = 1024
"""Without a base windows are painted as large as they are, up to this side: candidates of larger ones fill memory."""


class GenerateConfig(ConfigSection):
    """Painting."""

    count: Annotated[int, Affects.DATASET] = Field(default=200, ge=1, le=10_000_000)
    """Images wanted per defect. Raising it later extends the dataset and touches nothing made before."""
    max_attempts: Annotated[float, Affects.DATASET] = Field(default=2.0, ge=1, le=100)
    """Samples are planned anew for those rejected, up to this many times the count in all; 1: none. A defect of whose
    first 50 samples fewer than 5 % are kept is given up."""
    painter: Annotated[Literal["diffusion", "paste", "perlin"], Affects.SHARDS | Affects.PLAN] = "diffusion"
    """Who paints. diffusion: the base with the defect's adapter. paste: a reference's defect is cut out, and turned and
    scaled into the planned mask. perlin: the planned mask is filled with a random material, as in DRAEM. These two need
    neither base nor training nor GPU."""
    candidates: int = Field(default=8, ge=1, le=1000)
    """Paintings per sample, of which Low-Fidelity Selection keeps one. paste paints several for `choice: balanced`
    only, since nothing that it paints is a reconstruction; perlin always paints one."""
    steps: Annotated[int, Affects.SHARDS | Affects.DIFFUSION] = Field(default=50, ge=1, le=500)
    """The noise schedule's 1000 timesteps are divided evenly; for DDIM best a divisor of 1000."""
    solver: Annotated[Solver, Affects.SHARDS | Affects.DIFFUSION] = "ddim"
    """DDIM as in the paper; DPM-Solver++ (2M) and UniPC paint nearly as well in fewer steps."""
    guidance_scale: Annotated[float, Affects.SHARDS | Affects.DIFFUSION] = Field(default=2.0, ge=1)
    """Classifier-free guidance; 1 turns it off and halves the cost."""
    choice: Literal["lfs", "balanced"] = "lfs"
    """lfs: the least reconstructed candidate, as in the paper, which favours the grossest change. balanced: of those
    that pass the gates, the one whose drawn mask agrees best with the planned one and whose appearance is nearest a
    reference's."""
    selection: Annotated[Literal["full", "early"], Affects.SHARDS | Affects.DIFFUSION] = "full"
    """early: after `early_share` of the steps only the `early_keep` candidates go on that promise to be the least
    reconstructed, by their predicted latents inside the mask."""
    early_share: Annotated[Fraction, Affects.SHARDS | Affects.DIFFUSION] = 0.2
    """With `selection: early`: share of the steps after which candidates are dropped."""
    early_keep: Annotated[int, Affects.SHARDS | Affects.DIFFUSION] = Field(default=3, ge=1)
    """And how many go on."""
    distance: Annotated[Literal["auto", "vae", "lpips"], Affects.RESOLVED | Affects.DIFFUSION] = "auto"
    """Perceptual distance of the selection. auto: lpips where its extra and weights are installed, else vae."""
    samples_per_batch: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], Affects.SHARDS | Affects.DIFFUSION] = (
        "auto"
    )
    """The UNet sees samples_per_batch x candidates (x 2 under guidance) images at once. auto: as many as fit into the
    memory of the GPU, 2 on a CPU."""
    shard_size: Annotated[int, Affects.NOTHING] = Field(default=16, ge=1)
    """Samples per shard, the unit of work and of resume."""
    vae_normals: Annotated[float, Affects.SHARDS | Affects.DIFFUSION, Formerly("codec_normals")] = Field(
        default=0, ge=0, le=1
    )
    """For this share of the kept images the same window without a defect is added too, as a normal: a detector then
    cannot tell defects by the traces of the VAE. paste and perlin leave none."""
    detail: Literal["none", "source", "reference"] = "source"
    """Where a window is larger than the model's square, what is pasted lacks the finest structure of its surroundings.
    source: it gets the source's own. reference: that, as strong as the references have it over their surroundings."""
    min_change: float = Field(default=0.04, gt=0, lt=1)
    """Changes of brightness or colour below this share of the value range are noise, and not pasted."""

    @property
    def uses_base(self) -> bool:
        """Whether the painter is the base with adapters, which are to be trained."""
        return self.painter == "diffusion"

    def painted_side(self, window_side: int, resolution: int) -> int:
        """Return the side of the square in which a window of so many pixels is painted.

        The base's `resolution`; without a base the window's own, as far as it is not larger than LARGEST_SIDE_PX.
        """
        return resolution if self.uses_base else min(window_side, LARGEST_SIDE_PX)

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
