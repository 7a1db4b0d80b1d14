"""A sampled mask has about the references' area, lies on the object and depends on the seed alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mask_sampling import DoesNotFit, Mask
from mask_sampling.sampling import SAMPLERS, SampledMask, sample_mask
from mask_sampling.shapes import ShapeSettings


def rectangle(height: int, width: int, frame: tuple[int, int] = (80, 80)) -> Mask:
    mask = np.zeros(frame, dtype=np.bool_)
    mask[5 : 5 + height, 5 : 5 + width] = True
    return mask


REFERENCES = [rectangle(6, 30), rectangle(10, 10)]
FOREGROUND = rectangle(60, 70)


def sample(
    seed: int, foreground: Mask = FOREGROUND, settings: ShapeSettings | None = None, tolerance: float = 2
) -> SampledMask:
    rng = np.random.default_rng(seed)
    return sample_mask(REFERENCES, foreground, {"reference": 1.0}, settings or ShapeSettings(), tolerance, rng)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.1, 3))
def test_a_sampled_mask_lies_on_the_object_and_has_an_area_like_the_references(seed: int, tolerance: float) -> None:
    sampled = sample(seed, tolerance=tolerance)
    assert sampled.sampler in SAMPLERS
    assert not (sampled.mask & ~FOREGROUND).any()
    assert 100 / tolerance <= sampled.mask.sum() <= 180 * tolerance


def test_the_same_seed_gives_the_same_mask() -> None:
    assert_array_equal(sample(7).mask, sample(7).mask)


def test_narrow_objects_get_the_shapes_that_fit() -> None:
    strip = rectangle(11, 60)
    assert all(not (sample(seed, strip).mask & ~strip).any() for seed in range(20))


def test_samplers_are_drawn_by_weight_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "block", lambda references, settings, rng: np.ones((10, 12), dtype=np.bool_))

    def names(weights: dict[str, float]) -> list[str]:
        rng = np.random.default_rng(0)
        return [sample_mask(REFERENCES, FOREGROUND, weights, ShapeSettings(), 2, rng).sampler for _ in range(200)]

    drawn = names({"reference": 1, "block": 3})
    assert 120 < drawn.count("block") < 180
    assert names({"block": 3, "reference": 1}) == drawn


def test_shapes_of_the_wrong_area_are_counted_in_the_message() -> None:
    with pytest.raises(DoesNotFit, match="50 had an area outside 50 to 360 px, 0 found no room"):
        sample(0, settings=ShapeSettings(scale=(3, 3)))


def test_shapes_without_room_are_counted_in_the_message() -> None:
    with pytest.raises(DoesNotFit, match="0 had an area outside 50 to 360 px, 50 found no room"):
        sample(0, foreground=rectangle(3, 70))


def test_no_references_are_refused() -> None:
    with pytest.raises(ValueError, match="no references"):
        sample_mask([], FOREGROUND, {"reference": 1.0}, ShapeSettings(), 2, np.random.default_rng(0))


def test_importing_the_samplers_imports_neither_scipy_nor_skimage() -> None:
    code = "import sys, mask_sampling.sampling; print([name for name in ('scipy', 'skimage') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
