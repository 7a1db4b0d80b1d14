"""The cache: what it holds is what encoding crop by crop gives, and a step's batch depends on seed and step alone."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from test_training import RESOLUTION, make_window

from defectfill.config.train import TrainConfig
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base
from defectfill.model.training.augmentation import Batch, draw_batch, random_boxes, random_crop, to_images, to_masks
from defectfill.model.training.latent_cache import (
    LatentBatch,
    cached_crops,
    encode_batch,
    encode_latent_cache,
    latent_batches,
)

WINDOWS = [make_window(0), make_window(1)]
CACHED = TrainConfig(steps=100, batch_size=3, latent_cache=5, latent_cache_boxes=2)
FRESH = TrainConfig(steps=100, batch_size=3, latent_cache=0)


def assert_same(batch: LatentBatch, other: LatentBatch) -> None:
    assert batch.references == other.references
    for field in fields(batch):
        if field.name != "references":
            torch.testing.assert_close(getattr(batch, field.name), getattr(other, field.name), rtol=1e-4, atol=1e-5)


def mode(moments: torch.Tensor) -> torch.Tensor:
    """Return the first half of the channels [..., 2C, h, w]."""
    return moments.chunk(2, dim=-3)[0]


@pytest.mark.parametrize("settings", [CACHED, FRESH], ids=["cache", "fresh"])
def test_latents_can_be_drawn_from_the_posterior(base: Base, settings: TrainConfig) -> None:
    many = settings.model_copy(update={"batch_size": 64})
    drawing = many.model_copy(update={"sample_latents": True})
    modes, drawn = (latent_batches(base, WINDOWS, each, RESOLUTION, seed=7)(0) for each in (many, drawing))
    image = to_images([WINDOWS[0].image[:64, :64]])
    deviation = base.vae.encode(image).latent_dist.std.mean() * base.vae.config.scaling_factor
    for name in ("clean", "defect_background", "object_background"):
        difference = getattr(drawn, name) - getattr(modes, name)
        assert difference.std().item() == pytest.approx(deviation.item(), rel=0.1)
        assert abs(difference.mean().item()) < 0.05 * deviation.item()
    assert torch.equal(modes.defect_mask, drawn.defect_mask)


def test_every_reference_is_in_the_cache_though_they_are_more_than_it_was_to_hold(base: Base) -> None:
    windows = [make_window(seed) for seed in range(8)]
    assert encode_latent_cache(base, windows, CACHED, RESOLUTION, seed=7).references == tuple(range(8))
    assert cached_crops(CACHED, references=8) == 8
    assert cached_crops(FRESH, references=8) == 0
    assert cached_crops(CACHED.model_copy(update={"steps": 3}), references=8) == 0


def test_the_cache_holds_what_encoding_crop_by_crop_gives(base: Base) -> None:
    cache = encode_latent_cache(base, WINDOWS, CACHED, RESOLUTION, seed=7)
    assert cache.references == (0, 1, 0, 1, 0)
    for index, reference in enumerate(cache.references):
        rng = np.random.default_rng(derive_seed(7, "pool", index))
        image, mask = random_crop(WINDOWS[reference], CACHED.max_resize, RESOLUTION, rng)
        for box in range(CACHED.latent_cache_boxes):
            boxes = to_masks([random_boxes(RESOLUTION, CACHED.boxes, rng)])
            plain = encode_batch(base, Batch(to_images([image]), to_masks([mask]), boxes, (reference,)), CACHED, rng)
            at = slice(index, index + 1)
            cached = LatentBatch(
                mode(cache.clean[at]),
                mode(cache.defect_background[at]),
                mode(cache.object_background[at, box]),
                cache.defect_mask[at],
                cache.box_mask[at, box],
                (reference,),
            )
            assert_same(cached, plain)


def test_a_drawn_row_is_one_crop_with_one_of_its_boxes(base: Base) -> None:
    cache = encode_latent_cache(base, WINDOWS, CACHED, RESOLUTION, seed=7)
    batch = cache.draw(base, CACHED.model_copy(update={"batch_size": 200}), np.random.default_rng(0))
    seen = set()
    for row, reference in enumerate(batch.references):
        [crop] = [i for i, clean in enumerate(cache.clean) if torch.equal(mode(clean), batch.clean[row])]
        [box] = [k for k, mask in enumerate(cache.box_mask[crop]) if torch.equal(mask, batch.box_mask[row])]
        assert torch.equal(mode(cache.object_background[crop, box]), batch.object_background[row])
        assert torch.equal(mode(cache.defect_background[crop]), batch.defect_background[row])
        assert torch.equal(cache.defect_mask[crop], batch.defect_mask[row])
        assert cache.references[crop] == reference
        seen.add((crop, box))
    assert len(seen) == 10


@pytest.mark.parametrize("settings", [CACHED, FRESH], ids=["cache", "fresh"])
def test_a_batch_depends_on_seed_and_step_alone(base: Base, settings: TrainConfig) -> None:
    first, again = (latent_batches(base, WINDOWS, settings, RESOLUTION, seed=7) for _ in range(2))
    before = first(2)
    assert_same(again(2), before)
    assert not torch.equal(first(3).clean, before.clean)
    assert_same(first(2), before)


def test_another_seed_makes_another_cache(base: Base) -> None:
    one, other = (encode_latent_cache(base, WINDOWS, CACHED, RESOLUTION, seed) for seed in (0, 1))
    assert not torch.equal(one.clean, other.clean)


@pytest.mark.parametrize(("steps", "cached"), [(2, False), (3, True)])
def test_a_cache_is_made_only_where_it_saves_work(base: Base, steps: int, cached: bool) -> None:
    settings = TrainConfig(
        steps=steps, batch_size=3, latent_cache=5, latent_cache_boxes=2
    )  # the cache encodes 20, a step encodes 9
    batch = latent_batches(base, WINDOWS, settings, RESOLUTION, seed=7)(0)
    rng = np.random.default_rng(derive_seed(7, "augmentation", 0))
    if cached:
        assert_same(batch, encode_latent_cache(base, WINDOWS, settings, RESOLUTION, seed=7).draw(base, settings, rng))
    else:
        assert_same(batch, encode_batch(base, draw_batch(WINDOWS, settings, RESOLUTION, rng), settings, rng))
