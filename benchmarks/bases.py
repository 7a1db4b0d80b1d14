"""The bases that benchmarks run with: `mini`, a folder, or one as large as Stable Diffusion 2 with random weights."""

import argparse
from pathlib import Path
from typing import Any

import torch

from defectfill.config.base import BaseConfig, resolve_base
from defectfill.model.base.base import Base, load_base
from defectfill.model.base.device import resolve_device
from defectfill.model.pretraining.architectures import SCHEDULER, build_tokenizer

SEED = 0
"""Of random weights."""


def add_base_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which base is measured, and on which device."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--base", default="mini", help="a bundled base's name, or a folder in the diffusers format")
    size.add_argument("--full", action="store_true", help="Stable Diffusion 2 inpainting's size, random weights")
    parser.add_argument("--resolution", type=int, help="pixels; 512 with --full, else 128")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="auto")


def base_and_resolution(arguments: argparse.Namespace) -> tuple[Base, int]:
    """Return the base of `add_base_arguments` and the side of its input in pixels."""
    resolution = arguments.resolution or (512 if arguments.full else 128)
    config = BaseConfig(
        model=arguments.base, resolution=resolution, precision=arguments.precision, device=arguments.device
    )
    return full_base(config) if arguments.full else load_base(resolve_base(config, Path("here"))), resolution


def full_base(config: BaseConfig) -> Base:
    """Return a base of Stable Diffusion 2 inpainting's size with random weights."""
    device, dtype = resolve_device(config)
    torch.manual_seed(SEED)
    with torch.device(device):
        parts = (full_text_encoder(), full_autoencoder(), full_unet())
    text_encoder, vae, unet = (part.to(dtype).requires_grad_(False).eval() for part in parts)
    return Base(build_tokenizer(), text_encoder, vae, unet, SCHEDULER, device, dtype)


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
