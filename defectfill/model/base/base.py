"""The frozen inpainting base: loading it, and the few calls everything else makes of it.

Shapes: B batch, H, W pixels, h, w latent pixels, C latent channels, L tokens, D text width.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError, ModelError
from defectfill.io.terminal import show_memory
from defectfill.model.base.device import resolve_device
from defectfill.model.base.identity import CONFIGS, WEIGHTS, folder_stamps
from defectfill.model.base.memory import gpu_memory


@dataclass(frozen=True)
class Base:
    """The parts of Stable Diffusion inpainting, in eval mode, on one device, with frozen weights."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler_config: dict[str, Any]
    device: torch.device
    dtype: torch.dtype

    @property
    def latent_scale(self) -> int:
        """Pixels per latent pixel along one side; 8 for Stable Diffusion."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def quieten_libraries() -> None:
    """Keep diffusers and transformers to errors on the terminal; their bars and hints are not about this run."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def load_base(config: BaseConfig) -> Base:
    """Load the base that `config` names, from its folder (offline) or from the hub at its pinned revision.

    Only safetensors are read. Raises ModelError where weights cannot be fetched or put on the device, ConfigError where
    files are damaged or do not belong together.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.schedulers import DDIMScheduler
    from transformers import CLIPTextModel, CLIPTokenizer

    quieten_libraries()
    device, dtype = resolve_device(config)
    folder = _local_folder(config)
    try:
        schedule = DDIMScheduler.load_config(folder, subfolder="scheduler", local_files_only=True)
        _check_schedule(DDIMScheduler.from_config(schedule))
        base = Base(
            tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True),
            text_encoder=_load_part(CLIPTextModel, folder, "text_encoder", dtype),
            vae=_load_part(AutoencoderKL, folder, "vae", dtype),
            unet=_load_part(UNet2DConditionModel, folder, "unet", dtype),
            scheduler_config={**schedule, "clip_sample": False},  # latents have no bounds
            device=device,
            dtype=dtype,
        )
        _tokens(base, [""])
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise nearly anything over configs and weights that do not fit
        found = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"base.model: {folder} cannot be loaded: {found}") from error
    try:
        for part in (base.text_encoder, base.vae, base.unet):
            part.to(device)
    except RuntimeError as error:
        raise ModelError(f"base.model: {config.model} cannot be put on {device}: {error}") from error
    if device.type == "cuda":
        show_memory(gpu_memory)
    else:
        base.vae.to(memory_format=torch.channels_last)  # a tenth to a third quicker there
    return base


def _load_part(cls: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    """Load a frozen model from `folder`/`part` onto the CPU; ValueError where it has not all of its weights."""
    model, info = cls.from_pretrained(
        folder, subfolder=part, use_safetensors=True, local_files_only=True, dtype=dtype, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{part}: its config asks for weights that are not there: {', '.join(missing[:3])} ...")
    return model.requires_grad_(False).eval()


def _check_schedule(scheduler: Any) -> None:
    """Raise ValueError where a scheduler cannot tell how noisy every timestep is."""
    scheduler.set_timesteps(1)
    clean: Tensor = scheduler.alphas_cumprod
    if not bool(((clean >= 0) & (clean <= 1)).all()):
        raise ValueError("scheduler/scheduler_config.json: its betas leave the signal outside of [0, 1]")


def shared_base(config: BaseConfig) -> Base:
    """Load a base once for everything in this process that uses it in turn; anew when its files were written again.

    Whoever adapts it first takes out what it was adapted with before.
    """
    return _shared_base(config, folder_stamps(config))


@lru_cache(maxsize=1)
def _shared_base(config: BaseConfig, stamps: Sequence[Any]) -> Base:
    return load_base(config)


def _local_folder(config: BaseConfig) -> Path:
    """Return the folder of the base; of a hub model the cached snapshot, into which only what is needed is fetched."""
    if Path(config.model).is_absolute():
        return Path(config.model)
    from huggingface_hub import snapshot_download

    patterns = [f"{part}/{pattern}" for part in CONFIGS for pattern in ("*.json", "*.txt")]
    patterns += [f"{part}/{name}{end}" for part, name in WEIGHTS.items() for end in (".safetensors", "-*.safetensors")]
    try:
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"base.model: {config.model} at {config.revision} cannot be fetched: {reason}") from error


def to_device(base: Base, tensor: Tensor) -> Tensor:
    """Copy a CPU tensor to the base's device; the CPU does not wait for work that a GPU was given before."""
    if base.device.type != "cuda":
        return tensor.to(base.device)
    return tensor.pin_memory().to(base.device, non_blocking=True)


