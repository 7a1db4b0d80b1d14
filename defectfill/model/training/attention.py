"""The decoder's cross-attention of one token, with gradients, at the cost of one column.

Shapes: B batch, S rows of a call, N = h_l x w_l positions of a layer, L tokens, d head width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class TokenAttention:
    """The maps of one forward pass, from `begin` to `collect`.

    What passes the layers after that is the backward pass under gradient checkpointing: it computes the maps again and
    must not leave them here.
    """

    token_index: int
    maps: list[Tensor] = field(default_factory=list)
    """One [B, 1, h_l, w_l] per decoder layer, averaged over heads."""
    recording: bool = True

    def begin(self) -> None:
        """Make ready for the next forward pass."""
        self.maps.clear()
        self.recording = True

    def add(self, token_map: Tensor) -> None:
        """Take the map of a layer during a forward pass, and no other."""
        if self.recording:
            self.maps.append(token_map)

    def collect(self, size: int) -> Tensor:
        """Return A_t[V*] [B, 1, size, size]: every layer's map resized (bilinear), averaged over layers (Eq. 8)."""
        assert self.maps, "no cross-attention was recorded"
        resized = [F.interpolate(each, size=(size, size), mode="bilinear", align_corners=False) for each in self.maps]
        self.maps.clear()
        self.recording = False
        return torch.stack(resized).mean(dim=0)


class PromptAttention:
    """Cross-attention whose keys and values are computed once per prompt, not once per row.

    It uses torch's scaled_dot_product_attention and can record the token's column for the second half of the rows.
    """

    def __init__(self, recorder: TokenAttention | None = None) -> None:
        self.recorder = recorder

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return [S, N, channels] of hidden_states [S, N, channels] and encoder_hidden_states [prompts, L, D].

        S is a multiple of the number of prompts; the first share of the rows gets the first prompt, and so on.
        """
        rows, prompts = len(hidden_states), len(encoder_hidden_states)
        query, key, value = (
            states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for states in (
                attn.to_q(hidden_states),
                attn.to_k(encoder_hidden_states),
                attn.to_v(encoder_hidden_states),
            )
        )
        key, value = (states.repeat_interleave(rows // prompts, dim=0) for states in (key, value))
        if self.recorder is not None:
            self.recorder.add(self._token_map(query[rows // 2 :], key[rows // 2 :], self.recorder.token_index))
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        output: Tensor = attn.to_out[1](attn.to_out[0](attended.to(hidden_states.dtype)))
        return output / attn.rescale_output_factor

    @staticmethod
    def _token_map(query: Tensor, key: Tensor, token_index: int) -> Tensor:
        """Return softmax over L of q k^T / sqrt(d) at the token, float32, averaged over heads: [B, 1, h_l, w_l]."""
        with torch.autocast(query.device.type, enabled=False):
            scores = query.float() @ key.float().transpose(-1, -2) * query.shape[-1] ** -0.5  # [B, heads, N, L]
        column = (scores[..., token_index] - scores.logsumexp(dim=-1)).exp().mean(dim=1)  # [B, N]
        side = int(column.shape[-1] ** 0.5)
        return column.view(-1, 1, side, side)


@contextmanager
def record_token_attention(unet: Any, token_index: int) -> Iterator[TokenAttention]:
    """Record every decoder (up-block) cross-attention of `unet` while the context is open.

    A call of the UNet then has 2B rows, the object branch second; its inputs are square. Of one text per branch it
    needs each once: [2, L, D], else the text of every row.
    """
    recorder = TokenAttention(token_index)
    before = dict(unet.attn_processors)
    plain, recording = PromptAttention(), PromptAttention(recorder)
    unet.set_attn_processor(
        {
            name: processor if "attn2" not in name else recording if name.startswith("up_blocks") else plain
            for name, processor in before.items()
        }
    )
    try:
        yield recorder
    finally:
        unet.set_attn_processor(before)
