"""Masks of a category: the user's zones and folders, the plan's even spread, and the sheet that shows them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CommandLine, run_all_steps
from numpy.typing import NDArray
from PIL import Image

from defectfill.config.run import load_config
from defectfill.dataset.summary import format_summary, summary
from defectfill.dataset.verify import verify_dataset
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.masks.category import CategoryMasks
from defectfill.masks.sheet import write_mask_sheet
from defectfill.operations.check import check_config
from defectfill.operations.prepare import prepare_run, start_run
from defectfill.runs import defect_planner, planner
from defectfill.runs.plan import read_plan
from defectfill.runs.planner import plan_samples, shards_to_do


def with_masks(config: Path, masks: str) -> Path:
    config.write_text(f"{config.read_text()}masks: {masks}\n")
    return config


def zone(path: Path, rows: slice, side: int = 96) -> Path:
    drawn = np.zeros((side, side), dtype=bool)
    drawn[rows] = True
    write_png(path, drawn)
    return path


@pytest.mark.parametrize("placement", ["zones", "learned"])
def test_masks_stay_in_the_zones(toy_config: Path, tmp_path: Path, placement: str) -> None:
    zone(tmp_path / "upper.png", slice(0, 48))
    zone(tmp_path / "middle.png", slice(40, 96))
    with_masks(toy_config, f"{{placement: {placement}, zones: {{allowed: upper.png, forbidden: middle.png}}}}")
    run = start_run(load_config(toy_config))
    plan_samples(run)
    specs = [spec for defect in ("hole", "scratch") for spec in read_plan(run, defect)]
    masks = [read_mask(run.folder / spec.planned_mask_path) for spec in specs if not spec.reason]
    assert len(masks) >= 8
    assert not any(mask[40:].any() for mask in masks)


def test_zones_drawn_over_an_image_follow_its_object(toy_config: Path, tmp_path: Path) -> None:
    """The object of one image is moved and made smaller; what is allowed moves along."""
    config = load_config(toy_config)
    category = config.category_folder
    drawn_on = category / "train" / "good" / "000.png"
    zone(tmp_path / "upper.png", slice(0, 48))
    with_masks(toy_config, f"{{placement: zones, zones: {{allowed: upper.png, drawn_on: {drawn_on}}}}}")
    config = load_config(toy_config)
    masks = CategoryMasks(config, ingest(config), "hole")
    image = read_image(drawn_on)
    moved = np.asarray(np.roll(image, 6, axis=0))
    rows = [np.flatnonzero(masks.scene(picture).allowed.any(axis=1)) for picture in (image, moved)]
    assert rows[0][-1] == 47
    assert abs(rows[1][-1] - 53) <= 1


def test_zones_stay_at_their_end_of_a_bar_whose_ends_look_alike(tmp_path: Path) -> None:
    """Uneven edges make now one end, now the other look more like the references'."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:60, :120]

    def bar() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        left, uneven = int(rng.integers(10, 20)), np.sin(columns / 4 + rng.uniform(0, 6))
        defect = np.hypot(rows - 30, columns - left - 60) < 4
        inside = (columns >= left) & (columns < left + 90) & (np.abs(rows - 30 + uneven) < 12)
        return np.where(inside, 150, 40).astype(np.uint8)[..., None], defect

    for number in range(3):
        picture, defect = bar()
        write_png(tmp_path / f"data/bar/train/good/{number}.png", bar()[0])
        write_png(tmp_path / f"data/bar/test/dent/{number}.png", picture)
        write_png(tmp_path / f"data/bar/ground_truth/dent/{number}_mask.png", defect)
    write_png(tmp_path / "drawn_on.png", bar()[0])
    write_png(tmp_path / "zone.png", columns < 50)
    (tmp_path / "bar.yaml").write_text(
        "{category: bar, object_name: bar, data: {root: data, defects: [dent], references: {count: 3}}, "
        "base: {model: mini}, masks: {zones: {forbidden: zone.png, drawn_on: drawn_on.png}}, output: {root: out}}"
    )
    config = load_config(tmp_path / "bar.yaml")
    masks = CategoryMasks(config, ingest(config), "dent")
    for _ in range(12):
        assert np.nonzero(masks.scene(bar()[0]).allowed)[1].min() > 30


def test_zones_of_another_size_and_files_that_are_missing_are_named(toy_config: Path, tmp_path: Path) -> None:
    zone(tmp_path / "small.png", slice(0, 5), side=20)
    text = toy_config.read_text()
    with_masks(toy_config, "{zones: {forbidden: small.png}}")
    with pytest.raises(DataError, match=r"small.png: expected 96 x 96 pixels .*, found 20 x 20"):
        plan_samples(start_run(load_config(toy_config)))
    toy_config.write_text(text)
    with_masks(toy_config, "{zones: {forbidden: nowhere.png}}")
    with pytest.raises(DataError, match=r"masks.zones.forbidden: expected a file, found none: .*nowhere.png"):
        prepare_run(load_config(toy_config))
    toy_config.write_text(text)
    with_masks(toy_config, "{samplers: {folder: 1}, folder: nowhere}")
    with pytest.raises(DataError, match=r"masks.folder: expected images in .*nowhere, found none"):
        prepare_run(load_config(toy_config))


def test_a_runs_key_depends_on_the_zones_pixels_and_not_on_their_place(toy_config: Path, tmp_path: Path) -> None:
    text = toy_config.read_text()

    def key(name: str, rows: slice) -> str:
        zone(tmp_path / name, rows)
        with_masks(toy_config, f"{{zones: {{allowed: {name}}}}}")
        found = prepare_run(load_config(toy_config)).record.key
        toy_config.write_text(text)
        return found

    assert key("one.png", slice(0, 40)) == key("other.png", slice(0, 40)) != key("one.png", slice(0, 41))


