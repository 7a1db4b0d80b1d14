"""What is measured of a defect, and what the references allow."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gates import blobs
from defectfill.config.gates import GatesConfig
from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray
from defectfill.painting.gates import LEAST_EXCESS, REASONS, REMEDIES, SMOOTHER, SOFTER, Gate, upper_limit
from defectfill.painting.measures import MEASURED_SIDE_PX, Measures, appearance_correlation, measure_sample
from defectfill.painting.window import window_box
from defectfill.toy import DEFECTS, make_sample

SIDE = MEASURED_SIDE_PX
FRAME = (0, 0, SIDE, SIDE)
DISTANCE = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2))
DISC = DISTANCE < 20


def disc(level: float, ground: float = 0.5) -> ImageArray:
    """A flat disc on flat ground, 16 bit."""
    return np.rint(np.where(DISC, level, ground)[..., None] * 65535).astype(np.uint16)


def toys(defect: str, count: int, first: int = 0, category: str = "washer") -> list[Measures]:
    measured = []
    for index in range(first, first + count):
        toy = make_sample((3, index), category, defect)
        box = window_box(toy.defect_mask, WindowConfig(), SIDE / 8)
        measured.append(measure_sample(toy.image, toy.defect_mask, toy.defect_mask, box))
    return measured


def test_contrast_and_shade_are_how_far_a_defect_stands_out_of_the_brightness_around_it() -> None:
    measured = measure_sample(disc(0.8), DISC, DISC, FRAME)
    assert measured.contrast == pytest.approx(0.3 / 0.5, abs=1e-4)
    np.testing.assert_allclose(measured.shade, 0.3 / 0.5, atol=1e-4)
    assert measure_sample(disc(0.2), DISC, DISC, FRAME).shade.max() == pytest.approx(-0.3 / 0.5, abs=1e-4)
    assert measure_sample(disc(0.5), DISC, DISC, FRAME).contrast == pytest.approx(0, abs=1e-4)


def test_a_part_that_is_lit_less_has_the_same_measures() -> None:
    toy = make_sample((3, 1), "washer", "stain")
    image = toy.image.astype(np.uint16) * 256
    box = window_box(toy.defect_mask, WindowConfig(), SIDE / 8)
    bright, dim = (measure_sample(each, toy.defect_mask, toy.defect_mask, box) for each in (image, image // 2))
    assert bright.contrast == pytest.approx(dim.contrast, rel=1e-3)
    np.testing.assert_allclose(
        (*bright.shade, *bright.texture, *bright.edge_sharpness, bright.seam_gradient),
        (*dim.shade, *dim.texture, *dim.edge_sharpness, dim.seam_gradient),
        rtol=2e-3,
    )


def test_the_seam_gradient_is_large_where_the_picture_breaks_at_the_mask_that_was_asked_for() -> None:
    at_the_edge, inside = (measure_sample(disc(0.8), DISC, asked, FRAME) for asked in (DISC, DISTANCE < 40))
    assert at_the_edge.seam_gradient > 0.05
    assert inside.seam_gradient == pytest.approx(0, abs=1e-6)


def test_nothing_drawn_has_measures_too() -> None:
    empty = measure_sample(disc(0.5), np.zeros_like(DISC), DISC, FRAME)
    assert (empty.contrast, empty.seam_gradient) == (0, pytest.approx(0, abs=1e-6))
    assert (set(empty.texture), set(empty.edge_sharpness)) == ({0.0}, {0.0})
    assert appearance_correlation(empty.appearance, empty.appearance) == 0


@pytest.mark.parametrize("wavelength_px", [2, 12])
def test_texture_sees_structure_inside_the_defect_and_not_its_outline(wavelength_px: int) -> None:
    waves = 0.05 * np.sin(2 * np.pi * (np.indices(DISC.shape)[1] + 0.5) / wavelength_px)
    wavy = np.rint(np.where(DISC, 0.8 + waves, 0.5)[..., None] * 65535).astype(np.uint16)
    flat, rough = (measure_sample(image, DISC, DISC, FRAME) for image in (disc(0.8), wavy))
    assert max(flat.texture) < 1e-3
    assert max(rough.texture) > 0.02
    assert rough.texture[0] > rough.texture[2] if wavelength_px == 2 else rough.texture[2] > rough.texture[0]


def test_texture_and_edge_at_the_sources_resolution_are_those_of_the_window_where_it_has_that_size() -> None:
    toy = make_sample((3, 2), "washer", "hole")
    image, mask = (
        np.pad(each, [(0, 40), (0, 40)] + [(0, 0)] * (each.ndim - 2)) for each in (toy.image, toy.defect_mask)
    )
    top, left = (max(int(np.flatnonzero(mask.any(axis=axis)).mean()) - SIDE // 2, 0) for axis in (1, 0))
    measured = measure_sample(image, mask, mask, (left, top, left + SIDE, top + SIDE))
    np.testing.assert_allclose(measured.texture[:2], measured.texture[3:], rtol=1e-4)
    assert measured.edge_sharpness[0] == pytest.approx(measured.edge_sharpness[1], rel=1e-4)


def test_a_soft_edge_is_less_sharp_whatever_its_contrast() -> None:
    def edge(width: float, height: float) -> float:
        image = 0.5 + height * np.clip((20 - DISTANCE) / width + 0.5, 0, 1)[..., None]
        return measure_sample(np.rint(image * 65535).astype(np.uint16), DISC, DISC, FRAME).edge_sharpness[0]

    sharpness = [edge(width, 0.4) for width in (1, 4, 8)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > 1.5 * sharpness[2]
    assert edge(4, 0.1) == pytest.approx(sharpness[1], rel=1e-2)


def test_a_copy_is_more_alike_than_any_other_defect() -> None:
    first, *others = toys("stain", 8)
    noise = np.random.default_rng(0).normal(0, 0.01, first.appearance.shape).astype(np.float32)
    brighter_copy = first.appearance * np.float32(0.9) + np.float32(0.1) + noise
    assert appearance_correlation(first.appearance, brighter_copy) > 0.95
    assert max(appearance_correlation(first.appearance, other.appearance) for other in others) < 0.95


@pytest.mark.parametrize("defect", DEFECTS)
def test_no_reference_is_rejected_by_its_own_gate_but_as_a_copy(defect: str) -> None:
    references = toys(defect, 6)
    gate = Gate.calibrated(references, GatesConfig(), "diffusion")
    assert {gate.judge(each, 1.0, 0.0).reason for each in references} == {"near_copy"}
    assert all(gate.judge(each, 1.0, 0.0).appearance_distance == 0 for each in references)
    passed = [gate.judge(each, 1.0, 0.0).reason for each in toys(defect, 40, first=6)]
    assert passed.count(None) >= 0.75 * len(passed)


@pytest.mark.parametrize(("category", "defect"), [("washer", "scratch"), ("leather", "hole"), ("tile", "scratch")])
def test_smooth_blobs_are_refused_and_real_ones_pass(category: str, defect: str) -> None:
    """Toys as the references, and blobs made of toys that are none."""
    gate = Gate.calibrated(toys(defect, 6, category=category), GatesConfig(), "diffusion")
    verdicts = defaultdict(list)
    for index in range(6, 18):
        toy = make_sample((3, index), category, defect)
        box = window_box(toy.defect_mask, WindowConfig(), SIDE / 8)
        for version, image in [("real 0", toy.image), *blobs(toy.image, toy.defect_mask, seed=index)]:
            measured = measure_sample(image, toy.defect_mask, toy.defect_mask, box)
            verdicts[version.split()[0]].append(gate.judge(measured, 1.0, 0.0).reason)
    for kind in ("blurred", "smoothed"):
        assert verdicts[kind].count(None) <= 0.1 * len(verdicts[kind])
        assert "no_texture" in verdicts[kind]
    assert verdicts["real"].count(None) >= 0.75 * len(verdicts["real"])


def test_every_reason_has_its_case() -> None:
    references = toys("hole", 6)
    gate = Gate.calibrated(references, GatesConfig(), "diffusion")
    good = replace(references[0], appearance=toys("hole", 1, first=50)[0].appearance)
    assert gate.judge(good, 1.0, 0.1).against == ()
    least, largest = gate.contrast_range
    smooth = replace(good, texture=(*good.texture[:2], gate.min_texture[2] * 0.99, *good.texture[3:]))
    soft = replace(good, edge_sharpness=(good.edge_sharpness[0], gate.min_edge_sharpness[1] * 0.99))
    cases = {
        "mask_lost": gate.judge(good, 0.29, 0.1).reason,
        "off_mask": gate.judge(good, 1.0, 0.8).reason,
        "seam_visible": gate.judge(replace(good, seam_gradient=gate.max_seam_gradient * 1.01), 1.0, 0.1).reason,
        "near_copy": gate.judge(references[0], 1.0, 0.1).reason,
        "too_faint": gate.judge(replace(good, contrast=least * 0.99), 1.0, 0.1).reason,
        "no_texture": gate.judge(smooth, 1.0, 0.1).reason,
        "blurred_edge": gate.judge(soft, 1.0, 0.1).reason,
        "out_of_range": gate.judge(replace(good, contrast=largest * 1.01), 1.0, 0.1).reason,
    }
    assert list(cases) == list(cases.values()) == list(REASONS) == list(REMEDIES)
    assert gate.judge(replace(soft, contrast=least * 0.99), 0.0, 0.1).against == (
        "mask_lost",
        "too_faint",
        "blurred_edge",
    )


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0])
def test_lower_limits_lie_below_the_least_reference_by_a_factor_to_the_tolerance(tolerance: float) -> None:
    references = toys("stain", 3)
    gate = Gate.calibrated(references, GatesConfig(tolerance=tolerance), "diffusion")
    assert gate.contrast_range[0] == pytest.approx(min(each.contrast for each in references) / LEAST_EXCESS**tolerance)
    for band, limit in enumerate(gate.min_texture):
        assert limit == pytest.approx(min(each.texture[band] for each in references) / SMOOTHER**tolerance)
    for scale, limit in enumerate(gate.min_edge_sharpness):
        assert limit == pytest.approx(min(each.edge_sharpness[scale] for each in references) / SOFTER**tolerance)


@pytest.mark.parametrize(("values", "expected"), [([1.0, 2.0, 4.0], 8.0), ([2.0, 2.0], 3.0), ([4.0], 8.0)])
def test_an_upper_limit_exceeds_the_largest_as_that_exceeds_the_others(values: list[float], expected: float) -> None:
    assert upper_limit(values, 1.0) == pytest.approx(expected)
    assert upper_limit(values, 0.0) == pytest.approx(max(values))
