"""A screw lying on its side: head, shank and thread."""

import math
from dataclasses import dataclass

import numpy as np

from defectfill.toy.ground import lay_on_ground
from defectfill.toy.maps import Floats, Generator, bump, cloud, coverage, grid, rise, single, specks, streaks, turned
from defectfill.toy.part import Material, Part, colour, hang_lamps

FINISHES = ((0.33, 0.33, 0.33), (0.24, 0.25, 0.265), (0.10, 0.10, 0.105), (0.46, 0.36, 0.19), (0.42, 0.42, 0.38))
"""Steel, grey zinc, black oxide, yellow zinc, nickel."""

HEADS = (
    ((0, 1), (0.15, 1)),
    ((0, 0.5), (0.04, 0.66), (0.15, 0.82), (0.35, 0.93), (0.6, 1), (0.98, 1)),
    ((0, 0.93), (0.1, 1), (0.98, 1)),
)
"""Countersunk, round and hexagonal heads: share of the length, and share of the width there."""


@dataclass(frozen=True)
class _Form:
    """A screw along u: its head at -0.8, its tip at 0.8."""

    knots: Floats
    radii: Floats
    """The core's radius at the knots, straight between them."""
    neck: float
    """Where the head ends."""
    thread: tuple[float, float]
    """Where the thread starts and ends."""
    depth: float
    """How far the thread stands out."""
    pitch: float
    sharp: float
    """Share of the pitch that the thread takes, 0.5 (wood) to 1 (metal)."""
    hexagon: float | None
    """How far a hexagonal head is turned, in radians; None for a round head."""

    def outline(self, u: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
        """Return radius, how far inside the edge, and how high on the thread (0 to 1) each point lies."""
        core = single(np.interp(u, self.knots, self.radii))
        reach = core + single(self.depth)
        turn = np.arcsin(np.clip(v / reach, -1, 1)) / single(2 * np.pi)
        place = (u / single(self.pitch) + turn) % 1 - single(0.5)
        crest = bump(place / single(0.5 * self.sharp)) ** single(0.6)
        crest *= rise(u, self.thread[0], self.thread[0] + self.pitch)
        crest *= 1 - rise(u, self.thread[1] - self.pitch, self.thread[1])
        radius = core + single(self.depth) * np.minimum(1, core / single(0.07)) * crest
        inside = np.minimum.reduce([radius - np.abs(v), u - self.knots[0], self.knots[-1] - u])
        return radius, single(inside), crest


def thread_screw(rng: Generator, size_px: int) -> Part:
    """Return a wood or machine screw on paper or a mat; form, pose, finish, ground and light vary."""
    lamps, heading, form = hang_lamps(rng), rng.uniform(-np.pi, np.pi), _draw_form(rng)
    scale = rng.uniform(0.85, 1.15)
    x, y = (grid(size_px) + single(rng.uniform(-0.08, 0.08, (2, 1, 1)))) / single(scale)
    u, v = turned(x, y, heading)
    radius, inside, crest = form.outline(u, v)
    across = np.clip(v / radius, -1, 1)
    height = np.sqrt(np.maximum(radius**2 - v**2, 0.0009))
    in_head = rise(single(form.neck) - u, -0.01, 0.01)
    if form.hexagon is not None:
        faces = [(radius - v * math.sin(a)) / math.cos(a) for a in form.hexagon + np.array([-np.pi / 3, 0, np.pi / 3])]
        height += in_head * (np.minimum.reduce(faces) * single(0.9) - height)
    drawn = streaks(rng, single(u / 3 + 1), single(v + 1), (6, min(140.0, 0.7 * size_px)))
    rolled = 0.7 * streaks(rng, single(v + 1), single(u / 3 + 1), (3, min(240.0, 0.9 * size_px)))
    marks = np.where((u > form.thread[0]) | (in_head > 0.5), rolled, drawn)
    stains, dents, dust = cloud(rng, size_px, 9), cloud(rng, size_px, 26), specks(rng, size_px, 0.002)
    pits = cloud(rng, size_px, 130) + cloud(rng, size_px, 220)
    rough = rng.uniform(0.02, 0.09)
    finish = single(FINISHES[rng.choice(5, p=(0.35, 0.25, 0.15, 0.15, 0.1))]) * single(rng.normal(1, 0.025, 3))
    room = np.cos(single(rng.uniform(3, 7)) * across + single(rng.uniform(0, 6.3)))
    worn = 0.9 + rng.uniform(0.15, 0.5) * room + rng.uniform(0.03, 0.10) * (stains + marks) + rough * pits - 0.4 * dust
    threaded = rise(u, form.thread[0], form.thread[0] + 0.02) * (1 - rise(u, form.thread[1] - 0.02, form.thread[1]))
    worn *= 1 - rng.uniform(0.2, 0.5) * threaded * (1 - crest) ** 2
    worn *= 1 - 0.5 * bump((u - single(form.neck)) / 0.02)  # dirt below the head
    return Part(
        cover=coverage(inside * single(scale)),
        height=single(scale) * (0.85 * height + 0.0008 * dents + 0.012 * rough * pits),
        grain=np.stack([np.full_like(u, math.cos(heading)), np.full_like(u, math.sin(heading))]),
        fibres=single(marks),
        matte=np.clip(rng.uniform(0, 0.4) + 0.05 * stains + 0.3 * (1 - crest) * threaded, 0, 1),
        albedo=np.clip(worn, 0.1, 2)[..., None] * finish,
        backdrop=lay_on_ground(lambda x, y: form.outline(*turned(x, y, heading))[1], x, y, 0.2, lamps[0], rng),
        material=_steel(finish, rng),
        lamps=lamps,
    )


def _draw_form(rng: Generator) -> _Form:
    """Return a wood screw (slim core, wide thin thread, point) or a machine screw (close thread, flat end)."""
    wood, head = rng.random() < 0.6, int(rng.integers(len(HEADS)))
    shank, wide, length = rng.uniform(0.10, 0.14), rng.uniform(0.23, 0.30), rng.uniform(0.14, 0.24)
    start = length - 0.8 + (rng.uniform(0.15, 0.6) if rng.random() < 0.7 else 0.03)
    core = shank * (rng.uniform(0.72, 0.85) if wood else 0.85)
    tip, end = (rng.uniform(0.14, 0.24), 0.012) if wood else (0.03, 0.8 * core)
    form = [(share * length - 0.8, width * wide) for share, width in HEADS[head]]
    form += [(length - 0.8, shank), (start, shank), (start + 0.04, core), (0.8 - tip, core), (0.8, end)]
    knots, radii = zip(*form, strict=True)
    return _Form(
        knots=single(knots),
        radii=single(radii),
        neck=length - 0.8,
        thread=(start, 0.8),
        depth=shank * (rng.uniform(0.35, 0.5) if wood else 0.17),
        pitch=rng.uniform(0.085, 0.13) if wood else rng.uniform(0.05, 0.075),
        sharp=rng.uniform(0.4, 0.6) if wood else 1.0,
        hexagon=rng.uniform(-0.5, 0.5) if head == 2 else None,
    )


def _steel(finish: Floats, rng: Generator) -> Material:
    return Material(
        dull=1.4,
        gloss=rng.uniform(0.7, 2),
        lobe=(0.22, 0.4),
        ridges=rng.uniform(0.02, 0.1),
        fray=0.0,
        stretch=1.2,
        pit=(0.02, 0.019, 0.018),
        groove=colour(np.clip(finish * rng.uniform(1.8, 2.4) + 0.15, 0, 1.2)),
        torn=colour(finish * rng.uniform(0.5, 1.2) + 0.1),
        rim=0.008,
        gash=1.0,
    )
