"""The painter, which paints defects into windows, and its paintings.

`Painter` is the one seam between the dataset code and the model: the diffusion model stands behind it in a
run, `FlatPainter` in tests.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defectfill.painting.window import Window


@dataclass(frozen=True)
class Painting:
    """The K candidates of one sample: those painted to the end, as the model's VAE decodes them, and all scores.

    The VAE's own color shift is subtracted.
    """

    candidates: NDArray[np.float32]
    """[M, R, R, 3] in [0, 1]."""
    scores: NDArray[np.float32]
    """[K], distance to the clean window inside the planned mask: perceptual, or of a painter without a base the mean
    absolute difference of pixels; larger is less reconstructed. nan of those that were dropped on the way."""
    reconstruction: NDArray[np.float32]
    """[R, R, 3] in [0, 1]: the clean window through the VAE, so that the VAE's own error can be told apart."""
    early_scores: tuple[float, ...] = ()
    """K numbers by which candidates were dropped on the way: mean squared difference of the predicted latents inside
    the mask; empty where none was."""

    def candidate(self, number: int) -> NDArray[np.float32]:
        """Return the candidate [R, R, 3] of that number, 0 to K - 1, which must not be one that was dropped."""
        found: NDArray[np.float32] = self.candidates[self.numbers.index(number)]
        return found

    @property
    def numbers(self) -> list[int]:
        """The numbers of the M candidates."""
        numbers: list[int] = np.flatnonzero(~np.isnan(self.scores)).tolist()
        return numbers


class Painter(Protocol):
    """A model that paints planned defects into clean windows, or a stand-in."""

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        """Yield one Painting per window, in order; the same window, seed and prompt give the same bytes in any batch.

        Windows are taken a batch at a time.
        """
        ...


def painted_over(window: Window, candidates: Sequence[NDArray[np.float32]]) -> Painting:
    """Return the Painting of candidates [R, R, 3] that went through no model.

    The clean window is its own reconstruction; scores are mean absolute differences from it inside the mask.
    """
    painted = np.stack(candidates)
    change = np.abs(painted - window.image).mean(axis=-1)
    return Painting(painted, change[:, window.mask].mean(axis=1), window.image)


@dataclass(frozen=True)
class FlatPainter:
    """A painter without a model: candidate k fills the mask with one grey level, which the seed decides."""

    candidates: int = 2

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window, seed in zip(windows, seeds, strict=True):
            levels = np.random.default_rng(seed).random(self.candidates, dtype=np.float32)
            yield painted_over(window, [np.where(window.mask[..., None], level, window.image) for level in levels])
