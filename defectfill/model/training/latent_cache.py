"""Latents of random crops of the references: encoded once in a cache, or anew in every step.

Shapes: B batch, C latent channels, h w latent pixels, P crops of a cache, K random-box masks per crop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defectfill.config.train import TrainConfig
from defectfill.io.hashing import derive_seed
from defectfill.io.progress import progress
from defectfill.model.base.base import Base, encode_moments, mask_out, mask_to_latent, to_device
from defectfill.model.training.augmentation import Batch, draw_batch, random_boxes, random_crop, to_images, to_masks
from defectfill.painting.window import Window

CROPS_AT_ONCE = 4
"""Crops encoded together while a cache is made, (2 + K) pictures each."""


@dataclass(frozen=True)
class LatentBatch:
    """Crops of one training step, float32 on the base's device; masks hold 0 and 1."""

    clean: Tensor
    """[B, C, h, w]."""
    defect_background: Tensor
    """[B, C, h, w]: b, of the crops without the defect."""
    object_background: Tensor
    """[B, C, h, w]: b_rand, of the crops without the random boxes."""
    defect_mask: Tensor
    """[B, 1, h, w]: M."""
    box_mask: Tensor
    """[B, 1, h, w]: M_rand."""
    references: tuple[int, ...]
    """Index of the window that each row comes from."""


@dataclass(frozen=True)
class LatentCache:
    """Augmented crops of the references, encoded once to the moments of their posteriors; steps draw from them."""

    clean: Tensor
    """[P, 2C, h, w]."""
    defect_background: Tensor
    """[P, 2C, h, w]."""
    object_background: Tensor
    """[P, K, 2C, h, w]."""
    defect_mask: Tensor
    """[P, 1, h, w]."""
    box_mask: Tensor
    """[P, K, 1, h, w]."""
    references: tuple[int, ...]
    """Index of the window that each crop comes from: all windows equally often."""

    def draw(self, base: Base, settings: TrainConfig, rng: np.random.Generator) -> LatentBatch:
        """Return settings.batch_size crops, each with one of its random-box masks, drawn with replacement."""
        rows = settings.batch_size
        count, boxes = self.box_mask.shape[:2]
        crops = rng.integers(count, size=rows)
        crop, box = (to_device(base, torch.from_numpy(each)) for each in (crops, rng.integers(boxes, size=rows)))
        moments = torch.stack([self.clean[crop], self.defect_background[crop], self.object_background[crop, box]])
        clean, defect_background, object_background = latents_of(base, moments, settings, rng)
        return LatentBatch(
            clean=clean,
            defect_background=defect_background,
            object_background=object_background,
            defect_mask=self.defect_mask[crop],
            box_mask=self.box_mask[crop, box],
            references=tuple(self.references[index] for index in crops),
        )


def latent_batches(
    base: Base, windows: Sequence[Window], settings: TrainConfig, resolution: int, seed: int
) -> Callable[[int], LatentBatch]:
    """Return the function that gives the batch of a step, which depends on the seed and the step alone.

    It draws from a cache, which is encoded here, unless settings.latent_cache is 0 or the steps encode less without.
    """
    cached = cached_crops(settings, len(windows)) > 0
    cache = encode_latent_cache(base, windows, settings, resolution, seed) if cached else None

    def batch_of(step: int) -> LatentBatch:
        rng = np.random.default_rng(derive_seed(seed, "augmentation", step))
        if cache is None:
            return encode_batch(base, draw_batch(windows, settings, resolution, rng), settings, rng)
        return cache.draw(base, settings, rng)

    return batch_of


def cached_crops(settings: TrainConfig, references: int) -> int:
    """Return how many crops a cache holds: settings.latent_cache, but one of each reference at least.

    0 without a cache, as where it takes more encoding than the clean, defect and box pictures of every step.
    """
    crops = max(settings.latent_cache, references) if settings.latent_cache else 0
    pays = crops * (2 + settings.latent_cache_boxes) < 3 * settings.steps * settings.batch_size
    return crops if pays else 0


@torch.no_grad()
def encode_batch(base: Base, batch: Batch, settings: TrainConfig, rng: np.random.Generator) -> LatentBatch:
    """Return the batch's crops and their two backgrounds as latents, in one call of the VAE."""
    images, defect_masks, box_masks = (
        part.to(base.device) for part in (batch.images, batch.defect_masks, batch.box_masks)
    )
    pictures = torch.cat([images, mask_out(images, defect_masks), mask_out(images, box_masks)])
    moments = encode_moments(base, pictures).float().unflatten(0, (3, -1))
    clean, defect_background, object_background = latents_of(base, moments, settings, rng)
    return LatentBatch(
        clean=clean,
        defect_background=defect_background,
        object_background=object_background,
        defect_mask=mask_to_latent(defect_masks, base.latent_scale),
        box_mask=mask_to_latent(box_masks, base.latent_scale),
        references=batch.references,
    )


def latents_of(base: Base, moments: Tensor, settings: TrainConfig, rng: np.random.Generator) -> Tensor:
    """Return latents [3, B, C, h, w] of posteriors with moments [3, B, 2C, h, w]: their mode, or drawn from them."""
    mean, deviation = moments.chunk(2, dim=2)
    if not settings.sample_latents:
        return mean
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**63))))
    return mean + deviation * to_device(base, noise)


@torch.no_grad()
def encode_latent_cache(
    base: Base, windows: Sequence[Window], settings: TrainConfig, resolution: int, seed: int
) -> LatentCache:
    """Return a cache of `cached_crops`, all windows equally often, each with settings.latent_cache_boxes box masks.

    Crop i depends on (seed, i) alone.
    """
    count = cached_crops(settings, len(windows))
    references = tuple(index % len(windows) for index in range(count))
    parts = []
    for start in progress(range(0, count, CROPS_AT_ONCE), "encode crops"):
        crops, boxes = [], []
        for index in range(start, min(start + CROPS_AT_ONCE, count)):
            rng = np.random.default_rng(derive_seed(seed, "pool", index))
            crops.append(random_crop(windows[references[index]], settings.max_resize, resolution, rng))
            boxes += [random_boxes(resolution, settings.boxes, rng) for _ in range(settings.latent_cache_boxes)]
        images = to_images([image for image, _ in crops]).to(base.device)
        defect_masks = to_masks([mask for _, mask in crops]).to(base.device)
        box_masks = to_masks(boxes).to(base.device)
        behind_boxes = mask_out(images.repeat_interleave(settings.latent_cache_boxes, dim=0), box_masks)
        latents = encode_moments(base, torch.cat([images, mask_out(images, defect_masks), behind_boxes])).float()
        clean, defect_background, object_background = latents.split([len(crops), len(crops), len(boxes)])
        per_crop = (len(crops), settings.latent_cache_boxes)
        parts.append(
            (
                clean,
                defect_background,
                object_background.unflatten(0, per_crop),
                mask_to_latent(defect_masks, base.latent_scale),
                mask_to_latent(box_masks, base.latent_scale).unflatten(0, per_crop),
            )
        )
    clean, defect_background, object_background, defect_mask, box_mask = map(torch.cat, zip(*parts, strict=True))
    return LatentCache(clean, defect_background, object_background, defect_mask, box_mask, references)
