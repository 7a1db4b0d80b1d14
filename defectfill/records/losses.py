"""The losses of a training step, as columns of losses.parquet."""

LOSSES = ("total", "defect", "object", "attention")
"""The weighted sum, then its terms, unweighted."""
