"""The figures of a sample that gates look at, beside the range that the gate of its defect allows."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from defectfill.painting.gates import Gate
from defectfill.painting.measures import SOURCE_BANDS_PX, WINDOW_BANDS_PX


class Limit(BaseModel):
    """One figure of a sample and its range; the key and position say where it stands in a row of the report's table."""

    model_config = ConfigDict(frozen=True)

    reasons: tuple[str, ...]
    """Why a sample outside is rejected: below, above; one where there is one limit."""
    label: str
    key: str
    position: int | None = None
    """Among several figures of the key."""
    low: float | None = None
    high: float | None = None


def limits_of(gate: Gate) -> list[Limit]:
    """Return the range of every figure that a gate judges, in the order in which it asks.

    Figures that say nothing against samples of its painter have none.
    """
    least, largest = gate.contrast_range
    limits = [
        Limit(reasons=("mask_lost",), label="planned mask drawn", key="drawn", low=gate.min_drawn_fraction),
        Limit(reasons=("off_mask",), label="drawn off the mask", key="off", high=gate.settings.max_off_mask_fraction),
        Limit(reasons=("seam_visible",), label="seam gradient", key="seam", high=gate.max_seam_gradient),
        Limit(
            reasons=("near_copy",), label="correlation with a reference", key="correlation",
            high=gate.max_reference_correlation,
        ),
        Limit(reasons=("too_faint", "out_of_range"), label="contrast", key="contrast", low=least, high=largest),
        *_several("no_texture", "texture", _bands(), gate.min_texture),
        *_several("blurred_edge", "edge sharpness", ("source", "window"), gate.min_edge_sharpness),
        Limit(
            reasons=("out_of_range",), label="distance to a reference", key="distance",
            high=gate.max_appearance_distance,
        ),
    ]  # fmt: skip
    return [limit for limit in limits if set(limit.reasons) & set(gate.reasons)]


def _bands() -> Iterator[str]:
    """Yield the names of the bands in which texture is measured."""
    for unit, bands in (("px", SOURCE_BANDS_PX), ("px, window", WINDOW_BANDS_PX)):
        yield from (f"{below:g}–{above:g} {unit}" for below, above in zip((0, *bands), bands, strict=False))


def _several(reason: str, label: str, names: Iterator[str] | tuple[str, ...], least: tuple[float, ...]) -> list[Limit]:
    """Return the lower limits of figures of which there are several."""
    key = label.split()[0]
    return [
        Limit(reasons=(reason,), label=f"{label}, {name}", key=key, position=position, low=limit)
        for position, (name, limit) in enumerate(zip(names, least, strict=True))
    ]
