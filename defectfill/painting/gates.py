"""Which sample is kept: its picture is measured as the references are, and must lie in the range that they span.

Everything is measured in the window, brought to MEASURED_SIDE_PX pixels, and in shares of the value range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from defectfill.config.gates import GatesConfig
from defectfill.painting.measures import (
    Measures,
    appearance_correlation,
    appearance_distance,
)

Reason = Literal["mask_lost", "off_mask", "seam_visible", "near_copy", "too_faint", "out_of_range"]
"""Why a sample is rejected: a closed list, in the order in which it is asked."""

REASONS: tuple[str, ...] = get_args(Reason)

LEAST_EXCESS = 1.1
"""A limit exceeds the references' range by this factor at least (at tolerance 1), since a reference's own measures
change by as much with its pose."""
LONE_EXCESS = 2.0
"""An upper limit exceeds the measure of a single reference by this factor (at tolerance 1)."""
LEAST_APPEARANCE_DISTANCE = 0.5
"""The largest appearance distance allowed is never less, however close the references are to each other."""


@dataclass(frozen=True)
class Gate:
    """The limits that the references of one defect set."""

    settings: GatesConfig
    contrast_range: tuple[float, float]
    """Least and largest contrast."""
    max_seam_gradient: float
    max_reference_correlation: float
    """The largest correlation with any reference."""
    max_appearance_distance: float
    """The largest distance to the nearest reference."""
    references: tuple[Measures, ...]

    @classmethod
    def calibrated(cls, references: Sequence[Measures], settings: GatesConfig) -> "Gate":
        """Return the gate of at least one measured reference, none of which it would reject but as its own copy.

        The contrast lies between the least of the references over `LEAST_EXCESS ** tolerance` and their `upper_limit`,
        the seam gradient below its `upper_limit`. The correlation may go the share
        `settings.max_reference_correlation` of the way from the most alike two references to 1; the appearance distance
        to that of the reference farthest from the others, times `LEAST_EXCESS ** tolerance`.
        """
        alike = [appearance_correlation(one.appearance, other.appearance) for one, other in combinations(references, 2)]
        most, contrasts = max([0.0, *alike]), [each.contrast for each in references]
        apart = [
            appearance_distance(each, [*references[:index], *references[index + 1 :]])
            for index, each in enumerate(references if len(references) > 1 else ())
        ]
        tolerance = settings.tolerance
        return cls(
            settings=settings,
            contrast_range=(min(contrasts) / LEAST_EXCESS**tolerance, upper_limit(contrasts, tolerance)),
            max_seam_gradient=upper_limit([each.seam_gradient for each in references], tolerance),
            max_reference_correlation=most + settings.max_reference_correlation * (1 - most),
            max_appearance_distance=max([*apart, LEAST_APPEARANCE_DISTANCE]) * LEAST_EXCESS**tolerance,
            references=tuple(references),
        )

    def judge(self, measures: Measures, drawn_fraction: float, off_mask_fraction: float) -> "Verdict":
        """Return the verdict on a sample.

        drawn_fraction: share of the planned mask that was drawn; off_mask_fraction: share of the drawn mask that lies
        outside the planned one.
        """
        most_alike = max(appearance_correlation(measures.appearance, each.appearance) for each in self.references)
        least, largest = self.contrast_range
        apart = appearance_distance(measures, self.references)
        against: dict[Reason, bool] = {
            "mask_lost": drawn_fraction == 0 or drawn_fraction < self.settings.min_drawn_fraction,
            "off_mask": off_mask_fraction > self.settings.max_off_mask_fraction,
            "seam_visible": measures.seam_gradient > self.max_seam_gradient,
            "near_copy": most_alike > self.max_reference_correlation,
            "too_faint": measures.contrast < least,
            "out_of_range": measures.contrast > largest or apart > self.max_appearance_distance,
        }
        return Verdict(most_alike, apart, next((reason for reason in against if against[reason]), None))


@dataclass(frozen=True)
class Verdict:
    """The decision of a gate on a sample."""

    reference_correlation: float
    """With the reference that is most alike."""
    appearance_distance: float
    """To the nearest reference."""
    reason: Reason | None
    """The first against it; None: kept."""


def upper_limit(values: Sequence[float], tolerance: float) -> float:
    """Return `largest * max(largest / second_largest, LEAST_EXCESS) ** tolerance` of positive values.

    With a tolerance of 1 the limit lies as far beyond the largest value as that does beyond the others, by ratio. Of a
    single value it is `value * LONE_EXCESS ** tolerance`.
    """
    *others, largest = sorted(max(value, 1e-6) for value in values)
    excess = max(largest / others[-1], LEAST_EXCESS) if others else LONE_EXCESS
    return largest * excess**tolerance
