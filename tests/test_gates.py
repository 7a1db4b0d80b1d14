"""What is measured of a defect, and what the references allow."""

from dataclasses import replace

import numpy as np
import pytest

from defectfill.config.gates import GatesConfig
from defectfill.config.window import WindowConfig
from defectfill.painting.gates import REASONS, Gate, upper_limit
from defectfill.painting.measures import MEASURED_SIDE_PX, Measures, appearance_correlation, measure
from defectfill.painting.window import Window, crop_window, window_box
from defectfill.toy import DEFECTS, make_sample

SIDE = MEASURED_SIDE_PX
DISC = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)) < 20


def window(level: float, ground: float = 0.5) -> Window:
    image = np.full((SIDE, SIDE, 3), ground, np.float32)
    image[DISC] = level
    return Window((0, 0, SIDE, SIDE), image, DISC)


def toys(defect: str, count: int, first: int = 0) -> list[Measures]:
    measured = []
    for index in range(first, first + count):
        toy = make_sample((3, index), "washer", defect)
        crop = crop_window(toy.image, toy.defect_mask, window_box(toy.defect_mask, WindowConfig(), SIDE / 8), SIDE)
        measured.append(measure(crop, crop.mask))
    return measured


def test_contrast_and_shade_are_how_far_a_defect_stands_out() -> None:
    measured = measure(window(0.8), DISC)
    assert measured.contrast == pytest.approx(0.3, abs=1e-5)
    np.testing.assert_allclose(measured.shade, 0.3, atol=1e-5)
    assert measure(window(0.2), DISC).shade.max() == pytest.approx(-0.3, abs=1e-5)
    assert measure(window(0.5), DISC).contrast == pytest.approx(0, abs=1e-5)


def test_the_seam_gradient_is_large_where_the_picture_breaks_at_the_mask_that_was_asked_for() -> None:
    wide = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)) < 40
    at_the_edge, inside = measure(window(0.8), DISC), measure(window(0.8), wide)
    assert at_the_edge.seam_gradient > 0.05
    assert inside.seam_gradient == pytest.approx(0, abs=1e-6)


def test_nothing_drawn_has_measures_too() -> None:
    empty = replace(window(0.5), mask=np.zeros_like(DISC))
    measured = measure(empty, DISC)
    assert (measured.contrast, measured.seam_gradient) == (0, pytest.approx(0, abs=1e-6))
    assert appearance_correlation(measured.appearance, measured.appearance) == 0


def test_a_copy_is_more_alike_than_any_other_defect() -> None:
    first, *others = toys("stain", 8)
    noise = np.random.default_rng(0).normal(0, 0.01, first.appearance.shape).astype(np.float32)
    brighter_copy = first.appearance * np.float32(0.9) + np.float32(0.1) + noise
    assert appearance_correlation(first.appearance, brighter_copy) > 0.95
    assert max(appearance_correlation(first.appearance, other.appearance) for other in others) < 0.95


@pytest.mark.parametrize("defect", DEFECTS)
def test_no_reference_is_rejected_by_its_own_gate_but_as_a_copy(defect: str) -> None:
    references = toys(defect, 6)
    gate = Gate.calibrated(references, GatesConfig())
    assert {gate.judge(each, 1.0, 0.0).reason for each in references} == {"near_copy"}
    assert all(gate.judge(each, 1.0, 0.0).appearance_distance == 0 for each in references)
    passed = [gate.judge(each, 1.0, 0.0).reason for each in toys(defect, 40, first=6)]
    assert passed.count(None) >= 0.75 * len(passed)


def test_every_reason_has_its_case() -> None:
    references = toys("hole", 6)
    gate = Gate.calibrated(references, GatesConfig())
    good = replace(references[0], appearance=toys("hole", 1, first=50)[0].appearance)
    assert gate.judge(good, 1.0, 0.1).reason is None
    least, largest = gate.contrast_range
    cases = {
        "mask_lost": gate.judge(good, 0.29, 0.1).reason,
        "off_mask": gate.judge(good, 1.0, 0.8).reason,
        "seam_visible": gate.judge(replace(good, seam_gradient=gate.max_seam_gradient * 1.01), 1.0, 0.1).reason,
        "near_copy": gate.judge(references[0], 1.0, 0.1).reason,
        "too_faint": gate.judge(replace(good, contrast=least * 0.99), 1.0, 0.1).reason,
        "out_of_range": gate.judge(replace(good, contrast=largest * 1.01), 1.0, 0.1).reason,
    }
    assert list(cases) == list(cases.values()) == list(REASONS)


@pytest.mark.parametrize(("values", "expected"), [([1.0, 2.0, 4.0], 8.0), ([2.0, 2.0], 2.2), ([4.0], 8.0)])
def test_an_upper_limit_exceeds_the_largest_as_that_exceeds_the_others(values: list[float], expected: float) -> None:
    assert upper_limit(values, 1.0) == pytest.approx(expected)
    assert upper_limit(values, 0.0) == pytest.approx(max(values))
