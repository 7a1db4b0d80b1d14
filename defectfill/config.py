"""RunConfig: one YAML file per product category, checked whole before anything runs.

Every key of the YAML is a field here, with its unit, its range and its default. Defaults are the paper's
values (Song et al., CVPR 2025) where the paper gives one; `configs/hazelnut.yaml` spells them all out.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from defectfill.configfile import Part, absolute, load_yaml
from defectfill.errors import ConfigError
from defectfill.mask_config import MasksConfig
from defectfill.runner_config import RunnerConfig, ScheduleConfig
from defectfill.storage import check_url, is_remote, local_folder

BUNDLED_BASES = Path(__file__).parent / "bases"
"""Bases that come with defectfill, each a folder in the diffusers format."""

Fraction = Annotated[float, Field(gt=0, le=1)]
Solver = Literal["ddim", "dpm", "unipc"]
FolderName = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A category or defect: it becomes the name of folders, so it is letters, digits, `_`, `-` and `.`."""


def _as_root(root: Any) -> Any:
    return str(root) if isinstance(root, Path) else root


def _checked_root(root: str) -> str:
    return check_url(root) if is_remote(root) else root


Root = Annotated[str, Field(min_length=1), BeforeValidator(_as_root), AfterValidator(_checked_root)]
"""A folder, or s3://bucket/prefix of S3-compatible storage (extra `s3`), of which a copy is kept here."""


class References(Part):
    """How many real defects per defect type are learnt from; the rest is held out."""

    fraction: Fraction | None = None
    """Share of the pairs, rounded up; the paper's third."""
    count: int | None = Field(default=None, ge=1)
    """Or a number of pairs."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.fraction is None) == (self.count is None):
            raise ValueError("give either fraction or count")
        return self


class DataConfig(Part):
    """Where the real images are, in MVTec AD's layout, and which of them are learnt from."""

    root: Root
    """Folder or URL that holds the folder of the category."""
    defects: tuple[FolderName, ...]
    """Folders below `test/` to synthesize."""
    references: References = References(fraction=1 / 3)
    group_column: str | None = None
    """Column of `groups.csv` that names the physical part; needed only where that is not plain."""

    @field_validator("defects")
    @classmethod
    def _distinct(cls, defects: tuple[str, ...]) -> tuple[str, ...]:
        if not defects:
            raise ValueError("names no defect")
        if len(set(defects)) < len(defects):
            raise ValueError("a defect is named twice")
        if "good" in defects:
            raise ValueError("'good' is the folder of normal images, not a defect")
        return defects


class BaseConfig(Part):
    """The inpainting model that is adapted: Stable Diffusion 2 inpainting or anything of its shape."""

    model: str = Field(min_length=1)
    """A folder in the diffusers format, the name of a base that comes with defectfill (`mini`), or a hub id."""
    revision: str | None = None
    """The hub's commit, 40 hex digits; a folder has none."""
    resolution: int = Field(default=512, ge=32, le=8192, multiple_of=8)
    """Side of the model's square input, in pixels. Of a folder that is here: by default what it was trained at."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU, fp32 on a CPU. LoRA weights and losses are always fp32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")


class WindowConfig(Part):
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


class LossWeights(Part):
    """L = defect L_def + object L_obj + attention L_attn (Eq. 9)."""

    defect: float = Field(default=0.5, ge=0)
    object: float = Field(default=0.2, ge=0)
    attention: float = Field(default=0.05, ge=0)


class BoxesConfig(Part):
    """The random boxes whose union masks the object branch (M_rand)."""

    count: int = Field(default=30, ge=1, le=10_000)
    min_side: Fraction = 0.03
    """Shares of the crop's side."""
    max_side: Fraction = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError("min_side is larger than max_side")
        return self


WITHOUT_EFFECT = ("checkpoint_every", "tensorboard")
"""Keys of `train` that change nothing of what is learnt."""


