"""The device and precision of a base's weights."""

import torch

from defectfill.config.base import BaseConfig
from defectfill.io.errors import ConfigError


def resolve_device(config: BaseConfig) -> tuple[torch.device, torch.dtype]:
    """Return the device and the precision of the frozen weights that `config` asks for."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"base.device: {name} was asked for, but torch finds no CUDA device")
    if name.startswith("cuda:") and int(name.partition(":")[2]) >= gpu_count():
        raise ConfigError(f"base.device: {name} was asked for, but torch finds {gpu_count()} CUDA devices, from cuda:0")
    bf16 = config.precision == "bf16" or (config.precision == "auto" and name != "cpu")
    return torch.device(name), torch.bfloat16 if bf16 else torch.float32


def gpu_count() -> int:
    """Return how many GPUs torch finds."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
