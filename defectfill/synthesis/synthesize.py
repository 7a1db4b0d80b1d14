"""From planned samples to kept or rejected ones, in one straight line. Read this first."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectfill.config.generate import GenerateConfig
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray
from defectfill.io.prefetch import prefetch
from defectfill.io.white_level import on_levels
from defectfill.painting.gates import Gate, Reason
from defectfill.painting.label import changed_fraction, covered_fraction, grown, intersection_over_union
from defectfill.painting.measures import Measures, measure_sample
from defectfill.painting.painter import Painter, Painting
from defectfill.painting.selection import select_low_fidelity
from defectfill.painting.stitch import paste_changed, stitch, unchanged_outside
from defectfill.painting.window import Window, crop_window, inside_frame
from defectfill.records.plan import SampleSpec

PREFETCHED = 4
"""Sources that are read, and samples that are painted, before they are needed."""


@dataclass(frozen=True)
class Sample:
    """One row of the plan with one of its candidates, and the verdict."""

    spec: SampleSpec
    image: ImageArray
    """[H, W, C], the source's size, bit depth and channels."""
    drawn_mask: NDArray[np.bool_]
    """[H, W], where the candidate was pasted."""
    changed_fraction: float
    """Share of the drawn mask that differs from the source."""
    planned_iou: float
    drawn_fraction: float
    off_mask_fraction: float
    background_intact: bool
    scores: tuple[float, ...]
    early_scores: tuple[float, ...]
    chosen: int
    measures: Measures
    reference_correlation: float
    """To the reference that is most alike."""
    appearance_distance: float
    """In contrast and shade to the nearest reference, over the references' median contrast."""
    reason: Reason | None
    """None: kept."""
    vae_normal: ImageArray | None
    """[H, W, C]: the source after the same window, VAE and stitch, without a defect; for a share of the samples."""


def synthesize(
    specs: Sequence[SampleSpec],
    scenes: Iterable[tuple[ImageArray, NDArray[np.bool_]]],
    painter: Painter,
    gate: Gate,
    settings: GenerateConfig,
    resolution: int,
    detail_gain: float = 0.0,
    margin_px: int = 0,
    white_level: int = 0,
) -> Iterator[Sample]:
    """Yield the samples of one shard, kept or rejected, in plan order.

    scenes: the source [H, W, C] (8 or 16 bit) and the planned mask [H, W] of each spec. The next ones are read and
    painted while a sample is finished. detail_gain: see stitch. margin_px: by which the references' masks
    reach beyond what one sees; a sample is judged with a mask as loose as theirs, but for its edge. white_level: by
    which sources of 16 bits were stretched. resolution: the base's; see GenerateConfig.painted_side.
    """
    paintings = _paint(specs, prefetch(iter(scenes), PREFETCHED), painter, settings, resolution)
    for spec, (source, planned_mask, painting) in zip(specs, prefetch(paintings, PREFETCHED), strict=True):
        numbers = [select_low_fidelity(painting.scores)] if settings.choice == "lfs" else painting.numbers
        samples = [
            finish(spec, source, planned_mask, painting, number, gate, settings, detail_gain, margin_px, white_level)
            for number in numbers
        ]
        yield max(samples, key=lambda sample: (sample.reason is None, sample.planned_iou - sample.appearance_distance))


def _paint(
    specs: Sequence[SampleSpec],
    scenes: Iterator[tuple[ImageArray, NDArray[np.bool_]]],
    painter: Painter,
    settings: GenerateConfig,
    resolution: int,
) -> Iterator[tuple[ImageArray, NDArray[np.bool_], Painting]]:
    """Yield every scene with its painting."""
    taken: deque[tuple[ImageArray, NDArray[np.bool_]]] = deque()

    def windows() -> Iterator[Window]:
        for spec, scene in zip(specs, scenes, strict=True):
            taken.append(scene)
            yield crop_window(*scene, spec.window, settings.painted_side(spec.window[2] - spec.window[0], resolution))

    for painting in painter.paint(windows(), [spec.seed for spec in specs], [spec.prompt for spec in specs]):
        yield *taken.popleft(), painting


def finish(
    spec: SampleSpec,
    source: ImageArray,
    planned_mask: NDArray[np.bool_],
    painting: Painting,
    number: int,
    gate: Gate,
    settings: GenerateConfig,
    detail_gain: float,
    margin_px: int,
    white_level: int,
) -> Sample:
    """Return the sample that candidate `number` makes: put into its source, labelled, measured and judged."""
    candidate = painting.candidate(number)
    pasted = paste_changed(
        source, candidate, painting.reconstruction, spec.window, planned_mask, min_change=settings.min_change
    )
    image = stitch(source, candidate, spec.window, pasted, detail_gain)
    image[pasted.region] = on_levels(image[pasted.region], white_level)  # the source itself is
    intact = unchanged_outside(source, image, pasted.region, pasted.weight > 0)
    assert intact, f"{spec.sample_id}: pixels that nothing was pasted on were changed"
    drawn_mask = pasted.mask(source.shape)
    here = inside_frame(spec.window, source.shape)  # holds both masks
    planned, drawn = planned_mask[here], drawn_mask[here]
    drawn_fraction = covered_fraction(planned, drawn)
    off_mask_fraction = _area(drawn & ~planned) / max(_area(drawn), 1)
    loose_mask = grown(drawn_mask, margin_px)
    measures = measure_sample(image, loose_mask, planned_mask, spec.window, visible=drawn_mask)
    verdict = gate.judge(measures, drawn_fraction, off_mask_fraction)
    return Sample(
        spec=spec,
        image=image,
        drawn_mask=drawn_mask,
        changed_fraction=changed_fraction(source[here], image[here], drawn),
        planned_iou=intersection_over_union(planned, drawn),
        drawn_fraction=drawn_fraction,
        off_mask_fraction=off_mask_fraction,
        background_intact=intact,
        scores=tuple(float(score) for score in painting.scores),
        early_scores=painting.early_scores,
        chosen=number,
        measures=measures,
        reference_correlation=verdict.reference_correlation,
        appearance_distance=verdict.appearance_distance,
        reason=verdict.reason,
        vae_normal=(
            stitch(source, painting.reconstruction, spec.window, pasted, detail_gain)
            if settings.uses_base
            and np.random.default_rng(derive_seed(spec.seed, "codec normal")).random() < settings.vae_normals
            else None
        ),
    )


def _area(mask: NDArray[np.bool_]) -> int:
    """Return how many pixels a mask [h, w] has."""
    return int(np.count_nonzero(mask))
