"""Attributes of masks, and the distances between those of references and samples."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mask_sampling import Mask
from mask_sampling.priors import Attributes, area_fraction_at, axial_spread, compare, departure, measure


def bar(angle_degrees: float, length: float = 60, width: float = 10) -> Mask:
    y, x = np.mgrid[:100, :100] - 50.0
    angle = math.radians(angle_degrees)
    along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    inside: Mask = (abs(along) < length / 2) & (abs(across) < width / 2)
    return inside


@pytest.mark.parametrize("angle", [0, 30, 75, 120, 170])
@pytest.mark.parametrize("axis", [0, 40])
def test_a_bar_is_measured(angle: float, axis: float) -> None:
    found = measure(bar(angle), object_px=5000, axis=math.radians(axis))
    assert found.area_fraction == pytest.approx(600 / 5000, rel=0.12)
    assert found.elongation == pytest.approx(6, rel=0.1)
    assert found.width_px == pytest.approx(10, abs=2)
    assert found.width == pytest.approx(found.width_px / 5000**0.5)
    assert abs((found.direction_degrees - (angle - axis) + 90) % 180 - 90) < 1
    assert found.pieces == 1


def test_pieces_that_touch_at_a_corner_are_one_and_a_disc_has_no_direction() -> None:
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[2:5, 2:5] = mask[5:8, 5:8] = mask[15, 15] = True
    assert measure(mask, 400).pieces == 2
    y, x = np.mgrid[:50, :50]
    assert math.isnan(measure(np.hypot(y - 25, x - 25) < 10, 2500).direction_degrees)


def test_one_pixel_is_a_mask_and_none_is_not() -> None:
    mask = np.zeros((9, 9), dtype=np.bool_)
    with pytest.raises(ValueError, match="empty"):
        measure(mask, 81)
    mask[4, 4] = True
    assert measure(mask, 81) == pytest.approx(Attributes(1 / 81, 1.0, 1 / 9, 1.0, math.nan, 1), nan_ok=True)


def test_quantiles_of_the_area_run_through_the_references_and_a_little_beyond() -> None:
    fractions = [0.04, 0.01, 0.02]
    assert [area_fraction_at((number + 0.5) / 3, fractions) for number in range(3)] == pytest.approx([0.01, 0.02, 0.04])
    assert 0.008 < area_fraction_at(0, fractions) < 0.01
    assert 0.04 < area_fraction_at(0.999, fractions) < 0.05
    assert area_fraction_at(0.2, [0.01]) < 0.01 < area_fraction_at(0.8, [0.01])


def test_a_sample_unlike_all_references_is_told_by_what_differs() -> None:
    references = [Attributes(0.01, 2.0, 0.05, 5.0, 0.0, 1), Attributes(0.02, 3.0, 0.08, 8.0, 10.0, 2)]
    assert departure(Attributes(0.015, 2.5, 0.06, 6.0, 90.0, 3), references, 1.5) is None
    for sample, name in [
        (Attributes(0.2, 2.5, 0.06, 6.0, 0.0, 1), "area_fraction"),
        (Attributes(0.015, 9.0, 0.06, 6.0, 0.0, 1), "elongation"),
        (Attributes(0.015, 2.5, 0.01, 6.0, 0.0, 1), "width"),
        (Attributes(0.015, 2.5, 0.3, 6.0, 0.0, 1), "width"),
        (Attributes(0.015, 2.5, 0.06, 6.0, 0.0, 4), "pieces"),
    ]:
        assert name in str(departure(sample, references, 1.5))


@pytest.mark.parametrize("scale", [1 / 4, 4])
def test_the_same_mask_in_a_smaller_or_a_larger_picture_is_alike(scale: float) -> None:
    references = [measure(bar(30, 60, 12), 5000)]
    y, x = np.mgrid[: int(100 * scale), : int(100 * scale)]
    scaled = bar(30, 60, 12)[(y / scale).astype(int), (x / scale).astype(int)]
    assert departure(measure(scaled, 5000 * scale**2), references, 1.5) is None


def test_a_line_of_one_pixel_is_as_thin_as_can_be() -> None:
    hair = Attributes(0.001, 6.0, 1 / 1000, 1.0, 0.0, 1)
    assert departure(replace(hair, width=1 / 100), [hair], 1.5) is None
    assert departure(replace(hair, width=1 / 100, width_px=5), [hair], 1.5) == "width"


def test_the_same_masks_are_at_no_distance_and_others_are() -> None:
    one = [measure(bar(angle), 5000) for angle in (170, 175, 0, 5)]
    other = [measure(bar(angle, 40, 20), 5000) for angle in (80, 85, 90, 95)]
    assert all(row.ks == 0 and row.wasserstein == 0 for row in compare(one, one))
    rows = {row.attribute: row for row in compare(one, other)}
    assert rows["elongation"].ks == rows["area_fraction"].ks == 1
    assert rows["direction_degrees"].wasserstein == pytest.approx(90, abs=15)
    assert rows["pieces"].ks == 0


def test_directions_that_are_the_same_line_do_not_spread() -> None:
    assert axial_spread([179, 1, 0, 180]) < 2
    assert axial_spread([0, 90]) == 90
    assert 5 < axial_spread([10, 20, 30]) < 12
