"""Random crops of the references and random boxes for one training step.

Shapes: B batch, R the model's resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectfill.config.train import BoxesConfig, TrainConfig
from defectfill.painting.window import Window, resize, resize_mask


@dataclass(frozen=True)
class Batch:
    """Crops of one training step; masks hold 0 and 1."""

    images: Tensor
    """[B, 3, R, R] in [-1, 1]."""
    defect_masks: Tensor
    """[B, 1, R, R]: M."""
    box_masks: Tensor
    """[B, 1, R, R]: M_rand."""
    references: tuple[int, ...]
    """Index of the window that each row comes from."""


def draw_batch(windows: Sequence[Window], settings: TrainConfig, resolution: int, rng: np.random.Generator) -> Batch:
    """Return settings.batch_size crops of windows at least max_resize x resolution wide, drawn with replacement."""
    references = tuple(int(index) for index in rng.integers(len(windows), size=settings.batch_size))
    crops = [random_crop(windows[index], settings.max_resize, resolution, rng) for index in references]
    boxes = [random_boxes(resolution, settings.boxes, rng) for _ in references]
    return Batch(
        images=to_images([image for image, _ in crops]),
        defect_masks=to_masks([mask for _, mask in crops]),
        box_masks=to_masks(boxes),
        references=references,
    )


def random_crop(
    window: Window, max_resize: float, resolution: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (image [R, R, 3] in [0, 1], mask [R, R]): both resized by u in [1, max_resize], then cropped alike.

    The crop is random among those that keep the whole defect, where there are such, and has some of it in any case.
    """
    side = round(resolution * rng.uniform(1.0, max_resize))
    image, mask = resize(window.image, side), resize_mask(window.mask, side)
    top, left = (_random_start(np.asarray(mask.any(axis=axis)), resolution, rng) for axis in (1, 0))
    if not mask[top : top + resolution, left : left + resolution].any():  # of a defect that is wider than the crop
        top, left = (min(int(start), side - resolution) for start in np.argwhere(mask)[0])
    crop = np.s_[top : top + resolution, left : left + resolution]
    return image[crop], mask[crop]


def _random_start(occupied: NDArray[np.bool_], resolution: int, rng: np.random.Generator) -> int:
    """Return the start of a random span of `resolution` in `occupied` that contains all that is True, if it can."""
    spots = np.flatnonzero(occupied)
    latest = len(occupied) - resolution
    low, high = max(int(spots[-1]) + 1 - resolution, 0), min(int(spots[0]), latest)
    if low > high:
        low, high = 0, latest
    return int(rng.integers(low, high + 1))


def random_boxes(resolution: int, settings: BoxesConfig, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return M_rand [R, R]: the union of settings.count boxes inside the frame, sides uniform and independent."""
    mask = np.zeros((resolution, resolution), dtype=bool)
    for _ in range(settings.count):
        height, width = (
            max(1, round(resolution * rng.uniform(settings.min_side, settings.max_side))) for _ in range(2)
        )
        top, left = (int(rng.integers(0, resolution - side + 1)) for side in (height, width))
        mask[top : top + height, left : left + width] = True
    return mask


def to_images(images: Sequence[NDArray[np.float32]]) -> Tensor:
    """Return [B, 3, R, R] in [-1, 1] of images [R, R, 3] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous() * 2 - 1


def to_masks(masks: Sequence[NDArray[np.bool_]]) -> Tensor:
    """Return [B, 1, R, R] of 0 and 1."""
    return torch.from_numpy(np.stack(masks))[:, None].float()
