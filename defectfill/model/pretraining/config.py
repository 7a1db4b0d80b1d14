"""PretrainConfig: the YAML of `defectfill pretrain`, which trains a small base of its own from normal images."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from defectfill.config.base import BaseConfig, resolve_base
from defectfill.config.loading import ConfigSection, absolute, load_yaml

Width8 = Annotated[int, Field(ge=8, multiple_of=8)]
AUTOENCODER_SIZES = ("factor", "channels", "groups", "latent_channels")
DENOISER_SIZES = ("channels", "attention", "text_width")
Width32 = Annotated[int, Field(ge=32, multiple_of=32)]


class PicturesConfig(ConfigSection):
    """The pictures that the base learns from."""

    folders: dict[str, Path] = Field(default={})
    """Caption -> folder of normal images, for instance `hazelnut: ../data/hazelnut/train/good`."""
    toys: dict[str, int] = Field(default={})
    """Toy category -> how many pictures of it to make."""
    materials: int = Field(default=0, ge=0)
    """How many pictures of random materials to make: textures, shapes and light of any kind, no part in particular."""
    side_px: int = Field(default=160, ge=32)
    """Pictures are kept at this size (the shorter side of a real image); crops of them are drawn at `resolution`."""

    @model_validator(mode="after")
    def _some_and_known(self) -> Self:
        from defectfill.toy import CATEGORIES

        unknown = [name for name in self.toys if name not in CATEGORIES]
        if unknown:
            raise ValueError(f"toys: expected some of {', '.join(CATEGORIES)}, found {', '.join(unknown)}")
        if not self.folders and not sum(self.toys.values()) + self.materials:
            raise ValueError("expected folders of images, toys or materials, found none of them")
        return self


class AutoencoderConfig(ConfigSection):
    """The KL autoencoder."""

    steps: int = Field(default=6000, ge=0)
    """0, with a base to start from: it is left as it is."""
    parts: Literal["all", "decoder"] = "all"
    """What of it is trained. The decoder alone leaves the latents as they are, and with them what a denoiser learnt."""
    batch_size: int = Field(default=8, ge=1)
    crop_px: int = Field(default=64, ge=16, multiple_of=8)
    factor: Literal[4, 8] = 8
    """Pixels to one latent pixel, along a side. 4 keeps more of a picture in fewer channels; painting takes longer."""
    channels: tuple[Width8, ...] = (16, 32, 64, 96)
    """Widths from full resolution to that of the latents, three for factor 4, four for 8; multiples of 8."""
    groups: Literal[1, 2, 4, 8] = 8
    """Groups that channels are normalized in; with 1, differences of brightness and colour stay between them."""
    latent_channels: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    sharpness: float = Field(default=0.5, ge=0)
    """Weight of the error of the picture's edges beside the error of the picture."""
    colour: float = Field(default=0, ge=0)
    """Weight of the squared error of colour differences (R - G, B - mean of both) at a quarter of the side. Without it
    a small autoencoder of few latent channels paints coloured parts grey for long: the median of all colours is."""
    grain: float = Field(default=0, ge=0)
    """Weight of the error of how strong edges are in each patch, wherever they are. Without it fine grain comes out
    smooth: where it lies cannot be kept in so few latents, and none has a smaller error than a wrong one."""
    kl: float = Field(default=1e-6, ge=0)
    equivariance: float = Field(default=0.5, ge=0)
    """Weight of the same errors of the picture at half its size, decoded from latents at half their size. It keeps
    latents as smooth as pictures are, which is what makes them easy to denoise (Skorokhodov et al., ICML 2025)."""

    @model_validator(mode="after")
    def _as_many_widths_as_the_factor_needs(self) -> Self:
        needed = self.factor.bit_length()
        if len(self.channels) != needed:
            raise ValueError(f"channels: expected {needed} widths for factor {self.factor}, found {len(self.channels)}")
        return self


