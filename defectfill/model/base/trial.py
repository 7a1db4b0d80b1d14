"""One pass through a base before anything is trained: whether its parts fit together and give numbers."""

import torch

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError
from defectfill.model.base.base import (
    Base,
    decode_latents,
    encode_images,
    encode_prompts,
    load_base,
    shared_base,
    unet_input,
)
from defectfill.model.base.device import resolve_device

LATENT_SIDE = 8
"""Latent pixels along a side of what is passed through: few, so that it takes a moment on a CPU."""
TIMESTEP = 500


def try_base(config: BaseConfig) -> None:
    """Raise ConfigError unless the base in a folder can be loaded, has finite weights, and one pass through it works.

    On the CPU, in the precision that is asked for. A run on the CPU then goes on with the same base.
    """
    device, dtype = resolve_device(config)
    if device.type == "cpu":
        base = shared_base(config)
    else:
        precision = "bf16" if dtype == torch.bfloat16 else "fp32"
        base = load_base(config.model_copy(update={"device": "cpu", "precision": precision}))
    if problems := [f"base.model: {config.model}: {problem}" for problem in _weight_problems(base)]:
        raise ConfigError(problems)
    try:
        _pass_through(base, config.resolution)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"base.model: {config.model}: its parts do not fit together: {found}") from error


def _weight_problems(base: Base) -> list[str]:
    """Return a problem for every part that has weights which are not finite, with the first of them."""
    parts = {"text_encoder": base.text_encoder, "vae": base.vae, "unet": base.unet}
    problems = []
    for name, part in parts.items():
        wrong = [weight for weight, values in part.named_parameters() if not bool(values.isfinite().all())]
        problems += [f"{name}: {len(wrong)} of its weights are not finite, such as {wrong[0]}"] if wrong else []
    return problems


@torch.inference_mode()
def _pass_through(base: Base, resolution: int) -> None:
    """Encode, denoise and decode a picture; raise what goes wrong, ValueError for a result that is no such picture."""
    levels = len(base.unet.config.block_out_channels)
    side = min(max(LATENT_SIDE, 2 ** (levels - 1)) * base.latent_scale, resolution)
    images = torch.linspace(-1, 1, side).expand(1, 3, side, side)
    latents = encode_images(base, images)
    mask = torch.ones_like(latents[:, :1])
    noisy = unet_input(latents, mask, latents)
    predicted = base.unet(noisy, TIMESTEP, encoder_hidden_states=encode_prompts(base, [""])).sample
    if predicted.shape != latents.shape:
        raise ValueError(f"the UNet gives {tuple(predicted.shape[1:])} for latents of {tuple(latents.shape[1:])}")
    decoded = decode_latents(base, latents)
    if decoded.shape != images.shape:
        raise ValueError(f"the VAE gives {tuple(decoded.shape[1:])} for images of {tuple(images.shape[1:])}")
    for name, values in (("UNet", predicted), ("VAE", latents), ("VAE", decoded)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"the {name} gives values that are not finite")
