"""Plots of the report as SVG that stands in the page and takes its colours, so that it is light and dark with it."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK, MUTED, KEPT, REJECTED, REAL = "#100001", "#100002", "#100003", "#100004", "#100005"
"""Stand for variables of the page's style sheet until the SVG is written."""
VARIABLES = {INK: "--ink", MUTED: "--muted", KEPT: "--kept", REJECTED: "--rejected", REAL: "--real"}

SIZE_INCHES = (3.4, 1.9)
BINS = 24
MOST_POINTS = 200
"""Of a curve."""
SMOOTHED_OVER = 50
"""Each point of a loss is the mean of about one part in so many of all steps."""
STROKES = {"total": "-", "defect": "--", "object": ":", "attention": "-."}
"""Of the terms of the loss, which are so told apart without colours."""


def histogram(
    kept: Sequence[float],
    rejected: Sequence[float],
    real: Sequence[float] = (),
    limits: Sequence[float] = (),
    *,
    logarithmic: bool = False,
) -> str:
    """Return an SVG histogram: kept samples, rejected ones hatched upon them, a tick below for each reference.

    limits: dashed lines, where the gate refuses. Of a logarithmic axis only positive values are shown.
    """
    groups = [np.array([x for x in each if not logarithmic or x > 0]) for each in (kept, rejected, real, limits)]
    axes, most = _axes(), 1
    if together := np.concatenate(groups).tolist():
        edges = _edges(min(together), max(together), logarithmic)
        below, above = (np.histogram(each, edges)[0] for each in groups[:2])
        axes.stairs(below, edges, fill=True, color=KEPT)
        axes.stairs(below + above, edges, baseline=below, fill=False, hatch="/////", edgecolor=REJECTED, linewidth=0)
        most = max(int((below + above).max()), 1)
    axes.plot(groups[2], np.full(len(groups[2]), -0.09 * most), "|", color=REAL, markersize=9, markeredgewidth=1.8)
    for limit in groups[3]:
        axes.axvline(limit, color=INK, linestyle=(0, (4, 2)), linewidth=1)
    axes.set_ylim(-0.18 * most, 1.08 * most)
    axes.set_yticks([0, most])
    if logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
        _tick_round_values(axes.xaxis)
    return _svg(axes)


def loss_curves(steps: Sequence[int], terms: Mapping[str, Sequence[float]], validation: Mapping[int, float]) -> str:
    """Return an SVG plot of the terms of the loss over steps, smoothed, and of validation losses as dots."""
    axes = _axes()
    width = min(max(len(steps) // SMOOTHED_OVER, 1), max(len(steps), 1))
    for name, values in terms.items():
        means = np.convolve(values, np.full(width, 1 / width), mode="valid")
        shown = np.unique(np.linspace(0, len(means) - 1, MOST_POINTS).astype(int))
        ends = np.asarray(steps)[width - 1 :]
        color = INK if name == "total" else MUTED
        axes.plot(ends[shown], means[shown], STROKES.get(name, "-"), color=color, linewidth=1.3, label=name)
    if validation:
        axes.plot(list(validation), list(validation.values()), "o", color=REAL, markersize=3, label="validation")
    axes.set_yscale("log")
    axes.minorticks_off()
    _tick_round_values(axes.yaxis)
    above = (-0.08, 1.0)
    axes.legend(
        loc="lower left", bbox_to_anchor=above, borderpad=0, ncols=5, handlelength=1.8, columnspacing=1,
        fontsize=8, frameon=False, labelcolor=INK,
    )  # fmt: skip
    return _svg(axes)


def _edges(lowest: float, highest: float, logarithmic: bool) -> NDArray[np.float64]:
    """Return edges of bins that hold all values."""
    if logarithmic:
        return np.geomspace(lowest / 1.01, highest * 1.01, BINS + 1)
    room = max((highest - lowest) * 0.01, 1e-6)
    return np.linspace(lowest - room, highest + room, BINS + 1)


def _tick_round_values(axis: "Axis") -> None:
    """Label a logarithmic axis at 1, 2 and 5 times powers of ten, or at the powers alone where it spans many."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _axes() -> "Axes":
    """Return empty axes in the page's colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES)
    figure.subplots_adjust(left=0.12, right=0.98, top=0.89, bottom=0.15)
    axes = figure.subplots()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=8, width=0.6, which="both")
    for side, spine in axes.spines.items():
        spine.set(color=MUTED, linewidth=0.6, visible=side in ("left", "bottom"))
    return axes


def _svg(axes: "Axes") -> str:
    """Return axes as an SVG element without a size of its own; equal plots give equal text."""
    from matplotlib import rc_context

    content, figure = io.StringIO(), axes.get_figure(root=True)
    assert figure is not None
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "defectfill"}):
        figure.savefig(content, format="svg", metadata=nothing)
    _, start, text = content.getvalue().partition("<svg")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return start + re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would count for the whole page


def numbered(svg: str, number: int) -> str:
    """Return an SVG whose ids are no other's in the page."""
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>plot{number}-", svg)
