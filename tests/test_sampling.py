"""Sampled masks are like the references in size and shape, lie on the object, and depend on the seed alone."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import distance_transform_edt, label

from mask_sampling import Mask, PlacementError
from mask_sampling.priors import compare, measure
from mask_sampling.sampling import SAMPLERS, MaskSampler, Reference, Settings
from mask_sampling.shapes import ShapeSettings
from mask_sampling.spots import Spot

SETTINGS = Settings({"reference": 0.6, "morph": 0.4}, ShapeSettings(rotation_degrees=15))


def disc(size: int = 200, radius: float = 80) -> Mask:
    y, x = np.mgrid[:size, :size]
    inside: Mask = np.hypot(y - size / 2, x - size / 2) < radius
    return inside


def spots(foreground: Mask, sizes: tuple[float, ...] = (5, 7, 9, 12)) -> list[Reference]:
    """References: an ellipse each, at about the same place of the foreground."""
    y, x = np.mgrid[: foreground.shape[0], : foreground.shape[1]]
    middle = [float(line.mean()) for line in np.nonzero(foreground)]
    return [
        Reference(np.hypot((y - middle[0]) / size, (x - middle[1] - 3 * number) / size / 1.8) < 1, foreground)
        for number, size in enumerate(sizes)
    ]


def sampler(seed: int = 0, references: list[Reference] | None = None, **changes: Any) -> MaskSampler:
    return MaskSampler(references or spots(disc()), replace(SETTINGS, **changes), seed)


def test_masks_lie_on_the_object_and_are_as_large_as_the_references() -> None:
    masks = sampler()
    on = masks.scene(disc())
    found = [measure(masks.sample(on, index).mask, on.object_px) for index in range(100)]
    assert not any((masks.sample(on, index).mask & ~disc()).any() for index in range(20))
    rows = {row.attribute: row for row in compare(masks.attributes, found)}
    assert rows["area_fraction"].ks < 0.2
    low, _, high = rows["area_fraction"].references
    assert low / SETTINGS.area_tolerance <= rows["area_fraction"].samples[0]
    assert rows["area_fraction"].samples[2] <= high * SETTINGS.area_tolerance


def test_areas_are_shares_of_the_object_not_pixels() -> None:
    masks = sampler()
    large = masks.scene(disc(400, 160))
    areas = [masks.sample(large, index).mask.sum() for index in range(40)]
    expected = [4 * reference.mask.sum() for reference in spots(disc())]
    assert np.median(areas) == pytest.approx(np.median(expected), rel=0.2)


def test_an_index_has_one_mask_whatever_was_asked_before() -> None:
    on = sampler().scene(disc())
    later = sampler()
    for index in (5, 0):
        later.sample(on, index)
    assert_array_equal(sampler().sample(on, 3).mask, later.sample(on, 3).mask)
    assert not np.array_equal(sampler(seed=1).sample(on, 3).mask, later.sample(on, 3).mask)


def test_no_two_masks_are_nearly_the_same() -> None:
    """Not even where there is hardly any room for others."""
    masks = sampler(references=spots(disc(), sizes=(20, 20)))
    on = masks.scene(disc())
    others: list[Spot] = []
    for index in range(100):
        others.append(masks.sample(on, index, others).spot)
    masks_drawn = np.zeros((100, 200, 200), dtype=np.bool_)
    for mask, spot in zip(masks_drawn, others, strict=True):
        mask[spot.top :, spot.left :][: spot.patch.shape[0], : spot.patch.shape[1]] = spot.patch
    drawn = masks_drawn.reshape(100, -1)
    both = drawn.astype(int) @ drawn.T.astype(int)
    areas = drawn.sum(axis=1)
    overlap = both / (areas[:, None] + areas[None] - both)
    assert overlap[~np.eye(100, dtype=bool)].max() < 0.9


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_gives_masks_of_the_references_size(name: str) -> None:
    masks = sampler(samplers={name: 1.0})
    on = masks.scene(disc())
    drawn = [masks.sample(on, index) for index in range(12)]
    assert {each.sampler for each in drawn} == {name}
    found = [measure(each.mask, on.object_px) for each in drawn]
    assert {row.attribute: row.ks for row in compare(masks.attributes, found)}["area_fraction"] < 0.4
    assert not any((each.mask & ~disc()).any() for each in drawn)


def test_a_folder_of_masks_is_drawn_from() -> None:
    cross = np.zeros((21, 21), dtype=np.bool_)
    cross[8:13] = cross[:, 8:13] = True
    own = MaskSampler(spots(disc()), replace(SETTINGS, samplers={"folder": 1.0}), 0, [cross])
    drawn = own.sample(own.scene(disc()), 0)
    assert drawn.sampler == "folder"
    assert drawn.mask.sum() < 0.8 * np.prod([np.ptp(np.flatnonzero(drawn.mask.any(axis=axis))) + 1 for axis in (0, 1)])
    with pytest.raises(ValueError, match="needs masks"):
        sampler(samplers={"folder": 1.0})


def test_samplers_are_drawn_by_weight_whatever_their_order() -> None:
    def names(weights: dict[str, float]) -> list[str]:
        masks = sampler(samplers=weights)
        on = masks.scene(disc())
        return [masks.sample(on, index).sampler for index in range(60)]

    drawn = names({"reference": 1, "box": 3})
    assert 35 < drawn.count("box") < 55
    assert names({"box": 3, "reference": 1}) == drawn


def test_several_defects_keep_their_distance() -> None:
    masks = sampler(count=(2, 3), min_distance_px=10)
    on = masks.scene(disc())
    counts = set()
    for index in range(12):
        sampled = masks.sample(on, index)
        labels, count = label(sampled.mask, np.ones((3, 3)))
        counts.add(count)
        assert len(sampled.like) == count
        for one, other in combinations(range(1, count + 1), 2):
            assert distance_transform_edt(labels != one)[labels == other].min() > 10
    assert counts == {2, 3}


def test_textures_have_masks_everywhere_that_touch_the_frame_where_the_references_do() -> None:
    frame = np.ones((150, 120), dtype=np.bool_)
    crack = np.zeros_like(frame)
    crack[:, 50:53] = True
    masks = sampler(references=[Reference(crack, frame), Reference(np.roll(crack, 25, axis=1), frame)])
    on = masks.scene(frame)
    columns = []
    for index in range(20):
        mask = masks.sample(on, index).mask
        assert mask[0].any()
        assert mask[-1].any()
        columns.append(np.nonzero(mask)[1].mean())
    assert np.ptp(columns) > 40


def test_a_defect_that_was_taken_for_the_object_of_a_texture_is_no_object() -> None:
    """Of three textures one shows a blot so large that it was cut out; its share is one of the frame all the same."""
    frame, blot = np.ones((200, 200), dtype=np.bool_), disc(radius=20)
    references = [Reference(disc(radius=4), frame), Reference(disc(radius=5), frame), Reference(blot, blot)]
    masks = sampler(references=references)
    assert [each.area_fraction for each in masks.attributes] == [each.mask.mean() for each in references]
    on = masks.scene(frame)
    assert max(masks.sample(on, index).mask.mean() for index in range(12)) < 1.5 * blot.mean()


def test_novelty_goes_where_no_reference_is() -> None:
    rod = np.zeros((60, 300), dtype=np.bool_)
    rod[25:35, 10:290] = rod[15:45, 10:40] = True
    near_head = np.zeros_like(rod)
    near_head[28:32, 50:60] = True
    references = [Reference(near_head, rod), Reference(np.roll(near_head, 15, axis=1), rod)]

    def places(novelty: float) -> list[float]:
        masks = sampler(references=references, novelty=novelty)
        return [float(np.nonzero(masks.sample(masks.scene(rod), index).mask)[1].mean()) for index in range(30)]

    assert max(places(0)) < 85
    assert max(places(1)) > 230
    assert 0 < sum(place > 90 for place in places(0.3)) < 20


def test_an_object_of_quite_another_size_is_not_trusted() -> None:
    with pytest.raises(PlacementError, match="expected an object that covers 50"):
        sampler().scene(disc(radius=30))


def test_what_was_tried_is_told() -> None:
    masks = sampler()
    striped = disc(radius=100)
    striped[::2] = False  # about as large as the disc, with no room for a spot
    with pytest.raises(PlacementError, match=r"none of 20 shapes .* 20 found no place"):
        masks.sample(masks.scene(striped), 0)


def test_one_small_reference_is_enough_and_one_that_covers_everything_has_only_one_place() -> None:
    dot = np.zeros((200, 200), dtype=np.bool_)
    dot[90, 110] = True
    alone = sampler(references=[Reference(dot, disc())])
    assert alone.sample(alone.scene(disc()), 0).mask.sum() <= 4
    frame = np.ones((50, 60), dtype=np.bool_)
    whole = sampler(references=[Reference(frame, frame)])
    assert whole.sample(whole.scene(frame), 0).mask.mean() > 0.8


def test_a_pixel_in_the_corner_of_a_texture_is_followed_by_masks_that_are_not_empty() -> None:
    frame = np.ones((301, 97), dtype=np.bool_)
    corner = np.zeros_like(frame)
    corner[0, 0] = True
    for seed in range(2):
        masks = sampler(seed, [Reference(corner, frame)], samplers={"box": 1.0})
        assert all(1 <= masks.sample(masks.scene(frame), index).mask.sum() <= 4 for index in range(4))


def test_no_or_empty_references_are_refused() -> None:
    with pytest.raises(ValueError, match="no references"):
        MaskSampler([], SETTINGS, 0)
    with pytest.raises(ValueError, match="empty"):
        MaskSampler([Reference(np.zeros((9, 9), dtype=np.bool_), np.ones((9, 9), dtype=np.bool_))], SETTINGS, 0)


def test_importing_the_samplers_imports_neither_scipy_nor_skimage() -> None:
    code = "import sys, mask_sampling.sampling; print([name for name in ('scipy', 'skimage') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