class DenoiserConfig(ConfigSection):
    """The inpainting UNet and its text encoder."""

    steps: int = Field(default=6000, ge=0)
    """0: it is left as it is; from nothing, a base comes out that only another training can start from."""
    batch_size: int = Field(default=16, ge=1)
    channels: tuple[Width32, Width32, Width32] = (64, 128, 192)
    """Widths at 1, 1/2 and 1/4 of the latent's side; multiples of 32."""
    attention: Literal["upper", "lower"] = "upper"
    """The two of these three levels that attend to the caption. "lower" spares the many latent pixels of factor 4."""
    text_width: int = Field(default=128, ge=32, multiple_of=32)
    learning_rate: float = Field(default=3e-4, gt=0)
    average: float = Field(default=0, ge=0, lt=1)
    """Decay of a running average (EMA) of the weights, for instance 0.999, that the base is written with. 0: none."""
    views: int = Field(default=4, ge=1)
    """Crops and masks per picture, encoded once and used over and over."""
    closest_px: int = Field(default=64, ge=16)
    """The closest view shows this much of a picture along a side, enlarged to `resolution`; the widest all of it."""
    marks: float = Field(default=0, ge=0, le=1)
    """Share of views whose hole is around a random line, spot or patch that the caption names, "nut with a line"; a
    quarter of these holes has no mark, and no caption of one."""
    boxed_marks: float = Field(default=0, ge=0, le=1)
    """Share of these holes that are a box which the mark lies in, not the mark's own outline: what is in them the
    caption alone tells. Without such the outline tells it all, and the words of the captions are never learnt."""
    timestep_shift: float = Field(default=1, ge=1)
    """How far the trained timesteps are moved towards noise: a share t of the noise becomes s t / (1 + (s - 1) t)
    (Esser et al., ICML 2024). What a caption asks for is decided there; later the picture itself tells it."""
    polish_steps: int = Field(default=0, ge=0)
    """Steps that follow, at a quarter of the learning rate, on views without marks alone: the base then fills better
    what no caption marks."""
    empty_prompts: float = Field(default=0.1, ge=0, le=1)
    """Share of captions left out, for classifier-free guidance."""


class PretrainConfig(ConfigSection):
    """Everything a pretrained base depends on."""

    output: Path
    """The folder of the base, in the diffusers format."""
    start: str | None = Field(default=None, min_length=1)
    """A base to go on from, `mini` or a folder; the sizes are its own. None: from nothing."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    resolution: int = Field(default=128, ge=32, multiple_of=32)
    pictures: PicturesConfig
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: convolutions and products of matrices in half the bits, weights and losses in full ones."""
    half: bool = False
    """Write the weights as fp16, in half the space; they are used as base.precision says."""
    checkpoint_every: int = Field(default=250, ge=1)
    """Steps."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")

    @model_validator(mode="after")
    def _sizes_are_said_once(self) -> Self:
        if self.start is None:
            if not self.autoencoder.steps:
                raise ValueError("autoencoder.steps: expected at least 1 without a base to start from")
            return self
        said = [f"autoencoder.{key}" for key in AUTOENCODER_SIZES if key in self.autoencoder.model_fields_set]
        said += [f"denoiser.{key}" for key in DENOISER_SIZES if key in self.denoiser.model_fields_set]
        if said:
            raise ValueError(f"{', '.join(said)}: the base that `start` names has sizes of its own; leave them out")
        return self

    @model_validator(mode="after")
    def _pictures_are_large_enough(self) -> Self:
        needed = max(self.denoiser.closest_px, self.autoencoder.crop_px)
        if self.pictures.side_px < needed:
            raise ValueError(f"pictures.side_px: expected {needed} at least, as large as the crops drawn of them")
        return self


def load_pretrain_config(path: Path) -> PretrainConfig:
    """Load the config in the YAML file `path`, its relative paths resolved against the file's folder."""
    config = load_yaml(path, PretrainConfig)
    named = config.pictures.folders.items()
    folders = {name: absolute(images, path, f"pictures.folders.{name}") for name, images in named}
    pictures = config.pictures.model_copy(update={"folders": folders})
    start = config.start and resolve_base(BaseConfig(model=config.start), path).model
    output = absolute(config.output, path, "output")
    return config.model_copy(update={"pictures": pictures, "start": start, "output": output})
