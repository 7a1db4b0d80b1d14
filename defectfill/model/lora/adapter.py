"""The LoRA adapter: put into the base for training, saved as the file that stock pipelines load."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectfill.config.train import TrainConfig
from defectfill.io.errors import DataError, ModelError
from defectfill.model.base.base import Base
from defectfill.model.lora import ADAPTER_FILE

UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTION_TARGETS = ["conv", "conv1", "conv2", "conv_in", "conv_out", "conv_shortcut"]
TEXT_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]

UP_MATRICES = ("lora_B.weight", "lora.up.weight", "lora_linear_layer.up.weight")
"""Ends of the names of [out, rank] matrices, in the spellings of diffusers and peft."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA outside of any base: float32 tensors on the CPU, named as in its file, and metadata for a loader."""

    unet: dict[str, Tensor]
    text_encoder: dict[str, Tensor]
    unet_metadata: dict[str, Any]
    text_encoder_metadata: dict[str, Any]


@contextmanager
def trainable_adapter(base: Base, settings: TrainConfig) -> Iterator[tuple[list[nn.Parameter], list[nn.Parameter]]]:
    """Put a fresh adapter into the base, in place of any other, and take it out on leaving.

    Yields its weights in the UNet and in the text encoder, float32; both models are in train mode. They are on all
    attention layers: query, key, value and output, with `settings.convolutions` on all convolutions of the UNet too.
    The down matrices are drawn from torch's global generator, the up matrices are zero.
    """
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    remove_adapter(base)
    unet_targets = UNET_TARGETS + CONVOLUTION_TARGETS * settings.convolutions
    for module, targets in ((base.unet, unet_targets), (base.text_encoder, TEXT_ENCODER_TARGETS)):
        module.add_adapter(
            LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                lora_dropout=settings.dropout,
                init_lora_weights="gaussian",
                target_modules=targets,
            )
        )
        cast_training_params(module, dtype=torch.float32)
        module.train()
    try:
        yield _trainable(base.unet), _trainable(base.text_encoder)
    finally:
        remove_adapter(base)
        base.unet.eval()
        base.text_encoder.eval()


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@contextmanager
def fast_lora_forward(base: Base) -> Iterator[None]:
    """Let the adapter's layers compute what peft's do in fewer passes over memory.

    W x + s B A dropout(x) adds its second term within the product with B, of a convolution in place. A training step of
    the small base takes a tenth less for it.
    """
    layers = [layer for part in (base.unet, base.text_encoder) for layer in _adapted_layers(part)]
    with _forwards({layer: partial(_forward, layer) for layer in layers}):
        yield


@contextmanager
def merged_adapter(base: Base) -> Iterator[None]:
    """Let the UNet's layers be plain ones again, of weights W + s B A: for painting, not for training.

    The same outputs up to rounding, as fast as without an adapter. Nothing of the base is changed.
    """
    with torch.no_grad(), _forwards({layer: _merged(layer) for layer in _adapted_layers(base.unet)}):
        yield


@contextmanager
def _forwards(forwards: Mapping[Any, Callable[..., Tensor]]) -> Iterator[None]:
    """Let layers compute by other functions."""
    before = {layer: vars(layer).get("forward") for layer in forwards}
    for layer, forward in forwards.items():
        layer.forward = forward
    try:
        yield
    finally:
        for layer, forward in before.items():
            if forward is None:
                del layer.forward  # the class's own shows again
            else:
                layer.forward = forward


def _adapted_layers(module: nn.Module) -> list[Any]:
    return [layer for layer in module.modules() if len(getattr(layer, "lora_A", ()))]


def _lora(layer: Any) -> tuple[Tensor, Tensor, float, nn.Module]:
    """Return A [rank, in], B [out, rank], s and the dropout of an adapted layer.

    Of a convolution: A [rank, in, k, k], B [out, rank, 1, 1].
    """
    (name,) = layer.lora_A
    return layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], layer.lora_dropout[name]


def _forward(layer: Any, inputs: Tensor) -> Tensor:
    """Return the output of an adapted layer: [..., out] for inputs [..., in], of a convolution [B, out, h, w]."""
    down, up, scale, kept = _lora(layer)
    share = getattr(kept, "p", 0.0) if layer.training else 0.0
    plain = layer.base_layer
    if isinstance(plain, nn.Conv2d):
        low = F.conv2d(dropout(inputs, share), down, None, plain.stride, plain.padding)
        convolved: Tensor = plain(inputs)
        return convolved.add_(F.conv2d(low, scale * up))
    rows = inputs.flatten(0, -2)
    output: Tensor = plain(rows)
    low = F.linear(dropout(rows, share), down)
    output.addmm_(low.to(output.dtype), up.t().to(output.dtype), alpha=scale)
    return output.unflatten(0, inputs.shape[:-1])


def _merged(layer: Any) -> Callable[[Tensor], Tensor]:
    """Return the adapted linear layer or convolution as a plain one."""
    down, up, scale, _ = _lora(layer)
    plain = layer.base_layer
    change = (up.float().flatten(1) @ down.float().flatten(1)).view_as(plain.weight)
    merged = (plain.weight.float() + scale * change).to(plain.weight.dtype)
    if isinstance(plain, nn.Linear):
        return partial(F.linear, weight=merged, bias=plain.bias)
    return partial(F.conv2d, weight=merged, bias=plain.bias, stride=plain.stride, padding=plain.padding)


