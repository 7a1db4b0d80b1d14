"""Architectures of small bases like Stable Diffusion 2 inpainting's: the code paths of the full model, in seconds.

A base has a UNet over [latent, mask, masked-image latent] with cross-attention in several blocks, a KL
autoencoder of four or eight pixels to one latent pixel, a CLIP text encoder and tokenizer, and SD2's scheduler config.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from defectfill.io.files import new_folder
from defectfill.model.base.base import quieten_libraries
from defectfill.toy.world import MARKS

SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
WORDS = ["sks", "photo", "with", *MARKS]
"""Words that are one token each, those of marks among them, so that each can be an adapter's [V*]; every other word is
spelt in letters."""
LOUDER = 25
"""Times that the words of a small text encoder start larger than CLIP's."""
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
}
"""Stable Diffusion 2 inpainting's noise schedule."""
VELOCITY_SCHEDULER = {
    **SCHEDULER,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
"""For a UNet that predicts velocity, as Stable Diffusion 2.1's does at 768 px: a small one learns that in a fraction of
the steps that it needs for the noise. Its last timestep is pure noise, where painting starts; with a trace of the
picture left in it, a UNet learns to read the colour of the hole from that trace, and paints grey (Lin et al., WACV
2024)."""


def write_random_base(folder: Path, seed: int = 0) -> Path:
    """Write a base that has learnt nothing to `folder`, whole or not at all, and return it; 1.9 M parameters.

    It shows that a pipeline runs, not what the method paints.
    """
    with new_folder(folder) as partial, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer()
        save_base(
            partial,
            tokenizer,
            build_text_encoder(tokenizer, width=64),
            build_autoencoder((16, 32, 32, 32), latent_channels=4),
            build_unet((32, 64, 64), latent_channels=4, text_width=64, sample_size=16),
            SCHEDULER,
        )
    return folder


def build_tokenizer() -> Any:
    """Return a CLIP tokenizer, byte-level BPE of 77 tokens at most, that knows all bytes and WORDS."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    quieten_libraries()
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merge = (pieces[0], pieces[1])
            pieces[:2] = ["".join(merge)]
            if merge not in merges:
                merges.append(merge)
                tokens.append(pieces[0])
    vocabulary = {token: index for index, token in enumerate(tokens + SPECIAL)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def build_text_encoder(tokenizer: Any, width: int) -> Any:
    """Return a CLIPTextModel of two layers and `width` channels (a multiple of 32).

    Its tokens start LOUDER: beside what two layers add to them, a word would long be nearly silent.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        encoder.get_input_embeddings().weight.mul_(LOUDER)
    return encoder


def build_autoencoder(channels: tuple[int, ...], latent_channels: int, groups: int = 8) -> Any:
    """Return an AutoencoderKL of these widths (multiples of `groups`), each for half the resolution of the one before.

    It has no attention, so it is convolutional and can learn on small crops.
    """
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=groups,
        latent_channels=latent_channels,
        mid_block_add_attention=False,
    )


def build_unet(
    channels: tuple[int, int, int],
    latent_channels: int,
    text_width: int,
    sample_size: int,
    attention: Literal["upper", "lower"] = "upper",
) -> Any:
    """Return an inpainting UNet2DConditionModel of these widths (multiples of 32), for latents of `sample_size`.

    Two of its three levels attend to the caption, the upper or the lower ones, beside the middle.
    """
    from diffusers import UNet2DConditionModel

    attentive = (True, True, False) if attention == "upper" else (False, True, True)

    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=2 * latent_channels + 1,
        out_channels=latent_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attentive),
        up_block_types=tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in attentive[::-1]),
        block_out_channels=channels,
        layers_per_block=1,
        attention_head_dim=tuple(width // 32 for width in channels),  # the number of heads, despite its name
        cross_attention_dim=text_width,
        norm_num_groups=8,
        use_linear_projection=True,
    )


def save_base(
    folder: Path, tokenizer: Any, text_encoder: Any, vae: Any, unet: Any, scheduler_config: Mapping[str, Any]
) -> None:
    """Write the parts to `folder` in the diffusers format, weights as safetensors."""
    import diffusers
    from diffusers.schedulers import DDIMScheduler

    quieten_libraries()
    tokenizer.save_pretrained(folder / "tokenizer")
    for model in (vae, unet):
        model.register_to_config(_name_or_path="")  # else the folder it was loaded from, of whoever trained it
    for name, model in (("text_encoder", text_encoder), ("vae", vae), ("unet", unet)):
        model.save_pretrained(folder / name, safe_serialization=True)
    DDIMScheduler(**scheduler_config).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionInpaintPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
