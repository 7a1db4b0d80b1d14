"""The layout of a circuit board: footprints on a grid, and traces between them."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from defectfill.toy.maps import Generator

NODES = 27
"""Grid points along a side; the picture shows about 20 of them."""
_STEPS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


@dataclass
class Layout:
    """What lies where, in grid units; node (i, j) is at x = i, y = j."""

    taken: npt.NDArray[np.bool_]
    traces: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    """From x, y to x, y, half width."""
    pads: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Middle x, y and half sides."""
    rings: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Middle x, y, outer and inner radius."""
    legends: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    """As traces."""
    bodies: list[tuple[float, float, float, float]] = field(default_factory=list)
    """As pads."""
    starts: list[tuple[int, int, int]] = field(default_factory=list)
    """Node and number of the step that a trace leaves it by."""


def lay_out(rng: Generator) -> Layout:
    """Return a random layout: footprints first, then traces from their pads until something is in the way."""
    layout = Layout(np.zeros((NODES, NODES), dtype=bool))
    populated = rng.random() < 0.4
    for number in range(26):
        kind = int(rng.choice(4, p=(0.25, 0.4, 0.2, 0.15))) if number > 3 else number
        place = (_place_chip, _place_pair, _place_row, _place_mount)[kind]
        column, row = (int(at) for at in rng.integers(1, NODES - 1, 2))
        place(layout, column, row, bool(rng.integers(2)), populated and bool(rng.integers(2)), rng)
    widths = rng.uniform(0.08, 0.14), rng.uniform(0.16, 0.28)
    order = rng.permutation(len(layout.starts))
    for chosen in order:
        column, row, step = layout.starts[chosen]
        _route(layout, column, row, step, widths[int(rng.random() < 0.25)], rng)
    for column, row in rng.integers(1, NODES - 1, (30, 2)).tolist():
        if not layout.taken[column, row]:
            layout.taken[column, row] = True
            layout.rings.append((column, row, 0.26, 0.12))
            _route(layout, column, row, int(rng.integers(8)), widths[0], rng)
    return layout


def _claim(layout: Layout, left: int, top: int, width: float, height: float) -> bool:
    """Return whether a block of nodes is free and on the board; if so it is taken."""
    if left < 0 or top < 0 or left + width > NODES or top + height > NODES:
        return False
    block = layout.taken[left : left + int(width), top : top + int(height)]
    if block.any():
        return False
    block[:] = True
    return True


def _swapped(upright: bool, along: float, across: float) -> tuple[float, float]:
    """Return lengths along and across a footprint as lengths along x and y."""
    return (across, along) if upright else (along, across)


def _place_chip(layout: Layout, column: int, row: int, upright: bool, populated: bool, rng: Generator) -> None:
    """Place two rows of pads, with an outline and a dot, or the chip itself."""
    count, span = int(rng.integers(3, 7)), int(rng.integers(3, 5))
    if not _claim(layout, column, row, *_swapped(upright, count, span + 1)):
        return
    for place in range(count):
        for side, step in ((0, 4 if upright else 6), (span, 0 if upright else 2)):
            right, down = _swapped(upright, place, side)
            layout.pads.append((column + right, row + down, *_swapped(upright, 0.28, 0.42)))
            layout.starts.append((int(column + right), int(row + down), step))
    right, down = _swapped(upright, (count - 1) / 2, span / 2)
    half = _swapped(upright, (count - 1) / 2 + 0.4, span / 2 - (0.4 if populated else 0.7))
    if populated:
        layout.bodies.append((column + right, row + down, *half))
    else:
        _frame(layout, (column + right, row + down), half)
        layout.legends.append((column - 0.1, row + 0.9, column - 0.1, row + 0.9, 0.13))


def _place_pair(layout: Layout, column: int, row: int, upright: bool, populated: bool, rng: Generator) -> None:
    """Place the two pads of a resistor or capacitor, its outline and its name, or the part itself."""
    if not _claim(layout, column, row, *_swapped(upright, 3, 1)):
        return
    for side, step in ((0, 6 if upright else 4), (2, 2 if upright else 0)):
        right, down = _swapped(upright, side, 0)
        layout.pads.append((column + right, row + down, 0.42, 0.48))
        layout.starts.append((int(column + right), int(row + down), step))
    right, down = _swapped(upright, 1, 0)
    if populated:
        layout.bodies.append((column + right, row + down, *_swapped(upright, 0.95, 0.42)))
    else:
        _frame(layout, (column + right, row + down), _swapped(upright, 1.6, 0.6))
    _write(layout, column + right - 0.8, row + down - 1.0 - 0.9 * upright, int(rng.integers(2, 4)), rng)


def _place_row(layout: Layout, column: int, row: int, upright: bool, populated: bool, rng: Generator) -> None:
    """Place a row of drilled pads, the first square, as for a connector."""
    count = int(rng.integers(2, 8))
    if not _claim(layout, column, row, *_swapped(upright, count, 1)):
        return
    layout.pads.append((column, row, 0.4, 0.4))
    for place in range(count):
        right, down = _swapped(upright, place, 0)
        layout.rings.append((column + right, row + down, 0.42, 0.2))
        layout.starts.append((int(column + right), int(row + down), int(rng.integers(2)) * 4 + (0 if upright else 2)))
    if not populated:
        right, down = _swapped(upright, (count - 1) / 2, 0)
        _frame(layout, (column + right, row + down), _swapped(upright, (count - 1) / 2 + 0.55, 0.55))


def _place_mount(layout: Layout, column: int, row: int, upright: bool, populated: bool, rng: Generator) -> None:
    """Place a large drilled pad or a test point."""
    if upright:
        if _claim(layout, column, row, 3, 3):
            layout.rings.append((column + 1, row + 1, 1.3, rng.uniform(0.6, 0.9)))
    elif _claim(layout, column, row, 1, 1):
        layout.rings.append((column, row, 0.45, 0.0))
        layout.starts.append((column, row, int(rng.integers(8))))


def _frame(layout: Layout, middle: tuple[float, float], half: tuple[float, float]) -> None:
    """Draw the outline of a box into the legend."""
    (x, y), (half_x, half_y) = middle, half
    corners = [(x - half_x, y - half_y), (x + half_x, y - half_y), (x + half_x, y + half_y), (x - half_x, y + half_y)]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        layout.legends.append((*start, *end, 0.05))


def _write(layout: Layout, x: float, y: float, count: int, rng: Generator) -> None:
    """Write letters of no alphabet: a few short strokes each."""
    corners = [(0.0, 0.0), (0.36, 0.0), (0.0, 0.3), (0.36, 0.3), (0.0, 0.6), (0.36, 0.6)]
    for letter in range(count):
        chosen = rng.permutation(6)[: int(rng.integers(3, 5))]
        for first, second in pairwise(chosen):
            (from_x, from_y), (to_x, to_y) = corners[first], corners[second]
            left = x + 0.55 * letter
            layout.legends.append((left + from_x, y + from_y, left + to_x, y + to_y, 0.05))


def _route(layout: Layout, column: int, row: int, step: int, half_width: float, rng: Generator) -> None:
    """Lead a trace from a node until something is in the way; it mostly ends in a via."""
    length, moved = int(rng.integers(2, 16)), 0
    for _ in range(length):
        wanted = step + (int(rng.choice([-1, 1])) if rng.random() < 0.18 else 0)
        free = [turn % 8 for turn in (wanted, wanted + 1, wanted - 1) if _free(layout, column, row, turn % 8)]
        if not free:
            break
        step = free[0]
        right, down = _STEPS[step]
        layout.traces.append((column, row, column + right, row + down, half_width))
        column, row, moved = column + right, row + down, moved + 1
        layout.taken[column, row] = True
    if moved and rng.random() < 0.7:
        layout.rings.append((column, row, 0.26, 0.12))


def _free(layout: Layout, column: int, row: int, step: int) -> bool:
    """Return whether the next node is free, and no trace crosses the way to it."""
    right, down = _STEPS[step]
    if not (0 <= column + right < NODES and 0 <= row + down < NODES) or layout.taken[column + right, row + down]:
        return False
    return not (right and down and layout.taken[column + right, row] and layout.taken[column, row + down])
