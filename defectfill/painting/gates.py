"""Which sample is kept: its picture is measured as the references are, and must lie in the range that they span.

Everything is measured in the window, brought to MEASURED_SIDE_PX pixels, and in shares of the value range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from defectfill.config.generate import GatesConfig
from defectfill.painting.measures import (
    Measures,
    appearance_correlation,
    appearance_distance,
)

Reason = Literal["mask_lost", "off_mask", "seam_visible", "near_copy", "too_faint", "out_of_range"]
"""Why a sample is rejected: a closed list, in the order in which it is asked."""

REASONS: tuple[str, ...] = get_args(Reason)

LEAST_EXCESS = 1.1
"""The range of the references is widened by this factor at least: a reference's measures change by a new pose."""
LONE_EXCESS = 2.0
"""And upwards by this one where there is a single reference."""
LEAST_APPEARANCE_DISTANCE = 0.5
"""Looks may be this far from every reference's, however close these are to each other."""


@dataclass(frozen=True)
class Gate:
    """What the references of one defect allow."""

    settings: GatesConfig
    contrast: tuple[float, float]
    """Least, that of the faintest reference, and largest."""
    seam_gradient: float
    """Largest."""
    reference_correlation: float
    """Largest to any reference."""
    appearance_distance: float
    """Largest distance of looks to the nearest reference."""
    references: tuple[Measures, ...]

    @classmethod
    def calibrated(cls, references: Sequence[Measures], settings: GatesConfig) -> "Gate":
        """The gate of measured references, at least one, none of which it would reject but as its own copy."""
        alike = [appearance_correlation(one.appearance, other.appearance) for one, other in combinations(references, 2)]
        most, contrasts = max([0.0, *alike]), [each.contrast for each in references]
        apart = [
            appearance_distance(each, [*references[:index], *references[index + 1 :]])
            for index, each in enumerate(references if len(references) > 1 else ())
        ]
        return cls(
            settings=settings,
            contrast=(min(contrasts) / LEAST_EXCESS**settings.tolerance, upper_limit(contrasts, settings.tolerance)),
            seam_gradient=upper_limit([each.seam_gradient for each in references], settings.tolerance),
            reference_correlation=most + settings.max_reference_correlation * (1 - most),
            appearance_distance=max([*apart, LEAST_APPEARANCE_DISTANCE]) * LEAST_EXCESS**settings.tolerance,
            references=tuple(references),
        )

    def judge(self, measures: Measures, drawn_fraction: float, off_mask_fraction: float) -> "Verdict":
        """What is to be said of a sample.

        drawn_fraction: share of the planned mask that was drawn; off_mask_fraction: share of the drawn mask that lies
        outside the planned one.
        """
        most_alike = max(appearance_correlation(measures.appearance, each.appearance) for each in self.references)
        least, largest = self.contrast
        apart = appearance_distance(measures, self.references)
        against: dict[Reason, bool] = {
            "mask_lost": drawn_fraction == 0 or drawn_fraction < self.settings.min_drawn_fraction,
            "off_mask": off_mask_fraction > self.settings.max_off_mask_fraction,
            "seam_visible": measures.seam_gradient > self.seam_gradient,
            "near_copy": most_alike > self.reference_correlation,
            "too_faint": measures.contrast < least,
            "out_of_range": measures.contrast > largest or apart > self.appearance_distance,
        }
        return Verdict(most_alike, apart, next((reason for reason in against if against[reason]), None))


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a sample."""

    reference_correlation: float
    """To the reference that is most alike."""
    appearance_distance: float
    """Distance of its looks to the nearest reference's."""
    reason: Reason | None
    """The first against it; None: kept."""


def upper_limit(values: Sequence[float], tolerance: float) -> float:
    """The largest of positive values, and `tolerance` times (in logarithms) what one lies beyond the others.

    LEAST_EXCESS is taken for that at least, and LONE_EXCESS for a single value, of which nothing is known.
    """
    *others, largest = sorted(max(value, 1e-6) for value in values)
    excess = max(largest / others[-1], LEAST_EXCESS) if others else LONE_EXCESS
    return largest * excess**tolerance
