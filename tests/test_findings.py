"""What a check says of images and masks that can be used, but not without a word."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from defectfill.config.run import RunConfig, load_config
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import DataError
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.operations.findings import notes, warnings
from defectfill.records.snapshot import references_of


@pytest.fixture
def category(toy_config: Path) -> Path:
    return toy_config.parent / "data/washer"


def said(config_path: Path) -> tuple[list[str], list[str]]:
    config: RunConfig = load_config(config_path)
    records = ingest(config)
    return list(notes(config, records)), list(warnings(config, records))


def rewrite_masks(folder: Path, values: tuple[int, int]) -> int:
    """Give the two halves of each mask another value each; return how many pixels have the first."""
    first = 0
    for path in folder.iterdir():
        mask = read_mask(path)
        left: NDArray[np.bool_] = mask & (np.arange(mask.shape[1]) < np.flatnonzero(mask.any(axis=0)).mean())
        write_png(path, np.where(left, values[0], np.where(mask, values[1], 0)).astype(np.uint8))
        first += int(left.sum())
    return first


def test_nothing_is_said_of_images_and_masks_that_are_plain(toy_config: Path) -> None:
    assert said(toy_config)[0] == []
    assert not any("passed over" in line or "inverted" in line for line in said(toy_config)[1])


def test_values_of_masks_that_were_taken_for_classes_are_told_per_defect_with_their_counts(
    toy_config: Path, category: Path
) -> None:
    before = {path.name: read_mask(path) for path in (category / "ground_truth/hole").iterdir()}
    darker = rewrite_masks(category / "ground_truth/hole", (48, 176))
    (line,), _ = said(toy_config)
    assert line.startswith(
        f"hole: in 4 of 4 masks every value above 0 counts as the defect: 48 ({darker} pixels), 176 ("
    )
    for path in (category / "ground_truth/hole").iterdir():
        np.testing.assert_array_equal(read_mask(path), before[path.name])


def test_what_smooth_outlines_leave_out_is_told(toy_config: Path, category: Path) -> None:
    for path in (category / "ground_truth/scratch").iterdir():
        write_png(path, np.asarray(cv2.GaussianBlur(read_image(path)[..., 0], (3, 3), 0.5)))
    (line,), _ = said(toy_config)
    assert line.startswith("scratch: 4 of 4 masks have smooth outlines; values from half on count, ")


def test_images_that_exif_turns_are_told(toy_config: Path, category: Path) -> None:
    path = category / "test/hole/000.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    (line,), _ = said(toy_config)
    assert line.startswith("1 images of defects are read turned, as their EXIF says")
    assert line.endswith("test/hole/000.png")


def test_a_camera_of_12_bits_is_told(toy_config: Path, category: Path) -> None:
    for path in category.glob("t*/*/*.png"):
        write_png(path, read_image(path).astype(np.uint16) * np.uint16(16))
    (line,), _ = said(toy_config)
    assert line.startswith("white is 4095 of 65535 in images of 16 bits (12 bits), by the largest value of normals")


def test_a_white_that_is_asked_for_without_images_of_16_bits_is_warned_of(toy_config: Path) -> None:
    toy_config.write_text(toy_config.read_text().replace("defects: [", "white_level: 4095, defects: ["))
    assert any(line.startswith("data.white_level: counts for images of 16 bits only") for line in said(toy_config)[1])


def test_an_inverted_mask_is_warned_of(toy_config: Path, category: Path) -> None:
    path = category / "ground_truth/hole/000_mask.png"
    write_png(path, ~read_mask(path))
    (line,) = [line for line in said(toy_config)[1] if "inverted" in line]
    assert line.startswith("ground_truth/hole/000_mask.png: covers 9")


def test_images_that_are_passed_over_are_counted_and_named(toy_config: Path, category: Path) -> None:
    for name in ("b.HEIC", "a.gif", "day 1/000.png", "notes.txt", ".hidden.gif"):
        (category / "test/hole" / name).parent.mkdir(exist_ok=True)
        (category / "test/hole" / name).write_bytes(b"x")
    (line,) = [line for line in said(toy_config)[1] if "passed over" in line]
    assert line.startswith(f"{category / 'test/hole'}: 3 files are passed over")
    assert line.endswith(": a.gif, b.HEIC, day 1/000.png")


def test_images_that_lie_in_folders_alone_are_named_where_none_is_found(toy_config: Path, category: Path) -> None:
    shutil.move(category / "train/good", category / "day 1")
    shutil.move(category / "day 1", category / "train/good/day 1")
    with pytest.raises(DataError, match=r"found none among 1 files; passed over, .*: day 1/000\.png, .*, \.\.\."):
        ingest(load_config(toy_config))


def test_keys_that_held_out_masks_leave_without_effect_are_named(toy_config: Path) -> None:
    text = toy_config.read_text()
    toy_config.write_text(f"{text}masks: {{source: held_out}}\n")
    assert said(toy_config)[0] == []
    toy_config.write_text(f"{text}masks: {{source: held_out, samplers: {{blob: 1}}, elastic: 0}}\n")
    assert said(toy_config)[0] == [
        "masks.source: held_out takes masks as they lie; without effect: masks.samplers, masks.elastic"
    ]


def test_windows_that_are_painted_much_smaller_are_told(toy_config: Path) -> None:
    def told() -> list[str]:
        return [line for line in said(toy_config)[1] if "its windows of" in line]

    assert told() == []
    text = toy_config.read_text()
    toy_config.write_text(text.replace("resolution: 64", "resolution: 32"))
    assert [line.partition(":")[0] for line in told()] == list(load_config(toy_config).data.defects)
    assert all("are painted in 32, so it comes out blurred; a larger base.resolution" in line for line in told())
    toy_config.write_text(toy_config.read_text().replace("generate: {", "generate: {painter: paste, "))
    assert told() == []


@pytest.mark.parametrize("painter", ["diffusion", "paste"])
def test_references_of_a_few_pixels_are_told(toy_config: Path, category: Path, painter: str) -> None:
    toy_config.write_text(toy_config.read_text().replace("generate: {", f"generate: {{painter: {painter}, "))
    for path in (category / "ground_truth/hole").iterdir():
        mask = np.zeros_like(read_mask(path))
        mask[30:32, 30:32] = True
        write_png(path, mask.astype(np.uint8) * 255)
    told = [line for line in said(toy_config)[1] if "hardly anything is kept" in line]
    assert len(told) == len(references_of(ingest(load_config(toy_config)), "hole")) > 0
    assert all("hole" in line and "its defect has 4 pixels; of less than 9 " in line for line in told)


def test_webp_and_jfif_are_read(toy_config: Path, category: Path) -> None:
    image = read_image(category / "train/good/000.png")
    Image.fromarray(255 - image).save(category / "train/good/new.webp", "WEBP")
    Image.fromarray(image[::-1]).save(category / "train/good/old.jfif", "JPEG")
    found = {record.path for record in ingest(load_config(toy_config))}
    assert {"train/good/new.webp", "train/good/old.jfif"} <= found
