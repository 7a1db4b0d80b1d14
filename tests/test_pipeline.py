"""The steps together: what comes out, and that it is the same bytes anywhere."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import CommandLine, contents, paint, run_all_steps, write_toy_config
from PIL import Image

from defectfill.adapters.train import train_adapter
from defectfill.config.run import load_config
from defectfill.dataset.contact_sheet import LEAST_TILE_PX, write_contact_sheet
from defectfill.dataset.summary import DefectSummary, format_summary, summary
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.files import read_table
from defectfill.io.images import read_image, read_mask, write_png
from defectfill.operations.prepare import start_run
from defectfill.painting.gates import REMEDIES
from defectfill.painting.painter import FlatPainter
from defectfill.painting.tiles import GAP_PX, caption_line_px, title_px
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run
from defectfill.runs.shards import Outcome, sample_outcomes
from defectfill.synthesis.shards import inpaint_shard

pytestmark = pytest.mark.runs


def manifest(run: Run) -> list[dict[str, object]]:
    return read_table(run.dataset / "manifest.parquet")


def test_every_image_real_and_synthetic_has_its_row(finished: Run) -> None:
    counts = Counter((row["defect"], row["split"], row["origin"]) for row in manifest(finished))
    assert counts == {
        ("good", "train", "real"): 6,
        ("good", "test", "real"): 2,
        ("hole", "train", "real"): 2,
        ("hole", "test", "real"): 2,
        ("hole", "train", "synthetic"): 5,
        ("scratch", "train", "real"): 2,
        ("scratch", "test", "real"): 2,
        ("scratch", "train", "synthetic"): 5,
    }
    assert verify_dataset(finished.dataset).rows == 26


def test_a_synthetic_image_is_its_source_but_for_the_defect(finished: Run) -> None:
    for row in manifest(finished):
        if row["origin"] == "synthetic":
            source, image = (read_image(finished.dataset / str(row[key])) for key in ("source_path", "image_path"))
            drawn = read_mask(finished.dataset / str(row["mask_path"]))
            changed = (source != image).any(axis=2)
            assert source.shape == image.shape
            assert changed[drawn].mean() > 0.9
            assert not changed.all()


def test_synthetic_images_are_painted_on_train_normals_only(finished: Run) -> None:
    rows = {row["image_path"]: row for row in manifest(finished)}
    sources = [rows[row["source_path"]] for row in rows.values() if row["origin"] == "synthetic"]
    assert {(row["defect"], row["split"]) for row in sources} == {("good", "train")}


def test_the_chosen_candidate_has_the_largest_score(finished: Run) -> None:
    for row in manifest(finished):
        if row["origin"] == "synthetic":
            scores = row["candidate_scores"]
            assert isinstance(scores, list)
            assert len(scores) == 2
            assert row["score"] == max(scores) == scores[row["candidate_index"]]


def test_a_sampler_by_weight_draws_real_references_as_often_as_synthetic_ones(finished: Run) -> None:
    for defect in ("hole", "scratch"):
        rows = [row for row in manifest(finished) if row["defect"] == defect and row["split"] == "train"]
        weight = {
            origin: sum(row["sampling_weight"] for row in rows if row["origin"] == origin)  # type: ignore[misc]
            for origin in ("real", "synthetic")
        }
        assert weight["real"] == pytest.approx(weight["synthetic"])
    assert all((row["sampling_weight"] == 0) == (row["split"] == "test") for row in manifest(finished))


def test_the_same_config_in_another_folder_gives_the_same_bytes(
    finished: Run, tmp_path: Path, base_folder: Path, toy_data: Path
) -> None:
    again = run_all_steps(write_toy_config(tmp_path, base_folder, toy_data))
    assert again.folder.name == finished.folder.name
    assert contents(again.dataset) == contents(finished.dataset)


def test_held_out_images_are_not_read_after_ingest(finished: Run, toy_config: Path) -> None:
    run = start_run(load_config(toy_config))
    held_out = [record for record in run.snapshot() if record.role in ("held_out", "test_normal")]
    assert len(held_out) == 6
    for record in held_out:
        (run.config.category_folder / record.path).unlink()
        if record.mask_path:
            (run.config.category_folder / record.mask_path).unlink()
    train_adapter(run, "hole")
    train_adapter(run, "scratch")
    paint(run)
    assert contents(run.folder / "shards") == contents(finished.folder / "shards")


def test_images_turned_by_exif_are_written_upright(finished_config: Path) -> None:
    run = start_run(load_config(finished_config))
    folder = run.config.category_folder / "train" / "good"
    image = Image.open(folder / "000.png").crop((0, 0, 96, 80))
    exif = Image.Exif()
    exif[274] = 6  # shown turned by 90 degrees
    image.save(folder / "turned.jpg", exif=exif, quality=95)
    turned = run_all_steps(finished_config)
    row = next(row for row in manifest(turned) if row["width"] == 80)
    assert row["image_path"].endswith(".png")  # type: ignore[attr-defined]
    upright = read_image(turned.dataset / str(row["image_path"]))
    np.testing.assert_array_equal(upright, read_image(folder / "turned.jpg"))


def test_rejected_samples_are_kept_apart_with_their_reason(finished_config: Path) -> None:
    finished_config.write_text(finished_config.read_text().replace("count: 5", "count: 2, min_change: 0.999"))
    run = run_all_steps(finished_config)
    rejected = read_table(run.dataset / "rejected.parquet")
    assert [row["reason"] for row in rejected] == ["mask_lost"] * 8
    assert not any(row["image_path"] for row in rejected)
    assert not (run.dataset / "rejected").exists()
    assert all(row["origin"] == "real" for row in manifest(run))
    outcome = summary(run.dataset)
    expected = DefectSummary(planned=4, no_room=0, rejected={"mask_lost": 4}, kept=0, wanted=2)
    assert outcome.defects == {"hole": expected, "scratch": expected}
    title, hole, scratch, *why = format_summary(outcome)
    assert title.split() == ["planned", "no", "room", "mask_lost", "kept"]
    assert hole.split() == ["hole", "4", "0", "4", "0", "of", "2"]
    assert scratch.split()[1:] == hole.split()[1:]
    assert why[0].startswith(
        "hole: 2 fewer than wanted, since the plan ends at generate.max_attempts 2 times the count"
    )
    verify_dataset(run.dataset)
    finished_config.write_text(finished_config.read_text() + "dataset: {rejected_images: true}\n")
    with_images = run_all_steps(finished_config)
    assert with_images.folder == run.folder
    verify_dataset(run.dataset)
    for row in read_table(run.dataset / "rejected.parquet"):
        shard = next((run.folder / "shards").rglob(row["image_path"]))
        assert (run.dataset / row["image_path"]).read_bytes() == shard.read_bytes()


def test_a_hopeless_defect_is_given_up_with_the_gate_examples_and_what_helps(
    finished_config: Path, caplog: pytest.LogCaptureFixture, command_line: CommandLine
) -> None:
    text = finished_config.read_text().replace("[hole, scratch]", "[hole]")
    finished_config.write_text(text.replace("count: 5", "count: 51, min_change: 0.999"))
    run = start_run(load_config(finished_config))
    train_adapter(run, "hole")
    while shards := plan_samples(run):
        for shard in shards:
            inpaint_shard(run, shard, FlatPainter())
    write_dataset(run)
    assert "hole: fewer than 5 % of the first 50 samples passed the gates; no more are painted" in caplog.text
    assert sample_outcomes(run, "hole").tolist() == [Outcome.REJECTED] * 51
    outcome = summary(run.dataset)
    hole = outcome.defects["hole"]
    assert (hole.planned, hole.rejected, hole.kept, hole.wanted, hole.hopeless) == (50, {"mask_lost": 50}, 0, 51, True)
    assert outcome.notes == (
        "hole: given up after 50 samples, of which 0 passed the gates and 50 were rejected as mask_lost; what helps: "
        f"{REMEDIES['mask_lost']}",
        *(f"hole: mask_lost, for example {example}" for example in hole.examples),
    )
    assert [Path(example).name for example in hole.examples] == [
        f"{row['sample_id']}.png" for row in read_table(run.dataset / "rejected.parquet")[:3]
    ]
    assert all(Path(example).is_file() for example in hole.examples)
    sheet = read_image(write_contact_sheet(run, columns=3))
    row_px, captions_px = title_px(LEAST_TILE_PX) + LEAST_TILE_PX + GAP_PX, 4 * caption_line_px(LEAST_TILE_PX)
    assert len(sheet) == 5 * row_px + captions_px
    assert (sheet[4 * row_px + title_px(LEAST_TILE_PX) : -captions_px] < 250).mean() > 0.2
    verify_dataset(run.dataset)
    for strict, code in ((["--strict"], 1), ([], 0)):
        assert command_line("run", finished_config, *strict).code == code


def test_rejected_samples_are_replaced_until_enough_are_kept_whatever_was_asked_before(finished_config: Path) -> None:
    """A gate that half of what the untrained painter paints does not pass."""
    text = finished_config.read_text().replace("fraction: 1}", "fraction: 0.6}")
    finished_config.write_text(text.replace("count: 5", "count: 2, max_attempts: 10"))
    run_all_steps(finished_config)
    finished_config.write_text(text.replace("count: 5", "count: 4, max_attempts: 10"))
    grown = run_all_steps(finished_config)
    rejected = read_table(grown.dataset / "rejected.parquet")
    kept = [row for row in manifest(grown) if row["origin"] == "synthetic"]
    assert rejected
    assert [sum(row["defect"] == defect for row in kept) for defect in ("hole", "scratch")] == [4, 4]
    shutil.rmtree(grown.folder)
    assert contents(run_all_steps(finished_config).dataset) == contents(grown.dataset)


def test_vae_normals_are_the_same_windows_without_a_defect(finished_config: Path) -> None:
    finished_config.write_text(finished_config.read_text().replace("count: 5", "count: 5, vae_normals: 0.5"))
    run = run_all_steps(finished_config)
    rows = {row["sample_id"]: row for row in manifest(run)}
    normals = [row for row in rows.values() if (row["origin"], row["defect"]) == ("synthetic", "good")]
    assert 1 <= len(normals) <= 9
    for row in normals:
        painted = rows[row["sample_id"].removeprefix("vae-")]
        assert (row["label_index"], row["mask_path"], row["split"]) == (0, "", "train")
        assert (row["source_path"], row["window"]) == (painted["source_path"], painted["window"])
        source, passed = (read_image(run.dataset / str(row[name])) for name in ("source_path", "image_path"))
        assert (source != passed).any()
    assert verify_dataset(run.dataset).rows == len(rows)


def test_formats_sizes_and_bit_depths_come_out_as_they_went_in(finished_config: Path) -> None:
    good = finished_config.parent / "data" / "washer" / "train" / "good"
    pictures = [np.array(Image.open(path)) for path in sorted(good.iterdir())]
    for path in good.iterdir():
        path.unlink()
    grey = pictures[0].mean(axis=2)
    write_png(good / "deep_grey.png", (grey * 257 + 3).astype(np.uint16))
    write_png(good / "deep_colour.png", pictures[1].astype(np.uint16) * 251)
    Image.fromarray(np.dstack([pictures[2], np.full((96, 96), 200, np.uint8)])).save(good / "alpha.png")
    Image.fromarray(pictures[3][:, :77]).save(good / "narrow.BMP")
    Image.fromarray(grey.astype(np.uint8)[:91]).save(good / "grey.tif")
    run = run_all_steps(finished_config)
    rows = {row["image_path"]: row for row in manifest(run)}
    painted = [row for row in rows.values() if row["origin"] == "synthetic"]
    assert {row["source_path"] for row in painted} == {
        path for path, row in rows.items() if row["sampling_weight"] == 1.0
    }
    for row in painted:
        source, image = (read_image(run.dataset / str(row[key])) for key in ("source_path", "image_path"))
        assert (image.shape, image.dtype) == (source.shape, source.dtype)
    assert len({read_image(run.dataset / str(row["image_path"])).shape for row in painted}) == 5
    verify_dataset(run.dataset)