def test_held_out_masks_are_planned_as_they_lie_each_in_turn(toy_config: Path) -> None:
    with_masks(toy_config, "{source: held_out}")
    run = start_run(load_config(toy_config))
    plan_samples(run)
    held_out = [record for record in run.snapshot() if (record.role, record.defect) == ("held_out", "hole")]
    specs = read_plan(run, "hole")
    assert len(specs) > len(held_out) > 1
    for spec in specs:
        source = held_out[spec.index % len(held_out)]
        assert (spec.mask_sampler, spec.mask_like) == ("held_out", (Path(source.path).stem,))
        planned, own = (read_mask(run.folder / spec.planned_mask_path), run.config.category_folder / source.mask_path)
        np.testing.assert_array_equal(planned, read_mask(own))


def test_held_out_masks_need_held_out_images_and_neither_folder_nor_zones(toy_config: Path, tmp_path: Path) -> None:
    text = toy_config.read_text()
    toy_config.write_text(text.replace("count: 2", "count: 4"))
    with_masks(toy_config, "{source: held_out}")
    with pytest.raises(ConfigError, match=r"masks\.source: held_out needs held-out images of hole, found none"):
        check_config(load_config(toy_config))
    toy_config.write_text(text)
    zone(tmp_path / "upper.png", slice(0, 48))
    with_masks(toy_config, "{source: held_out, zones: {allowed: upper.png}}")
    with pytest.raises(ConfigError, match="folder and zones must not be there"):
        load_config(toy_config)


def test_a_sample_without_room_is_kept_with_the_reason_and_not_painted(finished_config: Path, tmp_path: Path) -> None:
    """The zones leave room on one of six normals only, and each sample is tried on five."""
    config = load_config(finished_config)
    normals = sorted((config.category_folder / "train" / "good").iterdir())
    for level, path in enumerate(normals[1:], 100):
        Image.fromarray(np.full((96, 96, 3), level, np.uint8)).save(path)  # nothing to be seen: no object
    run = run_all_steps(finished_config)
    specs = [spec for defect in ("hole", "scratch") for spec in read_plan(run, defect)]
    unplaced = [spec for spec in specs if spec.reason]
    assert 0 < len(unplaced) < len(specs)
    assert all("expected an object that covers" in spec.reason for spec in unplaced)
    assert shards_to_do(run) == []
    assert verify_dataset(run.dataset).rows > 0
    outcome = summary(run.dataset)
    assert sum(each.no_room for each in outcome.defects.values()) == len(unplaced)
    told = [line for line in format_summary(outcome) if "found no room, the first because: " in line]
    assert sum(int(line.split()[1]) for line in told) == len(unplaced)
    assert {spec.source_path for spec in specs if not spec.reason} == {"train/good/000.png"}


def test_zones_that_leave_no_room_at_all_end_the_run_with_the_reason(toy_config: Path, tmp_path: Path) -> None:
    zone(tmp_path / "nothing.png", slice(0, 95))
    with_masks(toy_config, "{zones: {forbidden: nothing.png}}")
    with pytest.raises(DataError, match=r"hole: no mask finds room, see masks .* the zones leave nothing"):
        plan_samples(start_run(load_config(toy_config)))


@pytest.mark.parametrize("out", ["folder.png", "masks.jpg"])
def test_a_sheet_that_cannot_be_written_is_told_before_it_is_drawn(toy_config: Path, out: str) -> None:
    (toy_config.parent / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=f"--out .*{out}: expected the name of a PNG file"):
        write_mask_sheet(load_config(toy_config), toy_config.parent / out, 4)


def test_a_sheet_where_no_file_can_be_made_is_told_before_it_is_drawn(toy_config: Path) -> None:
    for folder in (Path("/proc"), toy_config):
        path = folder / "new" / "m.png"
        with pytest.raises(ConfigError, match=f"--out {path}: {folder} is not a folder that can be written to"):
            write_mask_sheet(load_config(toy_config), path, 4)


def test_a_sheet_of_too_long_a_name_is_told_before_it_is_drawn(toy_config: Path) -> None:
    with pytest.raises(ConfigError, match="--out: expected a name of at most 200 bytes, found mmm"):
        write_mask_sheet(load_config(toy_config), toy_config.parent / f"{'m' * 200}.png", 4)


def test_the_sheet_shows_and_compares_without_a_model(
    toy_config: Path, tmp_path: Path, command_line: CommandLine
) -> None:
    toy_config.write_text(
        toy_config.read_text().replace("base: {model:", "base: {model: nowhere/model, revision: null} #")
    )
    sheet = tmp_path / "sheet.png"
    ended = command_line("masks", toy_config, "--out", sheet, "--count", 12)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == str(sheet)
    for name in ("hole, 12 masks", "scratch, 12 masks", "area_fraction", "elongation"):
        assert name in ended.out
    assert read_image(sheet).shape[1] == 8 * 164


def test_a_plan_made_in_blocks_is_the_plan_made_at_once(toy_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though few masks are remembered."""
    monkeypatch.setattr(defect_planner, "REMEMBERED", 1)
    toy_config.write_text(toy_config.read_text().replace("count: 5", "count: 20"))
    plans = []
    for block in (3, 7, 64):
        monkeypatch.setattr(planner, "BLOCK", block)
        run = start_run(load_config(toy_config))
        plan_samples(run)
        plans.append(read_plan(run, "hole"))
        assert read_plan(run, "hole", 5, 9) == plans[-1][5:9]
        shutil.rmtree(run.folder)
    assert plans[0] == plans[1] == plans[2]
    assert [spec.index for spec in plans[0]] == list(range(20))