class TrainConfig(Part):
    """LoRA training, one adapter per defect."""

    steps: int = Field(default=2000, ge=1, le=10_000_000)
    batch_size: int = Field(default=4, ge=1, le=10_000)
    rank: int = Field(default=8, ge=1, le=10_000)
    alpha: int = Field(default=16, ge=1)
    """LoRA's alpha: updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    learning_rate_unet: float = Field(default=2e-4, gt=0, le=1)
    learning_rate_text_encoder: float = Field(default=4e-5, gt=0, le=1)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    weights: LossWeights = LossWeights()
    object_background: float = Field(default=0.3, ge=0, le=1)
    """The paper's alpha: weight of L_obj outside the defect (Eq. 7)."""
    weight_inside_square: bool = True
    """Eq. 5 and 7 as printed put the weight inside the square, so the background counts alpha squared."""
    reduction: Literal["mean", "area"] = "mean"
    """mean: over all elements; area: over the sum of weights, so small defects count as much as large ones."""
    boxes: BoxesConfig = BoxesConfig()
    max_resize: float = Field(default=1.125, ge=1, le=2)
    """Image and mask are enlarged by u in [1, max_resize] together, then cropped at random."""
    pool: int = Field(default=256, ge=0, le=1_000_000)
    """Crops that are encoded once, before the first step; steps draw from them. 0: every step encodes its own, and so
    it is where the steps of a short training encode less than the pool would."""
    pool_boxes: int = Field(default=2, ge=1)
    """Random-box masks for every crop of the pool."""
    sample_latents: bool = False
    """Draw latents from the autoencoder's posterior in every step, instead of taking its mode."""
    memory: Literal["auto", "fast", "low"] = "auto"
    """low: the batch goes through the UNet row by row, and the backward pass computes activations again. It takes
    longer and, but for which activations dropout drops, learns the same. auto: fast, if there is memory enough."""
    processes: int = Field(default=1, ge=1)
    """Processes that share every batch, one per GPU."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints; a training that is stopped goes on from the last one. It changes no result."""
    look_every: int = Field(default=500, ge=1)
    """Steps between looks: a preview picture, and the loss of the references kept for validation. The last step has
    one too."""
    validation_references: int = Field(default=0, ge=0)
    """References of each defect that are not learnt from and tell how the loss goes on what is new."""
    select: Literal["last", "best"] = "last"
    """The adapter that is kept: after the last step, or of the look with the lowest validation loss."""
    tensorboard: bool = False
    """Write the curve for TensorBoard too, below `tensorboard/` in the category's output; needs its extra."""
    token: str = Field(default="sks", min_length=1)
    """[V*]: a rare word that the tokenizer keeps as one token."""
    joint: bool = False
    """One adapter for all defects of the category, each under a word of its own, instead of one adapter each."""
    tokens: dict[FolderName, str] = Field(default={})
    """With `joint`: defect -> its word, in place of `token`."""
    prompt_defect: str = "A photo of {token}"
    prompt_object: str = "A {object_name} with {token}"

    @field_validator("prompt_defect", "prompt_object")
    @classmethod
    def _has_token(cls, prompt: str) -> str:
        rest = re.sub(r"{token}|{object_name}", "", prompt)
        if "{token}" not in prompt or "{" in rest or "}" in rest:
            raise ValueError("a prompt holds {token}, perhaps {object_name}, and nothing else in braces")
        return prompt

    @model_validator(mode="after")
    def _every_process_has_rows(self) -> Self:
        if self.processes > self.batch_size:
            raise ValueError(f"processes: {self.processes} cannot share a batch of {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _something_to_select_by(self) -> Self:
        if self.select == "best" and self.validation_references == 0:
            raise ValueError("select: the best is found by its validation loss; set validation_references")
        return self

    @model_validator(mode="after")
    def _words_for_joint_training(self) -> Self:
        if self.tokens and not self.joint:
            raise ValueError("tokens: only train.joint takes a word per defect; else there is token")
        if len(set(self.tokens.values())) < len(self.tokens):
            raise ValueError("tokens: expected another word for every defect")
        return self

    def content(self) -> dict[str, Any]:
        """All that decides the adapter's bytes."""
        return self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))


class GenerateConfig(Part):
    """Painting."""

    count: int = Field(default=200, ge=1, le=10_000_000)
    """Images wanted per defect. Raising it later extends the dataset and touches nothing made before."""
    max_attempts: float = Field(default=2.0, ge=1, le=100)
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
    that pass the gates, the one whose drawn mask agrees best with the planned one and whose looks are nearest a
    reference's."""
    selection: Literal["full", "early"] = "full"
    """early: after `early_share` of the steps only the `early_keep` candidates go on that promise to be the least
    reconstructed, by their predicted latents inside the mask."""
    early_share: Fraction = 0.2
    early_keep: int = Field(default=3, ge=1)
    distance: Literal["auto", "vae", "lpips"] = "auto"
    """Perceptual distance of the selection. auto: lpips where its extra and weights are installed, else vae."""
    samples_per_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """The UNet sees samples_per_batch x candidates (x 2 under guidance) images at once. auto: as many as fit into the
    memory of the GPU, 2 on a CPU."""
    shard_size: int = Field(default=16, ge=1)
    """Samples per shard, the unit of work and of resume."""
    codec_normals: float = Field(default=0, ge=0, le=1)
    """For this share of the kept images the same window without a defect is added too, as a normal: a detector then
    cannot tell defects by the traces of codec and blend."""
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


class GatesConfig(Part):
    """What a sample must be like to be kept."""

    min_drawn_fraction: float = Field(default=0.3, ge=0, le=1)
    """mask_lost: less than this share of the planned mask really changed."""
    max_off_mask_fraction: float = Field(default=0.75, ge=0, le=1)
    """off_mask: more than this share of the drawn mask lies outside the planned one."""
    tolerance: float = Field(default=1.0, ge=0, le=20)
    """How far a sample's looks may lie beyond what the references span. too_faint: contrast below the faintest
    reference's by 1.1 to this power; seam_visible, out_of_range: seam and contrast above, by the factor by which one
    reference exceeds the others to this power; out_of_range too: looks further from the nearest reference than any
    reference's are from the others, by 1.1 to this power."""
    max_likeness: float = Field(default=0.5, ge=0, le=1)
    """near_copy: this share of the way from the most alike two references to equality."""


