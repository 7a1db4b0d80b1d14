"""Checkpoints of a training: there whole or not at all, the last two kept, a damaged one never taken."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from defectfill.io.files import write_bytes

KEPT = 2
"""Checkpoints in a folder: the newest, and the one before should the newest be damaged."""
DIGEST_BYTES = 32


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write `state`, tensors and plain values, as the checkpoint after `step` steps, and remove outdated ones."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    write_bytes(folder / f"{step:08d}.checkpoint", hashlib.sha256(content).digest() + content, sync=True)
    for outdated in _newest_first(folder)[KEPT:]:
        outdated.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state of the newest undamaged checkpoint in `folder`, on the CPU; None where there is none."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if hashlib.sha256(content[DIGEST_BYTES:]).digest() == content[:DIGEST_BYTES]:
            with suppress(pickle.UnpicklingError):  # it holds more than tensors and plain values
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content[DIGEST_BYTES:]), map_location="cpu", weights_only=True
                )
                return state
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.checkpoint"), reverse=True)