def dropout(inputs: Tensor, share: float) -> Tensor:
    """Return F.dropout(inputs, share); on a CPU, where drawing its mask costs most, from 16 random bits an element."""
    if share == 0 or inputs.device.type != "cpu":
        return F.dropout(inputs, share)
    dropped = round(share * 2**16)
    bits = torch.empty(inputs.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: inputs.numel()].view(inputs.shape) >= dropped - 2**15
    return inputs * kept.to(inputs.dtype).mul_(2**16 / (2**16 - dropped))


def copy_adapter(base: Base) -> Adapter:
    """Return a copy of the adapter in the base.

    Its tensors have diffusers' names, those of a UNet whose convolutions are adapted peft's: diffusers has no names for
    these, and drops silently what a file has in another spelling beside them.
    """
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    def layers(module: Any) -> dict[str, Tensor]:
        state = get_peft_model_state_dict(module, save_embedding_layers=False)
        if not any(isinstance(layer.base_layer, nn.Conv2d) for layer in _adapted_layers(module)):
            state = convert_state_dict_to_diffusers(state)
        copies = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in state.items()}
        return {name: tensor.contiguous() for name, tensor in copies.items()}

    text_layers = {
        name if name.startswith("text_model.") else f"text_model.{name}": tensor
        for name, tensor in layers(base.text_encoder).items()
    }
    return Adapter(layers(base.unet), text_layers, _metadata(base.unet), _metadata(base.text_encoder))


def save_adapter(adapter: Adapter, folder: Path) -> None:
    """Write the adapter to `folder` so that `pipe.load_lora_weights(folder)` gives the outputs of the base that had it.

    The file's alpha is its rank: alpha / rank is multiplied into the up matrices, so that tools which read neither
    diffusers' metadata nor `.alpha` keys paint at full strength too.
    """
    from diffusers import StableDiffusionInpaintPipeline

    unet, unet_metadata = _at_full_strength(adapter.unet, adapter.unet_metadata)
    text_encoder, text_encoder_metadata = _at_full_strength(adapter.text_encoder, adapter.text_encoder_metadata)
    StableDiffusionInpaintPipeline.save_lora_weights(
        folder,
        unet_lora_layers=unet,
        text_encoder_lora_layers=text_encoder,
        weight_name=ADAPTER_FILE,
        unet_lora_adapter_metadata=unet_metadata,
        text_encoder_lora_adapter_metadata=text_encoder_metadata,
    )
    _sort_header(folder / ADAPTER_FILE)


def _at_full_strength(
    weights: Mapping[str, Tensor], metadata: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the same LoRA with the rank as its alpha."""
    scale = metadata["lora_alpha"] / metadata["r"]
    scaled = {name: tensor * scale if name.endswith(UP_MATRICES) else tensor for name, tensor in weights.items()}
    return scaled, {**metadata, "lora_alpha": metadata["r"]}


def _metadata(module: Any) -> dict[str, Any]:
    """Return what a loader must know of the LoRA; sorted, so that equal adapters are equal files.

    Dropout is left out: a loader would build it in, and leave it switched on.
    """
    config = module.peft_config["default"]
    return {"lora_alpha": config.lora_alpha, "r": config.r, "target_modules": sorted(config.target_modules)}


def _sort_header(path: Path) -> None:
    """Sort the JSON header of a safetensors file, whose order varies between calls, so that its bytes do not."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


def load_adapter(base: Base, folder: Path) -> None:
    """Put the adapter in `folder` into the base, in place of any other, the way a stock pipeline does.

    Only safetensors are read. Raises DataError where the file is damaged or not of this base.
    """
    remove_adapter(base)
    try:
        stock_pipeline(base).load_lora_weights(folder, weight_name=ADAPTER_FILE, use_safetensors=True)
        layers = [*_adapted_layers(base.unet), *_adapted_layers(base.text_encoder)]
        weights = [weight for layer in layers for weight in _lora(layer)[:2]]
        if not weights or not all(bool(weight.isfinite().all()) for weight in weights):
            raise ValueError("no weights for this base, or such that are not finite")
    except Exception as error:  # the libraries raise nearly anything over a damaged file
        remove_adapter(base)
        if base.device.type == "cuda" and isinstance(error, RuntimeError):
            raise ModelError(f"{folder / ADAPTER_FILE} cannot be put on {base.device}: {error}") from error
        found = " ".join(str(error).split())[:500]
        raise DataError(
            f"{folder / ADAPTER_FILE}: expected an adapter of this base, found: {found}; remove {folder} and run again"
        ) from error


def remove_adapter(base: Base) -> None:
    """Take any adapter out of the base; its layers are then its own again."""
    stock_pipeline(base).unload_lora_weights()


def stock_pipeline(base: Base) -> Any:
    """Return diffusers' own StableDiffusionInpaintPipeline around the base's parts, with DDIM."""
    from diffusers import StableDiffusionInpaintPipeline
    from diffusers.schedulers import DDIMScheduler

    return StableDiffusionInpaintPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=DDIMScheduler.from_config(base.scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
