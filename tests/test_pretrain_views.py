"""The pictures and views that a base is pretrained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PRETRAIN_CONFIG
from PIL import Image

from defectfill.config.base import BaseConfig
from defectfill.io.errors import DataError
from defectfill.model.base.base import load_base
from defectfill.model.pretraining.config import load_pretrain_config
from defectfill.model.pretraining.denoiser import encode_views, prompt_of
from defectfill.model.pretraining.pictures import (
    Pictures,
    draw_box_around,
    draw_crops,
    draw_hole,
    draw_mark,
    gather_pictures,
)
from defectfill.model.pretraining.pretrain import pretrain
from defectfill.toy.world import MARKS


def test_crops_show_the_picture_and_stay_in_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(3, 40, 40, 3), dtype=np.uint8)
    pictures = Pictures(pixels, ("a", "b", "c"))
    rows = np.array([0, 2, 1])
    plain = draw_crops(pictures, rows, 40, 40, 0.0, np.random.default_rng(0))
    assert plain.shape == (3, 3, 40, 40)
    for crop, row in zip(plain, rows, strict=True):
        np.testing.assert_allclose(crop.mean(), pixels[row].mean() / 127.5 - 1, atol=1e-3)
    coloured = draw_crops(pictures, rows, 24, 12, 0.5, np.random.default_rng(0))
    assert -1 <= coloured.min() < coloured.max() <= 1


def test_grey_pictures_stay_grey_where_that_is_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 40, 40, 3), dtype=np.uint8)
    pixels[1] = pixels[1, ..., :1]
    pictures, rows = Pictures(pixels, ("a", "b")), np.array([0, 1])
    tinted, grey = (
        draw_crops(pictures, rows, 24, 12, 0.5, np.random.default_rng(0), stays_grey=stays) for stays in (False, True)
    )
    assert torch.equal(tinted[0], grey[0])
    assert not torch.equal(tinted[1, 0], tinted[1, 1])
    assert torch.equal(grey[1, 0], grey[1, 1])
    assert torch.equal(grey[1, 0], grey[1, 2])


def test_holes_are_never_empty_and_sometimes_everything() -> None:
    rng = np.random.default_rng(0)
    shares = [draw_hole(32, rng).mean() for _ in range(200)]
    assert min(shares) > 0
    assert shares.count(1.0) > 2
    assert 0.1 < np.median(shares) < 0.5


def test_real_folders_are_read_and_named_when_empty(tmp_path: Path, pretrain_path: Path) -> None:
    (tmp_path / "nuts").mkdir()
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("toys: {washer: 4, wood: 3}", "folders: {big_nut: nuts}"))
    with pytest.raises(DataError, match="nuts: expected a folder with normal images"):
        gather_pictures(load_pretrain_config(pretrain_path))
    Image.fromarray(np.full((50, 90), 200, np.uint8)).save(tmp_path / "nuts" / "0.png")
    pictures = gather_pictures(load_pretrain_config(pretrain_path))
    assert pictures.captions == ("big nut",)
    assert pictures.pixels.shape == (1, 64, 64, 3)
    assert (pictures.pixels == 200).all()


def test_pictures_of_random_materials_are_made_beside_the_toys_and_alone(pretrain_path: Path) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("side_px: 64", "side_px: 64, materials: 5"))
    pictures = gather_pictures(load_pretrain_config(pretrain_path))
    assert pictures.captions == ("washer",) * 4 + ("wood",) * 3 + ("part",) * 5
    pretrain_path.write_text(
        PRETRAIN_CONFIG.replace("{toys: {washer: 4, wood: 3}, side_px: 64}", "{materials: 3, side_px: 64}")
    )
    alone = gather_pictures(load_pretrain_config(pretrain_path))
    assert (alone.pixels == pictures.pixels[7:10]).all()
    assert (alone.pixels[0] != alone.pixels[1]).any()


def test_a_mark_changes_the_crop_inside_its_hole_and_nothing_beyond() -> None:
    crop = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        marked, hole, name = draw_mark(crop, rng)
        assert name in MARKS
        changed = (marked - crop).abs().amax(dim=0).numpy() > 1e-6
        assert changed.any()
        assert not (changed & ~hole).any()
        assert marked.abs().max() <= 1
        shares.append(hole.mean())
    assert 0.005 < min(shares) < max(shares) < 0.5


def test_a_box_around_a_mask_holds_it_and_ends_anywhere() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:14, 5:38] = True
    boxes = [draw_box_around(mask, np.random.default_rng(index)) for index in range(300)]
    assert all((box | ~mask).all() for box in boxes)
    spans = [[np.flatnonzero(box.any(axis=axis))[[0, -1]] for axis in (1, 0)] for box in boxes]
    assert all(
        box.sum() == np.prod([last + 1 - first for first, last in span]) for box, span in zip(boxes, spans, strict=True)
    )
    (tops, bottoms), (lefts, rights) = np.array(spans).transpose(1, 2, 0)
    assert {0, 10} <= set(tops) <= set(range(11))
    assert {13, 30} <= set(bottoms) <= set(range(13, 34))
    assert 11 < np.median(bottoms - tops) < 16
    assert set(rights - lefts + 1) == {33}


def test_captions_name_the_marks(pretrain_path: Path) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("denoiser: {", "denoiser: {marks: 0.5, "))
    config = load_pretrain_config(pretrain_path)
    base = load_base(BaseConfig(model=str(pretrain(config)), resolution=32, device="cpu"))
    views = encode_views(config, base, gather_pictures(config))
    marked = np.array([bool(word) for word in views.words])
    assert set(views.words) <= {"", *MARKS}
    assert 0 < marked.sum() < len(marked)
    assert (views.marks.amax((1, 2, 3)).numpy() > 0).tolist() == marked.tolist()
    assert not (views.marks * (1 - views.holes)).any()
    bare = encode_views(
        config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"marks": 1})}),
        base,
        gather_pictures(config),
    )
    assert {"", *MARKS} == set(bare.words), "some of the holes that marks are to lie in have none"


def test_captions_are_worded_as_adapters_and_painting_word_them() -> None:
    rng = np.random.default_rng(0)
    assert {prompt_of("nut", "", 0.1, rng) for _ in range(200)} == {"", "A nut", "A photo of nut"}
    marks = ("sks", "line", "a line")
    expected = {"", *(f"A nut with {mark}" for mark in marks), *(f"A photo of {mark}" for mark in marks)}
    assert {prompt_of("nut", "line", 0.1, rng) for _ in range(400)} == expected


def test_marks_may_lie_in_boxes(pretrain_path: Path) -> None:
    pretrain_path.write_text(PRETRAIN_CONFIG.replace("denoiser: {", "denoiser: {marks: 1, boxed_marks: 1, "))
    config = load_pretrain_config(pretrain_path)
    base = load_base(BaseConfig(model=str(pretrain(config)), resolution=32, device="cpu"))
    for hole in encode_views(config, base, gather_pictures(config)).holes[:, 0] > 0:
        rows, columns = hole.any(dim=1).nonzero(), hole.any(dim=0).nonzero()
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
