"""Samples as the page's script gets them: plain values for JSON, figures rounded to what one can read."""

import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from defectfill.dataset.report.samples import PaintedSample
from defectfill.dataset.report.scenes import DrawnSample, Scenes

DIGITS = 4


def sample_records(samples: Iterable[PaintedSample], scenes: Scenes) -> list[dict[str, Any]]:
    """Return a record per sample, in their order; `picture` is null where its image was not kept."""
    return [_record(sample, scenes) for sample in samples]


def _record(sample: PaintedSample, scenes: Scenes) -> dict[str, Any]:
    row, drawn = sample.row, scenes.samples.get(sample.row.sample_id)
    source = scenes.sources[row.source_path]
    return {
        "id": row.sample_id,
        "defect": row.defect,
        "reason": row.reason,
        "applied": sample.review,
        "note": sample.note,
        "source": source.number,
        "window": row.window,
        "sampler": row.mask_sampler,
        "seed": str(row.seed),  # 64 bits are more than a script's numbers hold
        "prompt": row.prompt,
        "cells": rounded(row.latent_cells),
        "area": rounded(row.mask_area_fraction),
        "iou": rounded(row.planned_iou),
        "off": rounded(row.off_mask_fraction),
        "contrast": rounded(row.contrast),
        "seam": rounded(row.seam_gradient),
        "texture": [rounded(each) for each in row.texture],
        "edge": [rounded(each) for each in row.edge_sharpness],
        "correlation": rounded(row.reference_correlation),
        "distance": rounded(row.appearance_distance),
        "scores": [rounded(each) for each in row.candidate_scores],
        "early": [rounded(each) for each in row.early_scores],
        "chosen": row.candidate_index,
        "score": rounded(row.score),
        "drawn": rounded(row.drawn_fraction),
        **_picture(drawn),
    }


def _picture(drawn: DrawnSample | None) -> dict[str, Any]:
    if drawn is None:
        return {"picture": None}
    return {"picture": drawn.number, "side": drawn.side, "planned": drawn.planned, "label": drawn.label}


def source_records(scenes: Scenes, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a record per source, in the order of their numbers.

    names: of real images in the category's folder, by their ids.
    """
    sources = sorted(scenes.sources.values(), key=lambda source: source.number)
    paths = [names.get(PurePosixPath(each.path).stem, each.path) for each in sources]
    return [
        {"path": path, "width": each.width, "height": each.height} for path, each in zip(paths, sources, strict=True)
    ]


def rounded(value: float | None) -> float | None:
    """Return a value to DIGITS significant digits; None for none, nan and infinity, which JSON does not have."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None
