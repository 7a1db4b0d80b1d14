"""A mask for a defect that does not exist yet: a shape like the references', on the object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mask_sampling import DoesNotFit, Mask, shapes
from mask_sampling.placement import place
from mask_sampling.shapes import Sampler, ShapeSettings

SAMPLERS: dict[str, Sampler] = {"reference": shapes.reference}
"""Every sampler by the name that the config knows it by."""

TRIES = 50
"""Shapes drawn before giving up."""


@dataclass(frozen=True)
class SampledMask:
    """Where a defect is asked for."""

    mask: Mask
    """H W, the size of the foreground it was placed on."""
    sampler: str
    """Which of SAMPLERS drew the shape."""


def sample_mask(
    references: Sequence[Mask],
    foreground: Mask,
    samplers: Mapping[str, float],
    settings: ShapeSettings,
    area_tolerance: float,
    rng: np.random.Generator,
) -> SampledMask:
    """A random mask of about the references' area that lies inside `foreground`, and its sampler's name.

    The sampler is drawn by its weight in `samplers`. Its shapes have between the smallest reference's area in
    pixels over `area_tolerance` and the largest's times it; position is uniform over all that fit. Raises
    DoesNotFit when TRIES shapes in a row have another area or no room, ValueError when there are no references.
    """
    if not references:
        raise ValueError("there are no references")
    name = _draw(samplers, rng)
    areas = [int(mask.sum()) for mask in references]
    smallest, largest = min(areas) / area_tolerance, max(areas) * area_tolerance
    wrong_area = 0
    for _ in range(TRIES):
        shape = SAMPLERS[name](references, settings, rng)
        if not smallest <= shape.sum() <= largest:
            wrong_area += 1
            continue
        try:
            return SampledMask(place(shape, foreground, rng), name)
        except DoesNotFit:
            continue
    raise DoesNotFit(
        f"none of {TRIES} shapes of the sampler '{name}' could be used: {wrong_area} had an area outside "
        f"{smallest:.0f} to {largest:.0f} px, {TRIES - wrong_area} found no room in the foreground"
    )


def _draw(samplers: Mapping[str, float], rng: np.random.Generator) -> str:
    """The name of a sampler, drawn by weight; the order of `samplers` does not matter."""
    names = sorted(samplers)
    weights = np.array([samplers[name] for name in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]
