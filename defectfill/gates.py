"""Which sample is kept: its picture is measured as the references are, and must lie in the range that they span.

Everything is measured in the window, brought to MEASURED_SIDE_PX pixels, and in shares of the value range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from defectfill.config import GatesConfig
from defectfill.images import ImageArray, read_image, read_mask
from defectfill.run import Run, references_of
from defectfill.window import LUMA, Box, Window, crop_mask, crop_window, window_box

Reason = Literal["mask_lost", "off_mask", "seam_visible", "near_copy", "too_faint", "out_of_range"]
"""Why a sample is rejected: a closed list, in the order in which it is asked."""

REASONS: tuple[str, ...] = get_args(Reason)

MEASURED_SIDE_PX = 128
SURROUNDINGS_PX = 8
"""How far around a defect its surroundings reach."""
LIKENESS_SIDE_PX = 32
LEAST_EXCESS = 1.1
"""The range of the references is widened by this factor at least: a reference's measures change by a new pose."""
LONE_EXCESS = 2.0
"""And upwards by this one where there is a single reference."""
LEAST_STRANGENESS = 0.5
"""Looks may be this far from every reference's, however close these are to each other."""


@dataclass(frozen=True)
class Measures:
    """What is measured of a defect in its window, of references and of samples alike."""

    contrast: float
    """Root mean square difference of the defect's pixels from the mean colour of its surroundings."""
    shade: NDArray[np.float32]
    """[3], the defect's mean colour less that of its surroundings."""
    rim_step: float
    """Median, along the outline of the mask in which the defect was asked for, of the largest gradient of the luma per
    pixel within a pixel of it."""
    appearance: NDArray[np.float32]
    """[LIKENESS_SIDE_PX, LIKENESS_SIDE_PX] luma of the box around the defect, nan beside it."""


def measure_sample(
    image: ImageArray, drawn_mask: NDArray[np.bool_], planned_mask: NDArray[np.bool_], box: Box
) -> Measures:
    """The measures of a sample's image [H, W, C] in its window, with its masks [H, W]."""
    window = crop_window(image, drawn_mask, box, MEASURED_SIDE_PX)
    return measure(window, crop_mask(planned_mask, box, MEASURED_SIDE_PX))


def measure(window: Window, asked: NDArray[np.bool_]) -> Measures:
    """The measures of a defect, window.mask, in a picture that was asked to have it in the mask `asked` [R, R]."""
    import cv2

    mask, luma = window.mask, window.image @ LUMA
    around = _grown(mask, SURROUNDINGS_PX) & ~_grown(mask, 1)
    surroundings = window.image[around if around.any() else ~mask]
    colour = surroundings.mean(axis=0) if len(surroundings) else np.full(3, 0.5, dtype=np.float32)
    outline = _grown(asked, 1) & ~asked
    steps = cv2.dilate(np.hypot(*np.gradient(luma)), np.ones((3, 3), np.uint8))[outline]
    apart = window.image[mask] - colour if mask.any() else np.zeros((1, 3), dtype=np.float32)
    return Measures(
        contrast=float(np.sqrt(np.square(apart).mean())),
        shade=apart.mean(axis=0),
        rim_step=float(np.median(steps)) if len(steps) else 0.0,
        appearance=_appearance(luma, mask),
    )


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """A mask with all pixels within so many steps to one of the four neighbours."""
    import cv2

    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), cross, iterations=steps) > 0)