def encode_images(base: Base, images: Tensor) -> Tensor:
    """Return latents [B, C, h, w] of images [B, 3, H, W] in [-1, 1]: the posterior's mode, as the UNet expects."""
    images = images.to(base.device, base.dtype)
    latents: Tensor = base.vae.encode(images).latent_dist.mode()
    return latents * base.vae.config.scaling_factor


def encode_moments(base: Base, images: Tensor) -> Tensor:
    """Return mean and deviation [B, 2C, h, w] of the posterior of images [B, 3, H, W] in [-1, 1], scaled as latents."""
    posterior = base.vae.encode(images.to(base.device, base.dtype)).latent_dist
    moments: Tensor = torch.cat([posterior.mean, posterior.std], dim=1)
    return moments * base.vae.config.scaling_factor


def decode_latents(base: Base, latents: Tensor) -> Tensor:
    """Return images [B, 3, H, W] in [-1, 1], float32 and clamped, of scaled latents [B, C, h, w]."""
    latents = latents.to(base.device, base.dtype) / base.vae.config.scaling_factor
    images: Tensor = base.vae.decode(latents).sample
    return images.float().clamp(-1, 1)


def encode_prompts(base: Base, prompts: Sequence[str]) -> Tensor:
    """Return text embeddings [len(prompts), L, D]; gradients reach the text encoder's LoRA."""
    embeddings: Tensor = base.text_encoder(to_device(base, _tokens(base, prompts)))[0]
    return embeddings


def _tokens(base: Base, prompts: Sequence[str]) -> Tensor:
    """Return token ids [len(prompts), L], padded or cut to the tokenizer's length."""
    tokens = base.tokenizer(
        list(prompts),
        padding="max_length",
        max_length=base.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = tokens.input_ids
    return ids


def adapted_precision(base: Base) -> AbstractContextManager[None]:
    """Autocast calls of a base with an adapter in training, whose weights are float32, to the base's precision."""
    return torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=base.dtype != torch.float32)


def find_token(tokenizer: Any, prompt: str, token: str) -> int:
    """Return the position (BOS = 0) of the one token that `token` becomes in `prompt`.

    Raises ConfigError where the tokenizer splits the word, does not know it, or the prompt holds it not
    exactly once: the attention term needs one column.
    """
    pieces = tokenizer(token, add_special_tokens=False).input_ids
    if len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id:
        words = tokenizer.convert_ids_to_tokens(pieces)
        raise ConfigError(f"train.token: expected a word that is one token, '{token}' becomes {words}")
    ids = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
    if ids.count(pieces[0]) != 1:
        raise ConfigError(
            f"train.token: expected '{token}' once in the prompt '{prompt}', found it {ids.count(pieces[0])} times"
        )
    return int(ids.index(pieces[0]))


def mask_to_latent(mask: Tensor, latent_scale: int) -> Tensor:
    """Return the mask [B, 1, h, w] of a 0/1 mask [B, 1, H, W]: a latent pixel is masked when any of its pixels is.

    One rule for conditioning, losses, background replacement and attention, so that hairlines, which
    nearest-neighbour down-sampling drops (method section 4, choice 4), never vanish. On masks aligned to
    latent pixels it equals the nearest-neighbour rule of the stock pipeline.
    """
    return torch.nn.functional.max_pool2d(mask, latent_scale)


def mask_out(images: Tensor, mask: Tensor) -> Tensor:
    """Return images [B, 3, H, W] in [-1, 1] with mask [B, 1, H, W] = 1 set to mid-grey 0 (Eq. 3's background)."""
    return images * (mask < 0.5)


def unet_input(noisy_latents: Tensor, latent_mask: Tensor, background_latents: Tensor) -> Tensor:
    """Return the input [B, 2C + 1, h, w] in the order that inpainting UNets are trained on: latent, mask, background.

    The paper writes concat(x_t, b, M) (Eq. 3); the pretrained conv_in expects x_t, M, b.
    """
    return torch.cat([noisy_latents, latent_mask, background_latents], dim=1)
