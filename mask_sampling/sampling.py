"""Masks for defects that do not exist yet: shapes like the references', where on the object they can be."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from mask_sampling import Mask, PlacementError, bounding_box
from mask_sampling.frame import BEYOND, reference_shape, sides_touched
from mask_sampling.placement import INSIDE, Scene, Sides, place_patch, scene
from mask_sampling.pose import SAME_POSE, Registration, register
from mask_sampling.positions import LearntPositions, position_of
from mask_sampling.priors import area_fraction_at, axial_spread, departure, measure
from mask_sampling.shapes import Sampler, Shape, ShapeRequest, ShapeSettings, patch_area_px
from mask_sampling.shapes.blob import blob
from mask_sampling.shapes.morph import morph
from mask_sampling.shapes.outlines import box, polygon, star
from mask_sampling.shapes.reference import reference
from mask_sampling.shapes.stroke import stroke
from mask_sampling.spots import Spot, grown, overlap, spot_of

SAMPLERS: dict[str, Sampler] = {
    "reference": reference,
    "morph": morph,
    "stroke": stroke,
    "blob": blob,
    "polygon": polygon,
    "box": box,
    "star": star,
}
"""Every sampler by the name that the config knows it by."""
FOLDER = "folder"
"""And the user's own masks, which the reference sampler varies."""
TRIES = 20
"""Shapes drawn before giving up."""
REDRAWS = 5
"""Masks drawn for an index before it counts as nearly one that is there already."""
MAX_OVERLAP = 0.9
"""Intersection over union up to which two masks on the same image are different."""
FITS = 6
"""Sizes tried of each."""
MAX_SCALE = 1.25
"""A shape follows a reference of the requested size up to this factor, as long as there is one."""
AREA_ERROR = 0.006
"""A mask's area differs from the requested one by at most this share, once it is cut at the outline."""
LOOSE_AREA_ERROR = 0.15
"""By this much after a third of the tries: where there is hardly any room, or the frame bounds what can be had."""
AREA_ERROR_PX = 3
"""Or by this many pixels, where that is more."""
OBJECT_SLACK = 1.8
"""An object whose share of the frame is beyond the references' by this factor was not rightly found."""
MIN_ROTATION = 3.0
"""Shapes turn by at least this many degrees, unless the settings allow less."""


@dataclass(frozen=True)
class Reference:
    """A real defect."""

    mask: Mask
    foreground: Mask
    """Its object, [H, W] like the mask; the mask may lie partly outside."""
    offset: tuple[int, int] = (0, 0)
    """x, y in pixels by which a part that always lies the same has moved."""


@dataclass(frozen=True)
class Settings:
    """Settings of the sampling of masks."""

    samplers: Mapping[str, float]
    """Name in SAMPLERS, or FOLDER -> weight."""
    shapes: ShapeSettings
    """Rotation is relative to the object's main axis; round objects and `turn_freely` know none."""
    turn_freely: bool = False
    flip: bool = True
    """Half of the shapes are mirrored: across the object's axis, and only where its outline allows."""
    placement: Literal["learned", "uniform"] = "learned"
    novelty: float = 0.0
    """Share of the masks that are placed uniformly in spite of `learned`."""
    max_cut: float = 0.1
    """At most this share of a shape may be cut off at the object's outline."""
    area_tolerance: float = 1.5
    """Area fractions lie within the references' range, extended by this factor both ways."""
    count: tuple[int, int] = (1, 1)
    """Fewest and most defects in one mask."""
    min_distance_px: int = 0
    """Between them."""
    same_pose: bool = False
    """The object lies the same in all pictures, but for offsets; foregrounds are whole frames."""


@dataclass(frozen=True)
class SampledMask:
    """A mask that says where a defect is asked for."""

    mask: Mask
    """[H, W], the size of the image."""
    sampler: str
    """Which of SAMPLERS drew it; several are joined by a plus."""
    like: tuple[int, ...]
    """The references that its defects follow in size and direction."""

    @cached_property
    def spot(self) -> Spot:
        """The mask without what is empty around it."""
        return spot_of(self.mask)


@dataclass(frozen=True)
class _Ask:
    """One defect to be drawn and placed."""

    sampler: str
    like: int
    fraction: float
    """Of the object's area."""
    spread: Sequence[float]
    limits: Sequence[tuple[float, float]] | None
    free: Mask | None
    area_error: float
    beyond: bool
    """Whether it goes on beyond the frame where its reference does."""