class DatasetConfig(Part):
    """What the finished dataset tells its consumers."""

    real_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of anomalous draws that sampling_weight gives to real references, the rest being synthetic."""
    label: Literal["drawn", "planned"] = "drawn"
    """The mask of a synthetic image: what really changed, or what was asked for. Both are kept."""
    rejected_images: bool = False
    """Whether images and masks of rejected samples come along, below rejected/. Their rows always do, and the shards
    keep them."""


class OutputConfig(Part):
    root: Root


class RunConfig(Part):
    """Everything one run depends on. `load_config` makes it from a YAML file."""

    category: FolderName
    object_name: str = Field(min_length=1)
    """The noun of the object prompt, for instance `metal nut` for the category `metal_nut`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: DataConfig
    base: BaseConfig
    window: WindowConfig = WindowConfig()
    train: TrainConfig = TrainConfig()
    masks: MasksConfig = MasksConfig()
    generate: GenerateConfig = GenerateConfig()
    gates: GatesConfig = GatesConfig()
    dataset: DatasetConfig = DatasetConfig()
    output: OutputConfig
    runner: RunnerConfig = RunnerConfig()
    schedule: ScheduleConfig | None = None

    @property
    def category_folder(self) -> Path:
        """Where the real images of the category are."""
        return local_folder(self.data.root) / self.category

    @property
    def category_output(self) -> Path:
        """Where all that is made of it is."""
        return local_folder(self.output.root) / self.category

    @model_validator(mode="after")
    def _one_word_per_defect(self) -> Self:
        if self.train.joint and set(self.train.tokens) != set(self.data.defects):
            raise ValueError(f"train.tokens: train.joint needs a word for each of {', '.join(self.data.defects)}")
        return self

    def defects_learnt_with(self, defect: str) -> tuple[str, ...]:
        """The defects of the adapter that paints `defect`."""
        return self.data.defects if self.train.joint else (defect,)

    def token(self, defect: str) -> str:
        """[V*] of a defect."""
        return self.train.tokens.get(defect, self.train.token)

    def prompts(self, defect: str) -> tuple[str, str]:
        """The prompts of the defect branch and of the object branch."""
        words = {"token": self.token(defect), "object_name": self.object_name}
        return self.train.prompt_defect.format(**words), self.train.prompt_object.format(**words)


def load_config(path: Path, count: int | None = None) -> RunConfig:
    """The config in the YAML file `path`, with `count` in place of generate.count where it is given.

    `${NAME}` is replaced by the environment variable, and relative paths are resolved against the file's
    folder. Raises ConfigError with one message per mistake, each with the key's path.
    """
    config = _resolve(load_yaml(path, RunConfig), Path(path))
    if count is None:
        return config
    if count < 1:
        raise ConfigError(f"count: expected at least 1, found {count}")
    return config.model_copy(update={"generate": config.generate.model_copy(update={"count": count})})


def _resolve(config: RunConfig, file: Path) -> RunConfig:
    """The `config` in a file with its relative paths made absolute; a base that is a folder is told from a hub id."""
    data = config.data.model_copy(update={"root": _resolve_root(config.data.root, file, "data.root")})
    output = config.output.model_copy(update={"root": _resolve_root(config.output.root, file, "output.root")})
    base, masks = _resolve_base(config.base, file), _resolve_masks(config.masks, file)
    return config.model_copy(update={"data": data, "output": output, "base": base, "masks": masks})


def _resolve_root(root: str, file: Path, key: str) -> str:
    return root if is_remote(root) else str(absolute(Path(root), file, key))


def _resolve_masks(masks: MasksConfig, file: Path) -> MasksConfig:
    def resolved(part: Part, block: str, *names: str) -> dict[str, Path]:
        paths = {name: getattr(part, name) for name in names}
        return {name: absolute(path, file, f"{block}.{name}") for name, path in paths.items() if path}

    drawn = ("allowed", "forbidden", "drawn_on")
    zones = masks.zones and masks.zones.model_copy(update=resolved(masks.zones, "masks.zones", *drawn))
    return masks.model_copy(update={"zones": zones, **resolved(masks, "masks", "folder")})


def _resolve_base(base: BaseConfig, file: Path) -> BaseConfig:
    """`base` with an absolute path where it is a folder, beside the config or bundled, and with its resolution."""
    beside, bundled = absolute(Path(base.model), file, "base.model"), BUNDLED_BASES / base.model
    if base.model.startswith((".", "/", "~")) or beside.is_dir():
        place = beside
    elif bundled.parent == BUNDLED_BASES and bundled.is_dir():
        place = bundled
    else:
        return base
    native = {} if "resolution" in base.model_fields_set else _native_resolution(place)
    return base.model_copy(update={"model": str(place), **native})


def _native_resolution(base: Path) -> dict[str, int]:
    """{"resolution": side in pixels that the base in a folder was trained at}, or nothing where it does not say."""
    try:
        latent_side = json.loads((base / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"]
        levels = len(json.loads((base / "vae" / "config.json").read_text(encoding="utf-8"))["block_out_channels"])
        return {"resolution": int(latent_side) * 2 ** (levels - 1)}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
