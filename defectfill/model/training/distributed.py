"""The processes that train one adapter together: each computes some rows of every batch, all take the same step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DistributedState:
    """This process among those that train together; the main one writes the files and shows the progress."""

    process_index: int = 0
    num_processes: int = 1

    @property
    def is_main_process(self) -> bool:
        return self.process_index == 0

    def own_rows(self, rows: int) -> slice:
        """Return the rows of a batch of `rows` that are this process's."""
        return slice(
            rows * self.process_index // self.num_processes, rows * (self.process_index + 1) // self.num_processes
        )

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, which all give tensors of the same shapes."""
        if self.num_processes == 1:
            return
        from accelerate.utils import reduce

        flat: Tensor = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


SINGLE_PROCESS = DistributedState()


def init_distributed(*, cpu: bool) -> tuple[DistributedState, str]:
    """Return this process's state among those that torchrun started, and its device; CPUs communicate by gloo."""
    from accelerate import PartialState

    state = PartialState(cpu=cpu)
    device = "cpu" if cpu else f"cuda:{state.local_process_index}"
    return DistributedState(state.process_index, state.num_processes), device