def _appearance(luma: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.full((LIKENESS_SIDE_PX, LIKENESS_SIDE_PX), np.nan, dtype=np.float32)
    spread = [
        np.linspace(span[0], span[-1], LIKENESS_SIDE_PX).round().astype(int)[:, None].swapaxes(0, axis)
        for axis, span in enumerate((rows, columns))
    ]
    return np.where(mask[spread[0], spread[1]], luma[spread[0], spread[1]], np.float32(np.nan))


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of two appearances where both have a defect, in [-1, 1]; 0 where there is nothing to compare."""
    both = ~np.isnan(one) & ~np.isnan(other)
    if both.sum() < 0.5 * max((~np.isnan(one)).sum(), (~np.isnan(other)).sum(), 1):
        return 0.0
    first, second = one[both] - one[both].mean(), other[both] - other[both].mean()
    norm = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class Gate:
    """What the references of one defect allow."""

    settings: GatesConfig
    contrast: tuple[float, float]
    """Least, that of the faintest reference, and largest."""
    rim_step: float
    """Largest."""
    likeness: float
    """Largest to any reference."""
    strangeness: float
    """Largest distance of looks to the nearest reference."""
    references: tuple[Measures, ...]

    @classmethod
    def calibrated(cls, references: Sequence[Measures], settings: GatesConfig) -> "Gate":
        """The gate of measured references, at least one, none of which it would reject but as its own copy."""
        alike = [likeness(one.appearance, other.appearance) for one, other in combinations(references, 2)]
        most, contrasts = max([0.0, *alike]), [each.contrast for each in references]
        apart = [
            strangeness(each, [*references[:index], *references[index + 1 :]])
            for index, each in enumerate(references if len(references) > 1 else ())
        ]
        return cls(
            settings=settings,
            contrast=(min(contrasts) / LEAST_EXCESS**settings.tolerance, widened(contrasts, settings.tolerance)),
            rim_step=widened([each.rim_step for each in references], settings.tolerance),
            likeness=most + settings.max_likeness * (1 - most),
            strangeness=max([*apart, LEAST_STRANGENESS]) * LEAST_EXCESS**settings.tolerance,
            references=tuple(references),
        )

    def judge(self, measures: Measures, drawn_fraction: float, off_mask_fraction: float) -> "Judgement":
        """What is to be said of a sample.

        drawn_fraction: share of the planned mask that was drawn; off_mask_fraction: share of the drawn mask that lies
        outside the planned one.
        """
        most_alike = max(likeness(measures.appearance, each.appearance) for each in self.references)
        least, largest = self.contrast
        apart = strangeness(measures, self.references)
        against: dict[Reason, bool] = {
            "mask_lost": drawn_fraction == 0 or drawn_fraction < self.settings.min_drawn_fraction,
            "off_mask": off_mask_fraction > self.settings.max_off_mask_fraction,
            "seam_visible": measures.rim_step > self.rim_step,
            "near_copy": most_alike > self.likeness,
            "too_faint": measures.contrast < least,
            "out_of_range": measures.contrast > largest or apart > self.strangeness,
        }
        return Judgement(most_alike, apart, next((reason for reason in against if against[reason]), None))


@dataclass(frozen=True)
class Judgement:
    """What a gate says of a sample."""

    likeness: float
    """To the reference that is most alike."""
    strangeness: float
    """Distance of its looks to the nearest reference's."""
    reason: Reason | None
    """The first against it; None: kept."""


def strangeness(measures: Measures, references: Sequence[Measures]) -> float:
    """Distance in contrast and shade to the nearest of some references, over their median contrast."""
    nearest = min(
        float(np.hypot(measures.contrast - each.contrast, np.linalg.norm(measures.shade - each.shade)))
        for each in references
    )
    return nearest / max(float(np.median([each.contrast for each in references])), 1e-6)


def widened(values: Sequence[float], tolerance: float) -> float:
    """The largest of positive values, and `tolerance` times (in logarithms) what one lies beyond the others.

    LEAST_EXCESS is taken for that at least, and LONE_EXCESS for a single value, of which nothing is known.
    """
    *others, largest = sorted(max(value, 1e-6) for value in values)
    excess = max(largest / others[-1], LEAST_EXCESS) if others else LONE_EXCESS
    return largest * excess**tolerance


@lru_cache(maxsize=8)
def gate_of(run_folder: Path, defect: str) -> Gate:
    """The gate of a defect of the run in `run_folder`, calibrated on its references; kept within the process."""
    run = Run.at(run_folder)
    folder, measured = run.config.category_folder, []
    for record in references_of(run.snapshot(), defect):
        mask = read_mask(folder / record.mask_path)
        box = window_box(mask, run.config.window, run.config.base.resolution)
        window = crop_window(read_image(folder / record.path), mask, box, MEASURED_SIDE_PX)
        measured.append(measure(window, window.mask))
    return Gate.calibrated(measured, run.config.gates)
