"""Parts that do not stand out surely from their ground, as a component on a woven carrier."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from defectfill.config.run import RunConfig, load_config
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import DataError
from defectfill.io.images import write_png
from defectfill.masks.category import CategoryMasks
from defectfill.masks.sheet import write_mask_sheet
from defectfill.operations.check import check_config
from defectfill.records.snapshot import ImageRecord
from mask_sampling import UncertainObject
from mask_sampling.alignment import Template
from mask_sampling.foreground import find_object

SIDE, LEVEL = 128, 50
CONFIG = """
category: chip
object_name: chip
data: {{root: data, defects: [spot], references: {{count: 3}}}}
base: {{model: {base}, resolution: 64, device: cpu}}
train: {{steps: 2, batch_size: 1, rank: 2, alpha: 2}}
generate: {{count: 4, candidates: 1, steps: 2}}
output: {{root: out}}
"""


def component(seed: int, *, turned: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[int, int]]:
    """A picture [H, W, 3] of a component on a woven carrier, the mask of a spot on it, and how far it has moved (x, y).

    turned: with another weave, and the component anywhere.
    """
    rng = np.random.default_rng(seed)
    moved_x, moved_y = (int(step) for step in rng.integers(-30 if turned else -4, 31 if turned else 5, 2))
    weave = gaussian_filter(np.random.default_rng(seed if turned else 99).normal(size=(SIDE, SIDE)), 2, mode="wrap")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    y, x = np.abs(rows - 64 - moved_y), np.abs(columns - 64 - moved_x)
    if turned and seed % 2:
        x, y = y, x
    part = (x < 30) & (y < 22)
    pins = part & (x // 6 % 2 == 0) & (np.abs(y - 17) < 3)
    carrier = np.roll(100 + 5 * weave / weave.std(), (moved_y, moved_x), axis=(0, 1))
    image = np.where(part, 100 + LEVEL, carrier) + 25 * pins
    image = image * (1 + 0.05 * rng.uniform(-1, 1)) + rng.normal(0, 2, image.shape)
    spot = np.hypot(rows - 60 - moved_y - rng.integers(0, 3), columns - 50 - moved_x - rng.integers(0, 3)) < 4
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2), spot, (moved_x, moved_y)


def write_components(root: Path, base_folder: Path, *, turned: bool = False) -> Path:
    """Write a category of components with a config for it, and return the config's file."""
    for number in range(4):
        image, _, _ = component(number, turned=turned)
        write_png(root / f"data/chip/train/good/{number}.png", image)
        image, spot, _ = component(100 + number, turned=turned)
        image[spot] = 30
        write_png(root / f"data/chip/test/spot/{number}.png", image)
        write_png(root / f"data/chip/ground_truth/spot/{number}_mask.png", spot)
    (root / "chip.yaml").write_text(CONFIG.format(base=base_folder))
    return root / "chip.yaml"


def masks_of(config: RunConfig) -> tuple[CategoryMasks, tuple[ImageRecord, ...]]:
    records = ingest(config)
    return CategoryMasks(config, records, "spot"), records


@pytest.mark.parametrize("seed", range(6))
def test_the_toy_is_one_whose_object_is_not_surely_found(seed: int) -> None:
    with pytest.raises(UncertainObject, match="differs from the ground by"):
        find_object(component(seed)[0])


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_way_that_a_part_has_moved_is_found_to_the_pixel(seed: int) -> None:
    (first, _, start), (image, _, moved) = component(0), component(seed)
    aligned = Template(first).align(image)
    assert aligned.offset == (moved[0] - start[0], moved[1] - start[1])
    assert aligned.likeness > 0.9


def test_pictures_of_other_things_and_sizes_are_not_alike() -> None:
    template = Template(component(0)[0])
    others = [component(seed, turned=True)[0] for seed in range(4)]
    assert not any(template.align(image).is_alike for image in [*others, others[0][1:], np.zeros_like(others[0])])


def test_a_part_that_always_lies_the_same_has_its_defects_where_the_references_have_them(
    tmp_path: Path, base_folder: Path
) -> None:
    config = load_config(write_components(tmp_path, base_folder))
    masks, _ = masks_of(config)
    for seed in range(4):
        image, spot, _ = component(seed)
        scene = masks.scene(image)
        centres = [np.argwhere(masks.sample(scene, index).mask).mean(axis=0) for index in range(6)]
        wanted = np.argwhere(spot).mean(axis=0)
        assert np.linalg.norm(np.mean(centres, axis=0) - wanted) < 6
        assert all(np.linalg.norm(centre - wanted) < 20 for centre in centres)


