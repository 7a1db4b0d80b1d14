"""The painter that fills planned masks with random materials, as DRAEM does (Zavrtanik et al., ICCV 2021).

`I_a = (1 - M) I + (1 - b) M I + b M A`, where the planned mask M takes the place of the thresholded Perlin noise, and a
random material that of the picture A from a texture data set. It needs no model and no references.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectfill.io.hashing import derive_seed
from defectfill.painting.painter import Painting, painted_over
from defectfill.painting.window import Window, region_around, resize
from defectfill.toy.world.scene import draw_swatch

OPACITY = (0.1, 1.0)
"""The paper's range of b."""
TEXTURE_PX = (16, 256)
"""Least and largest side at which a material is drawn; that of the paper's pictures is 256."""


@dataclass(frozen=True)
class PerlinPainter:
    """A Painter (see defectfill.painting.painter) that fills each mask with a random material, its one candidate."""

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window, seed in zip(windows, seeds, strict=True):
            yield painted_over(window, [_filled(window, derive_seed(seed, "perlin"))])


def _filled(window: Window, seed: int) -> NDArray[np.float32]:
    """Return the window [R, R, 3] with its mask filled."""
    rng = np.random.default_rng(seed)
    opacity = np.float32(rng.uniform(*OPACITY))
    near = region_around(window.mask, 0)
    height, width = window.mask[near].shape
    side = max(height, width)
    drawn = draw_swatch(rng, int(np.clip(side, *TEXTURE_PX)))
    texture = resize(drawn, max(side, TEXTURE_PX[0]))[:height, :width]
    result, weight = window.image.copy(), opacity * window.mask[near][..., None]
    result[near] += weight * (texture - result[near])
    return result
