"""What paints defects into windows, and what comes back.

`Painter` is the one seam between the dataset code and the model: the diffusion model stands behind it in a
run, `FlatPainter` in tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defectfill.window import Window


@dataclass(frozen=True)
class Painting:
    """All candidates of one sample, as the model's codec gives them, its tint subtracted."""

    candidates: NDArray[np.float32]
    """[K, R, R, 3] in [0, 1]."""
    scores: NDArray[np.float32]
    """[K], perceptual distance to the clean window inside the planned mask; larger is less reconstructed."""
    reconstruction: NDArray[np.float32]
    """[R, R, 3] in [0, 1]: the clean window through the codec, so that the codec's own error can be told apart."""


class Painter(Protocol):
    """Paints planned defects into clean windows."""

    def paint(self, windows: Sequence[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        """One Painting per window, in order; the same window, seed and prompt give the same bytes in any company."""
        ...


@dataclass(frozen=True)
class FlatPainter:
    """A painter without a model: candidate k fills the mask with one grey level, which the seed decides."""

    candidates: int = 2

    def paint(self, windows: Sequence[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window, seed in zip(windows, seeds, strict=True):
            levels = np.random.default_rng(seed).random(self.candidates, dtype=np.float32)
            painted = np.where(window.mask[..., None], levels[:, None, None, None], window.image)
            change = np.abs(painted - window.image).mean(axis=-1)
            yield Painting(painted, change[:, window.mask].mean(axis=1), window.image)
