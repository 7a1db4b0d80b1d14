"""A shard from planned samples to kept and rejected ones, with painters that need no model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from defectfill.config.gates import GatesConfig
from defectfill.config.generate import GenerateConfig
from defectfill.config.window import WindowConfig
from defectfill.io.images import ImageArray
from defectfill.io.white_level import on_levels, unstretched
from defectfill.painting.gates import Gate
from defectfill.painting.label import changed_fraction, intersection_over_union
from defectfill.painting.measures import Measures
from defectfill.painting.painter import FlatPainter, Painter, Painting
from defectfill.painting.stitch import blend_alpha, blend_width, paste_changed, stitch
from defectfill.painting.window import Window, crop_window, window_box
from defectfill.records.plan import SampleSpec
from defectfill.synthesis.synthesize import Sample, synthesize

HEIGHT, WIDTH, COUNT = 40, 56, 5
RESOLUTION = 24


ANYTHING = Measures(0.2, np.zeros(3, np.float32), 0.01, (0.0,) * 5, (0.0, 0.0), np.full((32, 32), np.nan, np.float32))
OPEN = replace(
    Gate.calibrated([ANYTHING], GatesConfig(max_off_mask_fraction=1, max_reference_correlation=1), "diffusion"),
    contrast_range=(0.0, np.inf),
    max_seam_gradient=np.inf,
    max_appearance_distance=np.inf,
)
"""Lets everything through in which something is drawn."""


@dataclass(frozen=True)
class WindowPainter:
    """Paints nothing: every candidate is the window itself."""

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window in windows:
            yield Painting(window.image[None], np.zeros(1, np.float32), window.image)


@dataclass(frozen=True)
class PartPainter:
    """Paints the first `rows` rows of the window white, wherever the mask is."""

    rows: int

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        for window in windows:
            candidate = window.image.copy()
            candidate[: self.rows] = 1
            yield Painting(candidate[None], np.ones(1, np.float32), window.image)


@dataclass(frozen=True)
class LazyPainter:
    """Stops before the last window."""

    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        return FlatPainter().paint(islice(windows, len(seeds) - 1), seeds[:-1], prompts[:-1])


def planned_mask(index: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[5 + 4 * index : 15 + 4 * index, 8 * index : 8 * index + 12] = True
    return mask


def spec_for(index: int) -> SampleSpec:
    return SampleSpec(
        sample_id=f"hole-{index:06d}",
        defect="hole",
        index=index,
        seed=1000 + index,
        prompt="A nut with sks",
        source_path=f"train/good/{index:03d}.png",
        source_sha256="0" * 64,
        planned_mask_path=f"planned_masks/hole/{index}.png",
        window=window_box(planned_mask(index), WindowConfig(context=2, min_side_px=16, min_cells=0), RESOLUTION / 8),
        mask_sampler="reference",
        mask_like=("000",),
        latent_cells=3.0,
        mask_area_fraction=float(planned_mask(index).mean()),
    )


def source_for(index: int, dtype: type[np.unsignedinteger] = np.uint8, channels: int = 3) -> ImageArray:
    limit = np.iinfo(dtype).max
    return np.random.default_rng(index).integers(0, limit // 8, (HEIGHT, WIDTH, channels), dtype)


def samples(
    painter: Painter,
    indices: Sequence[int] = range(COUNT),
    gate: Gate = OPEN,
    dtype: type[np.unsignedinteger] = np.uint8,
    channels: int = 3,
    choice: Literal["lfs", "balanced"] = "lfs",
    margin_px: int = 0,
) -> list[Sample]:
    specs = [spec_for(index) for index in indices]
    scenes = [(source_for(index, dtype, channels), planned_mask(index)) for index in indices]
    settings = GenerateConfig(choice=choice)
    return list(synthesize(specs, scenes, painter, gate, settings, RESOLUTION, margin_px=margin_px))


def test_of_a_10_bit_camera_a_sample_is_measured_as_it_will_be_read_again() -> None:
    source, planned = on_levels(source_for(0, np.uint16), 1023), planned_mask(0)
    (sample,) = synthesize(
        [spec_for(0)], [(source, planned)], FlatPainter(), OPEN, GenerateConfig(), RESOLUTION, white_level=1023
    )
    np.testing.assert_array_equal(sample.image, on_levels(sample.image, 1023))
    source_file, image_file = unstretched(source, 1023), unstretched(sample.image, 1023)
    assert sample.changed_fraction == changed_fraction(source_file, image_file, sample.drawn_mask) > 0


def same(first: Sample, second: Sample) -> bool:
    """Whether two samples are equal to the last bit."""
    arrays = np.array_equal(first.image, second.image) and np.array_equal(first.drawn_mask, second.drawn_mask)
    return arrays and first.scores == second.scores and first.spec == second.spec and first.reason == second.reason


def test_samples_come_in_the_order_of_the_plan() -> None:
    order = [3, 0, 4, 1]
    assert [sample.spec for sample in samples(FlatPainter(), order)] == [spec_for(index) for index in order]


def test_no_samples_are_planned_and_none_come() -> None:
    assert samples(FlatPainter(), []) == []


def test_the_candidate_with_the_largest_score_is_kept() -> None:
    for sample in samples(FlatPainter(candidates=6)):
        assert len(sample.scores) == 6
        assert sample.scores[sample.chosen] == max(sample.scores)


def test_the_image_is_the_chosen_candidate_in_the_source() -> None:
    for index, sample in enumerate(samples(FlatPainter(candidates=6))):
        window = crop_window(source_for(index), planned_mask(index), sample.spec.window, RESOLUTION)
        (painting,) = FlatPainter(candidates=6).paint([window], [sample.spec.seed], [sample.spec.prompt])
        chosen = painting.candidates[np.argmax(painting.scores)]
        pasted = paste_changed(
            source_for(index),
            chosen,
            painting.reconstruction,
            sample.spec.window,
            planned_mask(index),
            min_change=GenerateConfig().min_change,
        )
        np.testing.assert_array_equal(sample.image, stitch(source_for(index), chosen, sample.spec.window, pasted))
        np.testing.assert_array_equal(sample.drawn_mask, pasted.mask(sample.image.shape))


@pytest.mark.parametrize("groups", [[[0], [1], [2], [3], [4]], [[4, 3, 2, 1, 0]], [[2, 0], [1, 4, 3]]])
def test_a_sample_does_not_depend_on_its_company(groups: list[list[int]]) -> None:
    together = samples(FlatPainter())
    for group in groups:
        for index, sample in zip(group, samples(FlatPainter(), group), strict=True):
            assert same(sample, together[index])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sample_has_its_sources_form_and_background(dtype: type[np.unsignedinteger], channels: int) -> None:
    for index, sample in enumerate(samples(FlatPainter(), dtype=dtype, channels=channels)):
        source, mask = source_for(index, dtype, channels), planned_mask(index)
        outside = blend_alpha(mask, blend_width(sample.spec.window)) == 0
        assert (sample.image.dtype, sample.image.shape) == (source.dtype, source.shape)
        np.testing.assert_array_equal(sample.image[outside], source[outside])
        np.testing.assert_array_equal(sample.image[~sample.drawn_mask], source[~sample.drawn_mask])
        np.testing.assert_array_equal(sample.image[..., 3:], source[..., 3:])
        assert (sample.image[mask] != source[mask]).any()
        assert sample.background_intact


def test_a_painted_sample_is_kept_with_its_mask_measured() -> None:
    for index, sample in enumerate(samples(FlatPainter(candidates=6))):
        planned = planned_mask(index)
        assert sample.reason is None
        assert sample.drawn_fraction == (sample.drawn_mask & planned).sum() / planned.sum()
        assert sample.drawn_fraction > 0.95
        assert sample.planned_iou == intersection_over_union(planned, sample.drawn_mask)


def test_a_painter_that_paints_nothing_has_all_its_samples_rejected() -> None:
    for index, sample in enumerate(samples(WindowPainter())):
        assert sample.reason == "mask_lost"
        assert sample.drawn_fraction == 0
        assert not sample.drawn_mask.any()
        assert sample.image.shape == source_for(index).shape


@pytest.mark.parametrize(("least", "reason"), [(0.4, None), (0.6, "mask_lost")])
def test_a_sample_is_rejected_where_too_little_of_its_mask_changed(least: float, reason: str | None) -> None:
    gate = replace(OPEN, settings=GatesConfig(min_drawn_fraction=least, max_off_mask_fraction=1))
    (sample,) = samples(PartPainter(RESOLUTION // 2), [1], gate)
    assert 0.4 < sample.drawn_fraction < 0.6
    assert sample.reason == reason


def test_where_one_sees_a_part_of_the_references_masks_alone_no_more_of_a_planned_one_need_be_drawn() -> None:
    gate = replace(OPEN, settings=GatesConfig(min_drawn_fraction=0.6, max_off_mask_fraction=1))
    gates = [replace(gate, visible_fraction=visible) for visible in (1.0, 0.65)]
    whole, part = (samples(PartPainter(RESOLUTION // 2), [1], gate)[0] for gate in gates)
    assert (whole.reason, part.reason) == ("mask_lost", None)


def test_a_sample_is_measured_with_a_mask_as_loose_as_the_references_but_labelled_tightly() -> None:
    tight, loose = (samples(PartPainter(RESOLUTION // 2), [1], margin_px=margin)[0] for margin in (0, 3))
    np.testing.assert_array_equal(tight.drawn_mask, loose.drawn_mask)
    assert tight.drawn_fraction == loose.drawn_fraction
    assert loose.measures.contrast < tight.measures.contrast


def test_the_balanced_choice_prefers_what_passes_and_what_looks_like_a_reference() -> None:
    painter = FlatPainter(candidates=8)
    grossest = samples(painter)
    middling = float(np.median([sample.measures.contrast for sample in grossest])) / 2
    like_references = replace(OPEN, references=(replace(ANYTHING, contrast=middling),))
    for first, balanced in zip(grossest, samples(painter, gate=like_references, choice="balanced"), strict=True):
        assert balanced.scores == first.scores
        assert balanced.measures.contrast < first.measures.contrast
        assert balanced.appearance_distance < like_references.judge(first.measures, 1.0, 0.0).appearance_distance
    narrow = replace(OPEN, contrast_range=(0.0, middling))
    assert {sample.reason for sample in samples(painter, gate=narrow, choice="balanced")} == {None}
    assert "out_of_range" in {sample.reason for sample in samples(painter, gate=narrow)}


def test_a_painter_that_stops_early_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        samples(LazyPainter())


def test_the_flat_painter_fills_the_mask_alone() -> None:
    window = crop_window(source_for(0), planned_mask(0), spec_for(0).window, RESOLUTION)
    (painting,) = FlatPainter(candidates=3).paint([window], [7], ["A nut with sks"])
    for candidate, score in zip(painting.candidates, painting.scores, strict=True):
        np.testing.assert_array_equal(candidate[~window.mask], window.image[~window.mask])
        assert len(np.unique(candidate[window.mask])) == 1
        assert score == pytest.approx(np.abs(candidate - window.image)[window.mask].mean())