def test_what_was_decided_is_said_in_one_plain_line_before_training(tmp_path: Path, base_folder: Path) -> None:
    path = write_components(tmp_path, base_folder)
    (note,) = check_config(load_config(path)).notes
    assert note.startswith("spot: the part does not stand out surely from its ground, it lies the same in all pictures")
    assert "px, so defects lie where the references have them (masks.foreground: full takes the frame for a " in note
    report = write_mask_sheet(load_config(path), tmp_path / "masks.png", 8)["spot"]
    assert report.note
    assert report.note in note
    assert not report.not_placed


def test_a_part_that_lies_anywhere_on_its_carrier_is_taken_for_a_texture(tmp_path: Path, base_folder: Path) -> None:
    path = write_components(tmp_path, base_folder, turned=True)
    (note,) = check_config(load_config(path)).notes
    assert "the whole frame is taken for a texture (masks.foreground: aligned insists on one pose)" in note
    path.write_text(path.read_text() + "masks: {foreground: aligned}\n")
    with pytest.raises(DataError, match=r"spot/\d\.png: .* found a picture that is not alike"):
        check_config(load_config(path))


def test_masks_follow_the_other_references_where_one_does_not_show_its_object(toy_config: Path) -> None:
    toy_config.write_text(toy_config.read_text().replace("[hole, scratch]", "[hole]").replace("count: 2", "count: 3"))
    (first, *others) = check_config(load_config(toy_config)).defects[0].references
    write_png(toy_config.parent / "data/washer/test/hole" / first, component(0)[0][16:112, 16:112])
    (note,) = check_config(load_config(toy_config)).notes
    assert note.startswith("hole: the object is not surely found in 1 of 3 references, masks follow the others")
    assert f"test/hole/{first}: " in note
    config = load_config(toy_config)
    assert [f"{name}.png" for name in CategoryMasks(config, ingest(config), "hole").names] == others


@pytest.mark.parametrize("is_texture", [True, False])
def test_a_conspicuous_defect_is_no_object_where_the_normals_are_textures(
    tmp_path: Path, base_folder: Path, is_texture: bool
) -> None:
    """A disc covers a texture as it does; where the normals show an object, so are discs that cover most of theirs."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)

    def picture(level: int, radius: float) -> NDArray[np.uint8]:
        grey = np.where(np.hypot(rows - 60, columns - 70) < radius, level, 120) + rng.normal(0, 2, (SIDE, SIDE))
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None]

    for number, radius in enumerate((16, 17, 20)):
        write_png(tmp_path / f"data/chip/train/good/{number}.png", picture(200, 0 if is_texture else 20))
        write_png(tmp_path / f"data/chip/test/spot/{number}.png", picture(240, 20))
        mask = np.hypot(rows - 60, columns - 70) < radius
        write_png(tmp_path / f"data/chip/ground_truth/spot/{number}_mask.png", mask)
    (tmp_path / "chip.yaml").write_text(CONFIG.format(base=base_folder))
    masks, _ = masks_of(load_config(tmp_path / "chip.yaml"))
    assert masks.sampler.registration.kind == ("frame" if is_texture else "round")
    scene = masks.scene(picture(200, 0 if is_texture else 20))
    assert scene.object_px == pytest.approx(SIDE**2 if is_texture else np.pi * 20**2, rel=0.1)
    assert masks.sample(scene, 0).mask.sum() == pytest.approx(np.pi * 18**2, rel=0.5)


def test_zones_move_with_a_part_that_always_lies_the_same(tmp_path: Path, base_folder: Path) -> None:
    path = write_components(tmp_path, base_folder)
    image, _, start = component(1)
    zone = np.zeros((SIDE, SIDE), bool)
    zone[50:70, 40:60] = True
    write_png(tmp_path / "drawn_on.png", image)
    write_png(tmp_path / "zone.png", zone)
    path.write_text(path.read_text() + "masks: {zones: {allowed: zone.png, drawn_on: drawn_on.png}}\n")
    masks, _ = masks_of(load_config(path))
    for seed in (0, 2, 3):
        image, _, moved = component(seed)
        away = (moved[1] - start[1], moved[0] - start[0])
        np.testing.assert_array_equal(masks.scene(image).allowed, np.roll(zone, away, axis=(0, 1)))