class MaskSampler:
    """Masks of one defect: learns from the references once, then gives the mask of any index on any scene.

    The same references, settings, seed, scene and index give the same mask, whatever was asked before. Sizes and
    positions of successive indices are spread evenly, by a Halton sequence that the seed scrambles.
    Raises ValueError where there are no references or one of them has an empty mask.
    """

    def __init__(
        self, references: Sequence[Reference], settings: Settings, seed: int, folder: Sequence[Mask] = ()
    ) -> None:
        if FOLDER in settings.samplers and not folder:
            raise ValueError(f"the sampler {FOLDER!r} needs masks")
        foregrounds = [each.foreground | each.mask for each in references]
        self.registration: Registration = SAME_POSE if settings.same_pose else register(foregrounds)
        whole_frame = self.registration.kind == "frame"
        if whole_frame:
            foregrounds = [np.ones_like(each.mask) for each in references]
        self.settings, self._seed = settings, seed
        self._object_shares = [float(foreground.mean()) for foreground in foregrounds]
        scenes = [
            scene(foreground, self.registration, offset=each.offset)
            for foreground, each in zip(foregrounds, references, strict=True)
        ]
        pairs = list(zip(references, scenes, strict=True))
        positions = tuple(position_of(each.mask, own) for each, own in pairs)
        self.positions = LearntPositions(positions, self.registration.flips)
        self.attributes = [measure(each.mask, own.object_px, own.pose.axis) for each, own in pairs]
        self._shapes = [reference_shape(each.mask, own, beyond=whole_frame) for each, own in pairs]
        self._sides = [sides_touched(each.mask) if whole_frame else INSIDE for each in references]
        self._rotation_degrees = self._learnt_rotation()
        self._folder = [Shape(mask[bounding_box(mask)], float(mask.sum()), 0.0) for mask in folder]

    def scene(self, foreground: Mask, permitted: Mask | None = None, offset: tuple[int, int] = (0, 0)) -> Scene:
        """Return the scene of a normal, with its object as found, or with the whole frame where those are textures.

        offset: as of a reference.
        Raises PlacementError where the object is much larger or smaller than the references', or nothing is permitted.
        """
        if self.registration.kind == "frame":
            foreground = np.ones_like(foreground)
        share, low, high = foreground.mean(), min(self._object_shares), max(self._object_shares)
        if not low / OBJECT_SLACK <= share <= high * OBJECT_SLACK:
            expected = f"{low:.1%} to {high:.1%} as in the references"
            raise PlacementError(f"expected an object that covers {expected}, found {share:.1%}")
        own = scene(foreground, self.registration, permitted, offset)
        return replace(own, density=self.positions.density(own)) if self.settings.placement == "learned" else own

    def sample(self, on: Scene, index: int, others: Sequence[Spot] = ()) -> SampledMask:
        """Return the mask of an index on a scene, drawn again while it is nearly one of `others` on the same image.

        Raises PlacementError, with what was tried, when TRIES shapes in a row are unlike the references or lack room.
        """
        for redraw in range(REDRAWS):
            sampled = self._sample(on, index, redraw)
            if not any(overlap(sampled.spot, other) > MAX_OVERLAP for other in others):
                return sampled
        raise PlacementError(f"each of {REDRAWS} masks was nearly one that is there already")

    def _sample(self, on: Scene, index: int, redraw: int) -> SampledMask:
        """Return one draw; the first takes the evenly spread size and position of its index."""
        rng = np.random.default_rng([self._seed, index, redraw])
        count = int(rng.integers(self.settings.count[0], self.settings.count[1] + 1))
        mask, free = np.zeros_like(on.allowed), None
        names: list[str] = []
        likes: list[int] = []
        for number in range(count):
            first = number == 0 and redraw == 0
            quantiles = _spread_evenly(self._seed, index) if first else rng.random(3).tolist()
            one = self._one(on, quantiles, free, rng)
            mask |= one.mask
            if number + 1 < count:
                free = ~grown(mask, self.settings.min_distance_px + 1)
            names.append(one.sampler)
            likes += one.like
        return SampledMask(mask, "+".join(names), tuple(likes))

    def _one(self, on: Scene, quantiles: Sequence[float], free: Mask | None, rng: np.random.Generator) -> SampledMask:
        """Return one defect, at the `quantiles` of position along and across the object, and of area."""
        settings = self.settings
        name = _draw(settings.samplers, rng)
        learned = settings.placement == "learned" and rng.random() >= settings.novelty
        fraction = min(1.0, area_fraction_at(quantiles[2], [each.area_fraction for each in self.attributes]))
        limits = self.positions.limits() if learned else None
        refused: Counter[str] = Counter()
        for attempt in range(TRIES):
            like, seed = self._like(fraction, rng), int(rng.integers(2**63))
            ask = _Ask(
                name, like, fraction, quantiles[:2], limits, free,
                area_error=AREA_ERROR if attempt < TRIES // 3 else LOOSE_AREA_ERROR,
                beyond=attempt < 2 * TRIES // 3,
            )  # fmt: skip
            try:
                return SampledMask(self._fitted(ask, on, seed), name, (like,))
            except PlacementError as problem:
                refused[str(problem)] += 1
        told = ", ".join(f"{count} found {what}" for what, count in refused.most_common())
        raise PlacementError(f"none of {TRIES} shapes of the sampler '{name}' could be used: {told}")

    def _fitted(self, ask: _Ask, on: Scene, seed: int) -> Mask:
        """Return the mask that the seed gives, asked for larger or smaller until its area is right once it is cut."""
        settings, requested_px = self.settings, ask.fraction * on.object_px
        asked_px = requested_px
        for _ in range(FITS):
            rng = np.random.default_rng(seed)
            patch, sides, inside_px = self._shape_for(ask.sampler, ask.like, asked_px, on, rng)
            sides = sides if ask.beyond else INSIDE
            max_cut = max(settings.max_cut, BEYOND) if any(sides) else settings.max_cut
            mask = place_patch(
                patch, on, rng, limits=ask.limits, spread=ask.spread, max_cut=max_cut, inside_px=inside_px,
                sides=sides, free=ask.free,
            )  # fmt: skip
            error = float(mask.sum()) / requested_px
            if abs(error - 1) <= max(ask.area_error, AREA_ERROR_PX / requested_px):
                found = measure(mask, on.object_px, on.pose.axis)
                unlike = departure(found, self.attributes, settings.area_tolerance)
                if unlike:
                    raise PlacementError(f"another {unlike} than the references")
                return mask
            asked_px *= min(max(1 / error, 0.5), 2.0)
        raise PlacementError("another area than was requested")

    def _learnt_rotation(self) -> float:
        """Return the degrees that shapes turn beyond their own direction: as far as the references' differ."""
        most = self.settings.shapes.rotation_degrees
        if self.settings.turn_freely or self.registration.kind == "round":
            return 180.0
        directions = [each.direction_degrees for each in self.attributes if not math.isnan(each.direction_degrees)]
        if len(directions) < 2:
            return most
        return float(np.clip(axial_spread(directions) * len(directions) ** -0.2, min(MIN_ROTATION, most), most))

    def _like(self, fraction: float, rng: np.random.Generator) -> int:
        """Return a reference of about that area fraction, or the nearest one."""
        away = np.abs(np.log([each.area_fraction / fraction for each in self.attributes]))
        near = np.flatnonzero(away <= 2 * math.log(MAX_SCALE))
        return int(rng.choice(near)) if near.size else int(away.argmin())

    def _shape_for(
        self, name: str, like: int, area_px: float, on: Scene, rng: np.random.Generator
    ) -> tuple[Mask, Sides, float]:
        """Return a patch, the sides at which it goes on beyond the frame, and how much of it lies within."""
        settings, kind = self.settings, self.registration.kind
        mirrored = on.pose.mirrored
        sides = self._sides[like]
        if settings.flip and (kind == "round" or (1, -1) in self.registration.flips) and rng.random() < 0.5:
            mirrored = not mirrored
            sides = (sides[0], sides[1], sides[3], sides[2])
        bend = replace(settings.shapes, rotation_degrees=self._rotation_degrees)
        request = ShapeRequest(like, area_px, on.pose.axis, mirrored)
        if name == FOLDER:
            own = int(rng.integers(len(self._folder)))
            return reference(self._folder, replace(request, like=own), bend, rng), INSIDE, area_px
        patch = SAMPLERS[name](self._shapes, request, bend, rng)
        return patch, sides, float(patch.sum()) * area_px / patch_area_px(self._shapes[like], request)


def _spread_evenly(seed: int, index: int) -> list[float]:
    """Return the point of an index in a scrambled Halton sequence over [0, 1)^3."""
    from scipy.stats import qmc

    sequence = qmc.Halton(3, rng=np.random.default_rng(seed))
    point: list[float] = sequence.fast_forward(index).random()[0].tolist()
    return point


def _draw(samplers: Mapping[str, float], rng: np.random.Generator) -> str:
    """Return the name of a sampler, drawn by weight; the order of `samplers` does not matter."""
    names = sorted(samplers)
    weights = np.array([samplers[name] for name in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]
