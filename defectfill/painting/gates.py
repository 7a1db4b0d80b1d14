"""Which sample is kept: its picture is measured as the references are, and must lie in the range that they span.

Everything is measured in the window and as a share of the surroundings' brightness, so that parts that are lit
otherwise are judged alike.
"""

import statistics
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

Reason = Literal[
    "mask_lost", "off_mask", "seam_visible", "near_copy", "too_faint", "no_texture", "blurred_edge", "out_of_range"
]
"""Why a sample is rejected: a closed list, in the order in which it is asked."""

REASONS: tuple[str, ...] = get_args(Reason)

PLAIN_WORDS: dict[str, str] = {
    "mask_lost": "too little was drawn",
    "off_mask": "drawn beside the planned mask",
    "seam_visible": "its seam shows",
    "near_copy": "a copy of a reference",
    "too_faint": "too pale",
    "no_texture": "too smooth",
    "blurred_edge": "its edge is too soft",
    "out_of_range": "unlike the references",
}
"""The reasons as those say them who do not know the gates."""

_CLOSER = "a closer window (window.context), a higher base.resolution"
REMEDIES: dict[str, str] = {
    "mask_lost": f"longer training (train.steps), {_CLOSER}, a lower gates.min_drawn_fraction",
    "off_mask": f"{_CLOSER}, a higher gates.max_off_mask_fraction",
    "seam_visible": "a better base, a higher gates.tolerance",
    "near_copy": "more references, shorter training (train.steps), a higher gates.max_reference_correlation",
    "too_faint": "longer training (train.steps), more references, generate.choice lfs, a higher gates.tolerance",
    "no_texture": f"a better base for photographs, {_CLOSER}, more references, a higher gates.tolerance",
    "blurred_edge": f"a better base for photographs, {_CLOSER}, more references, a higher gates.tolerance",
    "out_of_range": "more references, another train.steps, generate.choice balanced, a higher gates.tolerance",
}
"""What helps where nearly all samples of a defect are rejected for a reason."""
_OTHER_MASKS = "masks more like the references' (masks.samplers)"
REMEDIES_WITHOUT_BASE: dict[str, str] = {
    **dict.fromkeys(REMEDIES, "generate.choice balanced, more references, a higher gates.tolerance"),
    "mask_lost": f"{_OTHER_MASKS}, a lower generate.min_change, a lower gates.min_drawn_fraction",
    "off_mask": f"{_OTHER_MASKS}, a higher gates.max_off_mask_fraction",
}
"""The same of a painter that needs no base."""


def remedies_of(painter: str) -> dict[str, str]:
    """Return what helps against each reason of REASONS, with a painter."""
    return REMEDIES if painter == "diffusion" else REMEDIES_WITHOUT_BASE


MEANINGLESS: dict[str, frozenset[Reason]] = {
    "diffusion": frozenset(),
    "paste": frozenset({"near_copy"}),
    "perlin": frozenset(get_args(Reason)) - {"mask_lost", "off_mask"},
}
"""Reasons that say nothing against samples of a painter: what is pasted is a copy of a reference by design, and a
random material is unlike all of them."""


def reasons_of(painter: str) -> tuple[str, ...]:
    """Return the reasons that samples of a painter are rejected for, in the order of REASONS."""
    return tuple(reason for reason in REASONS if reason not in MEANINGLESS[painter])


# How far unseen real defects lie outside the range of three to six references, measured over six kinds of defects on
# four products by benchmarks.gates: with narrower limits more of them are refused, with wider ones smooth blobs pass.
LEAST_EXCESS = 1.5
"""A limit exceeds the references' range by this factor at least (at tolerance 1)."""
LONE_EXCESS = 2.0
"""An upper limit exceeds the measure of a single reference by this factor (at tolerance 1)."""
SMOOTHER = 1.8
"""The least texture, in each band, is that of the smoothest reference over this factor (at tolerance 1)."""
SOFTER = 1.2
"""The least sharpness of the edge is that of the softest reference over this factor (at tolerance 1)."""
LEAST_APPEARANCE_DISTANCE = 0.5
"""The largest appearance distance allowed is never less, however close the references are to each other."""


