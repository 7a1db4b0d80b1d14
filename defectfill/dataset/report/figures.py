"""The figures of a defect: what its samples are like, beside its references."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from defectfill.dataset.report.limits import limits_of
from defectfill.dataset.report.plots import histogram
from defectfill.dataset.report.references import DefectReferences, MeasuredReference
from defectfill.painting.measures import SOURCE_BANDS_PX
from defectfill.records.manifest import ManifestRow


@dataclass(frozen=True)
class Figure:
    """A plot, its title and what it says in words."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class _Subject:
    """What a histogram shows: the figure of a row and of a reference, and where the gate refuses."""

    title: str
    of_row: Callable[[ManifestRow], float | None]
    of_reference: Callable[[MeasuredReference], float] | None = None
    limits: tuple[float, ...] = ()
    logarithmic: bool = False


def figures_of(rows: Sequence[ManifestRow], references: DefectReferences) -> Iterator[Figure]:
    """Yield the histograms of the painted samples of a defect; none where none was painted."""
    for subject in _subjects(references) if rows else ():
        kept, rejected = (
            [value for row in rows if bool(row.reason) == refused and (value := subject.of_row(row)) is not None]
            for refused in (False, True)
        )
        of_reference = subject.of_reference
        real = [of_reference(each) for each in references.references] if of_reference else []
        svg = histogram(kept, rejected, real, subject.limits, logarithmic=subject.logarithmic)
        yield Figure(subject.title, svg, _in_words(kept, rejected, real))
    chosen = [row.score for row in rows if row.score is not None]
    if others := list(_scores_not_chosen(rows)):
        svg = histogram(chosen, others, logarithmic=min([*chosen, *others]) > 0)
        medians = f"chosen: median {_median(chosen):.3g}, others: median {_median(others):.3g}"
        yield Figure("selection scores: chosen, others hatched", svg, medians)


def _scores_not_chosen(rows: Sequence[ManifestRow]) -> Iterator[float]:
    for row in rows:
        scores = enumerate(row.candidate_scores)
        yield from (score for number, score in scores if number != row.candidate_index and not math.isnan(score))


def _subjects(references: DefectReferences) -> Iterator[_Subject]:
    limits = {
        (each.key, each.position): tuple(limit for limit in (each.low, each.high) if limit is not None)
        for each in limits_of(references.gate)
    }
    yield _Subject(
        "area of the mask, share of the image",
        lambda row: row.mask_area_fraction,
        lambda each: each.area_fraction,
        logarithmic=True,
    )
    yield _Subject(
        "contrast",
        lambda row: row.contrast,
        lambda each: each.measures.contrast,
        limits.get(("contrast", None), ()),
        logarithmic=True,
    )
    yield _Subject(
        f"texture below {SOURCE_BANDS_PX[0]:g} px",
        lambda row: row.texture[0] if row.texture else None,
        lambda each: each.measures.texture[0],
        limits.get(("texture", 0), ()),
        logarithmic=True,
    )
    yield _Subject(
        "edge sharpness",
        lambda row: row.edge_sharpness[0] if row.edge_sharpness else None,
        lambda each: each.measures.edge_sharpness[0],
        limits.get(("edge", 0), ()),
    )
    yield _Subject(
        "distance to the nearest reference",
        lambda row: row.appearance_distance,
        limits=limits.get(("distance", None), ()),
    )
    yield _Subject("label against planned mask, IoU", lambda row: row.planned_iou)


def _in_words(kept: Sequence[float], rejected: Sequence[float], real: Sequence[float]) -> str:
    """Return the medians, for those who do not see the plot."""
    groups = {"kept": kept, "rejected": rejected, "references": real}
    return ", ".join(f"{name}: median {_median(values):.3g}" for name, values in groups.items() if values)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
