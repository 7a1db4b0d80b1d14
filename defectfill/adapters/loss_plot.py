"""The loss curve of a training, as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defectfill.io.files import write_bytes
from defectfill.records.losses import LOSSES

SMOOTHED_OVER = 50
"""Each point is the mean of about one part in so many of all steps."""


def plot_losses(curve: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Write a PNG of a loss curve: each term over steps, faint, and smoothed; validation losses as dots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = np.array([row["step"] for row in curve]) + 1
    width = min(max(len(curve) // SMOOTHED_OVER, 1), len(curve))
    for name in LOSSES:
        values = np.array([row[name] for row in curve])
        (line,) = axes.plot(steps, values, alpha=0.2, linewidth=0.5)
        means = np.convolve(values, np.full(width, 1 / width), mode="valid")
        axes.plot(steps[width - 1 :], means, color=line.get_color(), label=name)
    validation = [(row["step"] + 1, row["validation"]) for row in curve if "validation" in row]
    if validation:
        axes.plot(*zip(*validation, strict=True), "k.-", label="validation (total)")
    axes.set(title=title, xlabel="steps", ylabel="loss", yscale="log")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    write_bytes(path, content.getvalue())
