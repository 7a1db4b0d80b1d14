"""A small base with random weights in the diffusers folder format: the same code paths as the full model, in seconds.

It has Stable Diffusion 2 inpainting's architecture in small (9-channel UNet with cross-attention in several
blocks, KL autoencoder, CLIP text encoder and tokenizer, PNDM scheduler config) and has learnt nothing: it
shows that a pipeline runs, not what the method paints.
"""

import json
from pathlib import Path

import torch

from defectfill.files import new_folder
from defectfill.model.base import quieten_libraries

SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
WORDS = ["sks", "photo", "with"]
"""Words that are one token each; every other word is spelt in letters."""


def write_random_base(folder: Path, seed: int = 0) -> Path:
    """Writes the base to `folder`, whole or not at all, and returns it. 1.9 M parameters; latents are R / 8."""
    with new_folder(folder) as partial, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        _write_parts(partial)
    return folder


def _write_parts(folder: Path) -> None:
    import diffusers
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.schedulers import PNDMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    quieten_libraries()
    vocabulary, merges = _vocabulary()
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "text_encoder", safe_serialization=True)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
    ).save_pretrained(folder / "vae", safe_serialization=True)
    UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=64,
        norm_num_groups=8,
        use_linear_projection=True,
    ).save_pretrained(folder / "unet", safe_serialization=True)
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        prediction_type="epsilon",
    ).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionInpaintPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(token -> id, merges) of a byte-level BPE that knows all bytes and WORDS."""
    from tokenizers.pre_tokenizers import ByteLevel

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
    return {token: index for index, token in enumerate(tokens + SPECIAL)}, merges
