"""The processes that train one adapter together: each computes some rows of every batch, all take the same step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """This process's place among them; the first one leads: it writes the files and shows the progress."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.index == 0

    def share(self, rows: int) -> slice:
        """The rows of a batch that are this process's."""
        return slice(rows * self.index // self.count, rows * (self.index + 1) // self.count)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, which all give tensors of the same shapes."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        flat: Tensor = reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="sum")
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


ALONE = Team()


def join_team(*, cpu: bool) -> tuple[Team, str]:
    """This process's place in the team that torchrun started, and its device; on CPUs they talk by gloo."""
    from accelerate import PartialState

    state = PartialState(cpu=cpu)
    device = "cpu" if cpu else f"cuda:{state.local_process_index}"
    return Team(state.process_index, state.num_processes), device
