"""Memory: what a step or a painting needs, what is free, and how large a batch fits.

train.gradient_checkpointing: auto and generate.samples_per_batch: auto are decided by it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

BEYOND_ACTIVATIONS = 1.5
"""Peak memory of a step over what it keeps for the backward pass: gradients, workspaces, fragments."""
MOST_SAMPLES = 16
"""Samples that are painted at once at most; a GPU is full before."""


@contextmanager
def count_kept_bytes(weights: Iterable[nn.Parameter]) -> Iterator[list[int]]:
    """Count the bytes that autograd keeps for the backward pass, `weights` aside.

    Yields a list that holds the one number on leaving. Tensors that share memory count once. It is the same on every
    device, and known before any memory runs out.
    """
    frozen = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    found: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
    found.append(sum(kept.values()))


def batch_fits(kept_bytes_per_row: int, rows: int, free_bytes: int) -> bool:
    """Return whether a training step of `rows` rows fits into what is free without gradient checkpointing."""
    return kept_bytes_per_row * rows * BEYOND_ACTIVATIONS <= free_bytes


def batch_that_fits(bytes_per_sample: int, free_bytes: int) -> int:
    """Return how many samples take at most 0.8 of what is free: a power of two, from 1 to MOST_SAMPLES."""
    fitting = min(int(0.8 * free_bytes / max(bytes_per_sample, 1)), MOST_SAMPLES)
    return 1 << (max(fitting, 1).bit_length() - 1)


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process could still allocate on the device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    import psutil

    available: int = psutil.virtual_memory().available
    return min([available, *left_in_container()])


def peak_gpu_gib() -> float | None:
    """Return the most that torch has allocated on this process's GPU, in GiB; None where it uses none."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_initialized() else None


def gpu_memory() -> str:
    """Return in words what torch holds of this process's GPU now, without a call to the device."""
    held, total = torch.cuda.memory_reserved(), torch.cuda.get_device_properties().total_memory
    return f"GPU {held / 2**30:.1f} of {total / 2**30:.0f} GiB"


def left_in_container(cgroup: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the bytes left below the limit of the control group, where there is one."""
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return
    if limit != "max":
        yield max(int(limit) - int(used), 0)
