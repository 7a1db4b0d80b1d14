"""Detail beyond the model's square: what is pasted has as much of it as its surroundings."""

from pathlib import Path

import numpy as np
import pytest

from defectfill.config.run import load_config
from defectfill.operations.prepare import start_run
from defectfill.painting.detail import detail_beyond, detail_ratio
from defectfill.painting.stitch import Pasted, stitch
from defectfill.painting.window import Box
from defectfill.synthesis.detail import MOST_GAIN, detail_gain

SOURCE = np.random.default_rng(0).integers(90, 160, (120, 140, 3), np.uint8)
BOX: Box = (10, 4, 122, 116)
MASK = np.hypot(*(np.indices((120, 140)) - np.array([[[60]], [[64]]]))) < 20
WHOLE = Pasted((slice(20, 100), slice(20, 110)), MASK[20:100, 20:110].astype(np.float32))
FLAT = np.full((32, 32, 3), 0.3, np.float32)


def test_what_is_pasted_into_a_large_window_has_the_sources_detail() -> None:
    core = np.hypot(*(np.indices(MASK.shape) - np.array([[[60]], [[64]]]))) < 12  # beside the edge, which is sharp here
    results = [stitch(SOURCE, FLAT, BOX, WHOLE, gain).astype(np.float32)[4:116, 10:122] for gain in (0.0, 0.5, 1.0)]
    details = [detail_beyond(each, 112, 32)[core[4:116, 10:122]].std() for each in results]
    source = detail_beyond(SOURCE[4:116, 10:122].astype(np.float32), 112, 32)[core[4:116, 10:122]].std()
    assert np.array(details) / source == pytest.approx([0.0, 0.5, 1.0], abs=0.06)
    ratios = [detail_ratio(stitch(SOURCE, FLAT, BOX, WHOLE, gain), MASK, BOX, 32) for gain in (0.0, 1.0)]
    assert ratios[0] is not None
    assert ratios[1] is not None
    assert ratios[0] < 0.4 < 0.95 < ratios[1] < 1.1


def test_the_colour_of_what_is_pasted_stays_and_so_does_all_around_it() -> None:
    plain, detailed = (stitch(SOURCE, FLAT, BOX, WHOLE, gain) for gain in (0.0, 1.0))
    np.testing.assert_allclose(detailed[MASK].mean(axis=0), plain[MASK].mean(axis=0), atol=1)
    np.testing.assert_array_equal(detailed[~MASK], SOURCE[~MASK])


@pytest.mark.parametrize("channels", [1, 4])
def test_in_a_window_no_larger_than_the_models_square_nothing_is_added(channels: int) -> None:
    source = np.repeat(SOURCE[..., :1], channels, axis=2)
    painting = np.full((112, 112, 3), 0.3, np.float32)
    results = [stitch(source, painting, BOX, WHOLE, gain) for gain in (0.0, 1.0)]
    np.testing.assert_array_equal(*results)
    assert detail_ratio(source, MASK, BOX, 112) is None
    coarse = np.full((56, 56, 3), 0.3, np.float32)
    assert (stitch(source, coarse, BOX, WHOLE, 1.0) != stitch(source, coarse, BOX, WHOLE, 0.0)).any()


def test_a_smooth_picture_has_no_detail_and_bits_stay_in_range() -> None:
    smooth = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (1, 64, 3))
    assert np.abs(detail_beyond(smooth, 64, 32)[8:-8]).max() < 0.01
    white = stitch(SOURCE, np.ones((32, 32, 3), np.float32), BOX, WHOLE, 1.0)
    assert white[MASK].min() > 150


@pytest.mark.parametrize(
    ("detail", "least", "largest"), [("none", 0, 0), ("source", 1, 1), ("reference", 0.1, MOST_GAIN)]
)
def test_the_gain_follows_the_config(toy_config: Path, detail: str, least: float, largest: float) -> None:
    toy_config.write_text(
        toy_config.read_text()
        .replace("generate: {", f"generate: {{detail: {detail}, ")
        .replace("resolution: 64", "resolution: 32")
    )
    run = start_run(load_config(toy_config))
    assert least <= detail_gain(run.folder, "hole") <= largest
