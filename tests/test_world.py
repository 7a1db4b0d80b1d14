"""The world of random materials: seeds, variety, speed's preconditions, and marks that keep to their masks."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from defectfill.toy.world import MARKS, SHAPES, TEXTURES, draw_mark, draw_scene
from defectfill.toy.world.materials import GREY_SHARE, draw_colour, draw_material
from defectfill.toy.world.scene import GREY_PICTURES
from defectfill.toy.world.shapes import draw_shape


def scenes(count: int, size: int = 64) -> list[NDArray[np.uint8]]:
    return [draw_scene(np.random.default_rng([5, index]), size) for index in range(count)]


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    first, again, other = (draw_scene(np.random.default_rng(seed), 64) for seed in (0, 0, 1))
    assert first.dtype == np.uint8
    assert first.shape == (64, 64, 3)
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("size", [32, 63, 192])
def test_scenes_come_at_any_size(size: int) -> None:
    for index in range(20):
        assert draw_scene(np.random.default_rng(index), size).shape == (size, size, 3)


def test_scenes_differ_in_brightness_contrast_and_detail() -> None:
    pictures = np.stack(scenes(80)).astype(float)
    means = pictures.mean(axis=(1, 2, 3))
    edges = np.abs(np.diff(pictures, axis=2)).mean(axis=(1, 2, 3))
    assert means.std() > 25
    assert np.percentile(edges, 90) > 4 * np.percentile(edges, 10)
    assert (pictures >= 250).mean() < 0.05
    assert (pictures <= 2).mean() < 0.1


def test_some_pictures_are_grey() -> None:
    grey = np.mean([(picture == picture[..., :1]).all() for picture in scenes(120, 32)])
    assert GREY_PICTURES - 0.12 < grey < GREY_PICTURES + 0.12


def test_two_fifths_of_the_colours_are_grey() -> None:
    rng = np.random.default_rng(0)
    colours = np.stack([draw_colour(rng) for _ in range(600)])
    spread = np.ptp(colours, axis=1) / colours.mean(axis=1)
    assert abs((spread < 0.1).mean() - GREY_SHARE) < 0.06
    assert 0 < colours.min() < colours.max() < 1


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_texture_has_mean_0_and_deviation_1(kind: str) -> None:
    for index in range(12):
        field = TEXTURES[kind](np.random.default_rng(index), 96)
        assert field.shape == (96, 96)
        assert field.dtype == np.float32
        assert abs(field.mean()) < 0.01
        assert field.std() == pytest.approx(1, abs=0.01) or field.std() == 0  # a wide mesh may leave no spot


@pytest.mark.parametrize("kind", TEXTURES)
def test_a_texture_comes_at_scales_that_differ(kind: str) -> None:
    fields = [TEXTURES[kind](np.random.default_rng([1, index]), 96) for index in range(30)]
    steps = [np.abs(np.diff(field, axis=1)).mean() for field in fields]
    assert max(steps) > 2 * min(steps)


def test_a_material_throws_back_no_more_light_than_falls_on_it() -> None:
    for index in range(30):
        surface = draw_material(np.random.default_rng(index), 48)
        assert surface.albedo.shape == (48, 48, 3)
        assert surface.albedo.dtype == surface.height.dtype == np.float32
        assert 0 < surface.albedo.min() <= surface.albedo.max() <= 0.95


@pytest.mark.parametrize("kind", SHAPES)
def test_distance_to_a_shapes_edge_grows_by_about_a_pixel_a_pixel(kind: str) -> None:
    y, x = np.mgrid[-48:48, -48:48].astype(np.float32)
    for index in range(8):
        inside = SHAPES[kind](np.random.default_rng(index), 30.0)(x, y)
        assert inside.shape == x.shape
        assert (inside > 0).any()
        assert np.percentile(np.hypot(*np.gradient(inside)), 50) < 2.5


def test_a_shapes_edge_is_rounded_within_the_shape() -> None:
    y, x = np.mgrid[-48:48, -48:48].astype(np.float32)
    for index in range(40):
        inside, rounding = draw_shape(np.random.default_rng(index), x, y)
        assert 0 < rounding <= max(inside.max(), 1)


@pytest.mark.parametrize("word", MARKS)
def test_a_mark_lies_in_its_mask_with_a_margin_and_is_seen(word: str) -> None:
    shares, strengths = [], []
    for index in range(60):
        picture = draw_scene(np.random.default_rng([7, index]), 96)
        mark = draw_mark(picture, np.random.default_rng([8, index]), word)
        before = picture.astype(np.float32) / 255
        change = np.abs(mark.picture - before).max(axis=2)
        assert mark.word == word
        assert mark.picture.dtype == np.float32
        assert 0 <= mark.picture.min() <= mark.picture.max() <= 1
        assert (mark.picture[~mark.mask] == before[~mark.mask]).all()
        assert change.max() > 0.02
        strengths.append(np.percentile(change[mark.mask], 90))
        shares.append(mark.mask.mean())
    assert np.median(strengths) > 0.08
    assert 0.001 < min(shares) < max(shares) < 0.6


def test_a_mask_follows_a_line_and_is_wider_than_it() -> None:
    picture = np.full((96, 96, 3), 0.5, np.float32)
    for index in range(30):
        mark = draw_mark(picture, np.random.default_rng(index), "line")
        changed = np.abs(mark.picture - picture).max(axis=2) > 0.03
        assert changed.sum() < 0.7 * mark.mask.sum()
        assert not (changed & ndimage.binary_erosion(~mark.mask)).any()


def test_marks_on_grey_pictures_are_grey() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2)
    for index in range(20):
        marked = draw_mark(picture, np.random.default_rng(index)).picture
        assert np.ptp(marked, axis=2).max() < 1e-6


def test_words_come_in_their_shares_and_a_seed_gives_the_same_mark() -> None:
    picture = np.full((32, 32, 3), 90, np.uint8)
    words = [draw_mark(picture, np.random.default_rng(index)).word for index in range(40)]
    for word, (share, _) in MARKS.items():
        assert abs(words.count(word) / 40 - share) < 0.15
    first, again = (draw_mark(picture, np.random.default_rng(3)) for _ in range(2))
    assert (first.picture == again.picture).all()
    assert (first.mask == again.mask).all()