@dataclass(frozen=True)
class Gate:
    """The limits that the references of one defect set."""

    settings: GatesConfig
    visible_fraction: float
    """Of the references' masks, in which one sees the defect; of a planned mask no more can be asked for."""
    contrast_range: tuple[float, float]
    """Least and largest contrast."""
    min_texture: tuple[float, ...]
    """In each band."""
    min_edge_sharpness: tuple[float, ...]
    """At each resolution."""
    max_seam_gradient: float
    max_reference_correlation: float
    """The largest correlation with any reference."""
    max_appearance_distance: float
    """The largest distance to the nearest reference."""
    references: tuple[Measures, ...]
    painter: str
    """Whose samples are judged."""

    @property
    def min_drawn_fraction(self) -> float:
        """The least share of a planned mask that the drawn one covers."""
        return self.settings.min_drawn_fraction * self.visible_fraction

    @property
    def reasons(self) -> tuple[str, ...]:
        """All that it rejects for."""
        return reasons_of(self.painter)

    @classmethod
    def calibrated(
        cls, references: Sequence[Measures], settings: GatesConfig, painter: str, visible: Sequence[float] = ()
    ) -> "Gate":
        """Return the gate of at least one measured reference, none of which it would reject but as its own copy.

        Contrast, texture and sharpness of the edge are at least the least of the references over LEAST_EXCESS, SMOOTHER
        and SOFTER to the power of the tolerance, contrast and seam gradient at most their `upper_limit`. The
        correlation may go the share `settings.max_reference_correlation` of the way from the most alike two references
        to 1; the appearance distance to that of the reference farthest from the others, times
        `LEAST_EXCESS ** tolerance`. painter: whose samples are judged, see MEANINGLESS. visible: by reference, the
        share of its mask in which one sees the defect; all of it unless said.
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
            visible_fraction=statistics.median(visible or [1.0]),
            contrast_range=(min(contrasts) / LEAST_EXCESS**tolerance, upper_limit(contrasts, tolerance)),
            min_texture=_least([each.texture for each in references], SMOOTHER**tolerance),
            min_edge_sharpness=_least([each.edge_sharpness for each in references], SOFTER**tolerance),
            max_seam_gradient=upper_limit([each.seam_gradient for each in references], tolerance),
            max_reference_correlation=most + settings.max_reference_correlation * (1 - most),
            max_appearance_distance=max([*apart, LEAST_APPEARANCE_DISTANCE]) * LEAST_EXCESS**tolerance,
            references=tuple(references),
            painter=painter,
        )

    def judge(self, measures: Measures, drawn_fraction: float, off_mask_fraction: float) -> "Verdict":
        """Return the verdict on a sample.

        drawn_fraction: share of the planned mask that the drawn one covers; off_mask_fraction: share of the drawn mask
        that lies outside the planned one.
        """
        most_alike = max(appearance_correlation(measures.appearance, each.appearance) for each in self.references)
        least, largest = self.contrast_range
        apart = appearance_distance(measures, self.references)
        against: dict[Reason, bool] = {
            "mask_lost": drawn_fraction == 0 or drawn_fraction < self.min_drawn_fraction,
            "off_mask": off_mask_fraction > self.settings.max_off_mask_fraction,
            "seam_visible": measures.seam_gradient > self.max_seam_gradient,
            "near_copy": most_alike > self.max_reference_correlation,
            "too_faint": measures.contrast < least,
            "no_texture": _any_below(measures.texture, self.min_texture),
            "blurred_edge": _any_below(measures.edge_sharpness, self.min_edge_sharpness),
            "out_of_range": measures.contrast > largest or apart > self.max_appearance_distance,
        }
        reasons = self.reasons
        return Verdict(most_alike, apart, tuple(name for name in against if against[name] and name in reasons))


@dataclass(frozen=True)
class Verdict:
    """The decision of a gate on a sample."""

    reference_correlation: float
    """With the reference that is most alike."""
    appearance_distance: float
    """To the nearest reference."""
    against: tuple[Reason, ...]
    """All reasons against it, in the order of REASONS; none: kept."""

    @property
    def reason(self) -> Reason | None:
        """The first of them."""
        return self.against[0] if self.against else None


def upper_limit(values: Sequence[float], tolerance: float) -> float:
    """Return `largest * max(largest / second_largest, LEAST_EXCESS) ** tolerance` of positive values.

    With a tolerance of 1 the limit lies as far beyond the largest value as that does beyond the others, by ratio. Of a
    single value it is `value * LONE_EXCESS ** tolerance`.
    """
    *others, largest = sorted(max(value, 1e-6) for value in values)
    excess = max(largest / others[-1], LEAST_EXCESS) if others else LONE_EXCESS
    return largest * excess**tolerance


def _least(values: Sequence[Sequence[float]], factor: float) -> tuple[float, ...]:
    """Return the least of each column of values, over `factor`."""
    return tuple(min(column) / factor for column in zip(*values, strict=True))


def _any_below(values: Sequence[float], limits: Sequence[float]) -> bool:
    return any(value < limit for value, limit in zip(values, limits, strict=True))
