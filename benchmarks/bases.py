"""The bases that benchmarks run with: `mini`, a folder, or one as large as Stable Diffusion 2 with random weights."""

import argparse
from pathlib import Path
from typing import Any

import torch

from defectfill.config.base import BaseConfig
from defectfill.model.base.base import Base, load_base
from defectfill.model.base.device import resolve_device
from defectfill.model.pretraining.architectures import (
    SCHEDULER,
    build_autoencoder,
    build_text_encoder,
    build_tokenizer,
    build_unet,
)

SEED = 0
"""Of random weights."""


def add_base_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which base is measured, and on which device."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--base", type=Path, help="a base's folder in the diffusers format")
    size.add_argument("--full", action="store_true", help="Stable Diffusion 2 inpainting's size, random weights")
    parser.add_argument("--resolution", type=int, help="pixels; 512 with --full, else 128")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="auto")


def base_and_resolution(arguments: argparse.Namespace, latent_channels: int = 12) -> tuple[Base, int]:
    """Return the base of `add_base_arguments` and the side of its input in pixels.

    A small one with random weights has so many `latent_channels`; the full one has 4.
    """
    resolution = arguments.resolution or (512 if arguments.full else 128)
    config = BaseConfig(
        model=str(arguments.base.resolve()) if arguments.base else "random",
        resolution=resolution,
        precision=arguments.precision,
        device=arguments.device,
    )
    if arguments.base:
        return load_base(config), resolution
    return random_base(config, full=arguments.full, latent_channels=latent_channels), resolution


def random_base(config: BaseConfig, *, full: bool, latent_channels: int = 12) -> Base:
    """Return a base with random weights, of Stable Diffusion 2 inpainting's size or of the bundled one's."""
    device, dtype = resolve_device(config)
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    with torch.device(device):
        if full:
            text_encoder, vae, unet = full_text_encoder(), full_autoencoder(), full_unet()
        else:
            text_encoder = build_text_encoder(tokenizer, width=128)
            vae = build_autoencoder((16, 32, 64, 96), latent_channels=latent_channels)
            unet = build_unet((64, 128, 192), latent_channels=latent_channels, text_width=128, sample_size=16)
    text_encoder, vae, unet = (part.to(dtype).requires_grad_(False).eval() for part in (text_encoder, vae, unet))
    return Base(tokenizer, text_encoder, vae, unet, SCHEDULER, device, dtype)


def full_unet() -> Any:
    """Return Stable Diffusion 2 inpainting's UNet; 866 M parameters."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=64,
        in_channels=9,
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=1024,
        use_linear_projection=True,
    )


def full_autoencoder() -> Any:
    """Return Stable Diffusion's autoencoder; 84 M parameters."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )


def full_text_encoder() -> Any:
    """Return Stable Diffusion 2's text encoder, 23 layers of OpenCLIP-H; 340 M parameters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            hidden_act="gelu",
            projection_dim=512,
        )
    )
