"""The painters that need no base: what they paint, and runs with them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import config_for, contents, paint
from numpy.typing import NDArray
from test_affects import changed, digests

from defectfill.cli_format import check_lines, status_lines
from defectfill.config.base import BaseConfig
from defectfill.config.gates import GatesConfig
from defectfill.config.run import load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.dataset.writer import write_dataset
from defectfill.io.errors import ConfigError
from defectfill.operations.check import check_config
from defectfill.operations.prepare import start_run
from defectfill.operations.status import status
from defectfill.painting.gates import Gate
from defectfill.painting.label import intersection_over_union
from defectfill.painting.measures import measure_sample
from defectfill.painting.painter import Painter
from defectfill.painting.paste import PastePainter, cut_out, ellipse_of, parts_of
from defectfill.painting.perlin import PerlinPainter
from defectfill.painting.window import Window, depth_in
from defectfill.runs.plan import planned_mask_sha256
from defectfill.runs.planner import plan_samples
from defectfill.runs.run import Run

SIDE = 96
GREY = 128


def wedge(left: int = 30, top: int = 40, length: int = 36, width: int = 12) -> NDArray[np.bool_]:
    """Return a mask [SIDE, SIDE] of no symmetry: a bar that is thicker on the left, with a spur."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top : top + width, left : left + length // 3] = True
    mask[top : top + width // 2, left : left + length] = True
    return mask


def reference(mask: NDArray[np.bool_], around: int = GREY, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture [SIDE, SIDE, 3] that is even but for noise in the mask."""
    noise = np.random.default_rng(seed).integers(10, 90, (SIDE, SIDE, 3), dtype=np.uint8)
    return np.where(mask[..., None], noise, np.uint8(around)).astype(np.uint8)


def window_of(mask: NDArray[np.bool_], level: int = GREY) -> Window:
    return Window((0, 0, SIDE, SIDE), np.full((SIDE, SIDE, 3), level / 255, dtype=np.float32), mask)


def painted(painter: Painter, window: Window, seed: int = 1) -> NDArray[np.float32]:
    (painting,) = painter.paint([window], [seed], [""])
    np.testing.assert_array_equal(painting.reconstruction, window.image)
    return painting.candidates


def test_into_a_mask_of_its_own_shape_a_defect_is_pasted_as_it_is() -> None:
    own, planned = wedge(), wedge(22, 51)
    picture = reference(own)
    (candidate,) = painted(PastePainter([cut_out(picture, own)]), window_of(planned))
    np.testing.assert_allclose(candidate[planned], picture[own] / np.float32(255), atol=2e-3)
    far = depth_in(~planned) > 3
    np.testing.assert_array_equal(candidate[far], window_of(planned).image[far])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("length", [20, 54])
def test_a_defect_is_turned_mirrored_and_scaled_into_the_planned_mask(turns: int, mirrored: bool, length: int) -> None:
    planned = np.rot90(wedge(20, 40, length, length // 3), turns)
    planned = np.ascontiguousarray(planned[:, ::-1] if mirrored else planned)
    own = wedge()
    (candidate,) = painted(PastePainter([cut_out(reference(own), own)]), window_of(planned))
    changed_here = np.abs(candidate - window_of(planned).image).max(axis=2) > 0.05
    assert intersection_over_union(np.asarray(changed_here & (depth_in(~planned) <= 0)), planned) > 0.8
    assert (changed_here & (depth_in(~planned) > 4)).sum() == 0


def test_brightness_is_matched_to_the_surroundings_within_limits() -> None:
    own = wedge()
    painter = PastePainter([cut_out(reference(own, around=GREY), own)])
    middle, dark, black = (painted(painter, window_of(own, level))[0][own].mean() for level in (128, 96, 5))
    assert dark / middle == pytest.approx(0.75, abs=0.01)
    assert black / middle == pytest.approx(0.5, abs=0.01)


def test_candidates_take_one_reference_after_the_other_those_of_the_planned_size_first() -> None:
    sizes = [(36, 12), (30, 10), (9, 3), (33, 12)]
    masks = [wedge(20, 40, *size) for size in sizes]
    levels = [0.1, 0.2, 0.3, 0.4]
    references = [
        cut_out(np.where(mask[..., None], round(level * 255), GREY).astype(np.uint8).repeat(3, axis=2), mask)
        for mask, level in zip(masks, levels, strict=True)
    ]
    planned, orders = wedge(), set()
    for seed in range(12):
        candidates = painted(PastePainter(references, candidates=5), window_of(planned), seed)
        taken = [int(np.abs(np.percentile(each[planned], 5) - levels).argmin()) for each in candidates]
        assert (sorted(taken[:3]), taken[3], taken[4]) == ([0, 1, 3], 2, taken[0])
        orders.add(tuple(taken))
    assert len(orders) > 3


def test_each_part_of_a_mask_gets_a_defect_of_its_own() -> None:
    own = wedge()
    planned = wedge(8, 10, 24, 9) | wedge(50, 70)
    (candidate,) = painted(PastePainter([cut_out(reference(own), own)]), window_of(planned))
    change = np.abs(candidate - GREY / 255).max(axis=2) > 0.05
    assert [(change & part).sum() / part.sum() > 0.8 for part in parts_of(planned)] == [True, True]


def test_parts_are_the_largest_first_and_specks_are_none() -> None:
    small, large = wedge(8, 10, 24, 9), wedge(50, 70)
    speck = np.zeros_like(small)
    speck[90, 5] = True
    found = list(parts_of(small | large | speck))
    assert [np.array_equal(*pair) for pair in zip(found, [large, small], strict=True)] == [True, True]


def test_of_a_loosely_drawn_mask_the_references_own_ground_is_faded_out() -> None:
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    visible, loose = np.hypot(rows, columns) < 8, np.hypot(rows, columns) < 16
    ground = np.random.default_rng(0).normal(GREY, 12, (SIDE, SIDE, 1)).repeat(3, axis=2)
    picture = np.where(visible[..., None], 20, ground).astype(np.uint8)
    (candidate,) = painted(PastePainter([cut_out(picture, loose)]), window_of(loose))
    change = np.abs(candidate - GREY / 255)
    rim, margin = loose & (depth_in(loose) <= 2), loose & (depth_in(loose) > 4) & ~visible
    assert change[rim].mean() < 0.6 * change[margin].mean()
    np.testing.assert_allclose(candidate[visible & (depth_in(visible) > 2)], 20 / 255, atol=0.02)


def test_the_ellipse_of_a_mask_agrees_with_its_covariance() -> None:
    mask = np.rot90(wedge()) | wedge(40, 60)
    points = np.stack(np.nonzero(mask)[::-1]).astype(float)
    found = ellipse_of(mask)
    rebuilt = found.axes.T @ np.diag(found.spread**2) @ found.axes
    np.testing.assert_allclose(rebuilt, np.cov(points, bias=True) + np.eye(2) / 12)
    np.testing.assert_allclose(found.centre, points.mean(axis=1))
    assert found.spread[0] >= found.spread[1]


def test_a_random_material_fills_the_mask_and_nothing_else() -> None:
    planned = wedge()
    window = window_of(planned)
    fills = [painted(PerlinPainter(), window, seed)[0] for seed in range(8)]
    for fill in fills:
        np.testing.assert_array_equal(fill[~planned], window.image[~planned])
        assert 0 <= fill.min() <= fill.max() <= 1
    spread = [float(fill[planned].std()) for fill in fills]
    assert min(spread) > 0
    assert len({fill.tobytes() for fill in fills}) == len(fills)


@pytest.mark.parametrize("name", ["paste", "perlin"])
def test_a_sample_depends_on_nothing_but_its_window_and_seed(name: str) -> None:
    own = wedge()
    painter: Painter = PerlinPainter() if name == "perlin" else PastePainter([cut_out(reference(own), own)] * 2, 2)
    windows = [window_of(wedge(20 + number, 30 + number, 30 + number)) for number in range(3)]
    together = list(painter.paint(iter(windows), [5, 6, 7], ["a"] * 3))
    for index in (2, 0, 1):
        np.testing.assert_array_equal(painted(painter, windows[index], 5 + index), together[index].candidates)


def test_a_copy_of_a_reference_is_refused_but_where_it_was_pasted_and_a_random_material_by_its_label_alone() -> None:
    mask = wedge()
    own = measure_sample(reference(mask), mask, mask, (0, 0, SIDE, SIDE))
    strange = measure_sample(reference(mask, around=20), mask, mask, (0, 0, SIDE, SIDE))
    gates = {name: Gate.calibrated([own], GatesConfig(), name) for name in ("diffusion", "paste", "perlin")}
    assert {name: gate.judge(own, 1, 0).reason for name, gate in gates.items()} == {
        "diffusion": "near_copy", "paste": None, "perlin": None
    }  # fmt: skip
    assert "out_of_range" in gates["paste"].judge(strange, 1, 0).against
    assert gates["perlin"].judge(strange, 1, 0).against == ()
    assert gates["perlin"].judge(strange, 0.1, 1).against == ("mask_lost", "off_mask")


PASTED: list[tuple[str, Any, set[str]]] = [
    ("object_name", "bolt", set()),
    ("base.resolution", 256, set()),
    ("train.steps", 5, set()),
    ("train.tokens", {"hole": "q"}, set()),
    ("generate.steps", 10, set()),
    ("generate.guidance_scale", 1.0, set()),
    ("generate.vae_normals", 0.5, set()),
    ("generate.painter", "perlin", {"run", "finished", "shard"}),
    ("generate.choice", "balanced", {"run", "finished", "shard"}),
    ("generate.min_change", 0.1, {"run", "finished", "shard"}),
    ("gates.tolerance", 2.0, {"run", "finished", "shard"}),
    ("window.context", 3.0, {"run", "finished", "shard"}),
    ("seed", 1, {"run", "finished"}),
    ("masks.novelty", 0.5, {"run", "finished"}),
    ("generate.count", 7, {"finished"}),
]


@pytest.mark.parametrize(("path", "value", "expected"), PASTED, ids=[path for path, *_ in PASTED])
def test_of_a_painter_without_a_base_neither_base_nor_training_counts(
    tmp_path: Path, path: str, value: Any, expected: set[str]
) -> None:
    config = changed(config_for(tmp_path), "generate.painter", "paste")
    before, after = digests(config), digests(changed(config, path, value))
    assert {name for name in before if before[name] != after[name]} - {"adapter"} == expected


WITHOUT_BASE = """
category: washer
object_name: washer
seed: 3
data: {{root: {root}/data, defects: [hole, scratch], references: {{count: 2}}}}
train: {{steps: 5, boxes: {{count: 3}}}}
generate: {{count: 4, painter: {painter}, shard_size: 2, steps: 20}}
gates: {{tolerance: 20, max_off_mask_fraction: 1, min_drawn_fraction: 0.05}}
output: {{root: {root}/out}}
"""

SET_IN_VAIN = "train.steps, train.boxes.count, generate.steps"

WHOLE_RUN = """
import sys
from pathlib import Path
from conftest import paint
from defectfill.config.run import load_config
from defectfill.dataset.writer import write_dataset
from defectfill.operations.check import check_config, start_checked

config = load_config(Path(sys.argv[1]))
assert check_config(config, measure=True).forecast.painting_seconds > 0
run = start_checked(config)
paint(run)
write_dataset(run)
assert not {"torch", "diffusers", "prefect"} & sys.modules.keys()
print(run.folder)
"""


def config_without_base(folder: Path, toy_data: Path, painter: str) -> Path:
    if not (folder / "data").exists():
        shutil.copytree(toy_data, folder / "data")
    path = folder / f"{painter}.yaml"
    path.write_text(WITHOUT_BASE.format(root=folder, painter=painter))
    return path


def run_in_a_process(config: Path) -> Run:
    """Make the dataset of a config in a fresh process, which checks that no torch was loaded."""
    command = [sys.executable, "-c", WHOLE_RUN, str(config)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Run.at(Path(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("painter", ["paste", "perlin"])
def test_a_run_without_a_base_makes_a_whole_dataset_and_loads_no_torch(
    tmp_path: Path, toy_data: Path, painter: str
) -> None:
    config_path = config_without_base(tmp_path, toy_data, painter)
    config = load_config(config_path)
    lines = list(check_lines(check_config(config)))
    assert "hole: 4 of 4 samples to paint" in lines
    assert f"painter {painter}: no base, no training, no GPU" in lines
    assert f"note: generate.painter: {painter} needs no base and no training; without effect: {SET_IN_VAIN}" in lines
    run = run_in_a_process(config_path)
    assert verify_dataset(run.dataset).rows > 8
    rows = pq.read_table(run.dataset / "manifest.parquet").to_pylist()
    made = [row for row in rows if row["origin"] == "synthetic"]
    assert len(made) == 8
    assert {(row["base_model"], row["adapter_sha256"], row["prompt"], row["steps"]) for row in made} == {
        ("", "", "", None)
    }
    card = (run.dataset / "README.md").read_text()
    assert f"Painted by `generate.painter: {painter}`, without a model" in card
    assert "LoRA" not in card
    assert "adapter" not in card
    assert status(config).state == "up to date"
    assert not (run.category_output / "adapters").exists()

    before = contents(run.folder / "shards")
    shutil.rmtree(run.folder / "shards" / "hole")
    paint(run)  # here, with torch loaded, to the same bytes
    assert contents(run.folder / "shards") == before


def test_the_plan_has_the_same_normals_and_masks_whoever_paints(tmp_path: Path, toy_data: Path) -> None:
    plans = []
    for painter in ("paste", "perlin"):
        run = start_run(load_config(config_without_base(tmp_path, toy_data, painter)))
        plan_samples(run)
        rows = pq.read_table(run.plan_path).to_pylist()
        plans.append([(row["sample_id"], row["seed"], row["source_sha256"], row["window"]) for row in rows])
        plans.append([planned_mask_sha256(run, row["planned_mask_path"]) for row in rows])
    assert plans[:2] == plans[2:]


def test_status_names_the_other_painter_and_nothing_that_only_one_of_them_minds(
    tmp_path: Path, toy_data: Path, base_folder: Path
) -> None:
    config = load_config(config_without_base(tmp_path, toy_data, "paste"))
    run = start_run(config)
    paint(run)
    write_dataset(run)
    painter = config.generate.model_copy(update={"painter": "diffusion", "candidates": 2})
    base = BaseConfig(model=str(base_folder), resolution=64, device="cpu")
    lines = list(status_lines(status(config.model_copy(update={"generate": painter, "base": base}))))
    assert lines[1:3] == ["  generate.painter was paste, is diffusion", "  generate.candidates was 8, is 2"]
    assert lines[3].startswith("hole: adapter to be trained")


def test_a_config_for_diffusion_must_name_its_base(tmp_path: Path, toy_data: Path) -> None:
    path = config_without_base(tmp_path, toy_data, "diffusion")
    with pytest.raises(ConfigError, match="base: this key is missing"):
        load_config(path)
