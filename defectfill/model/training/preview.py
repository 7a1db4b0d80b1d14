"""Evaluation of an adapter in training: the loss on references kept for it, and preview paintings.

Shapes: R the model's resolution.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectfill.config.generate import GenerateConfig
from defectfill.config.train import TrainConfig
from defectfill.io.hashing import derive_seed
from defectfill.io.images import write_png
from defectfill.model.base.base import Base, adapted_precision
from defectfill.model.inpaint.painter import DiffusionPainter
from defectfill.model.inpaint.perceptual import vae_distance
from defectfill.model.training.data import TrainingData
from defectfill.painting.tiles import outlined
from defectfill.painting.window import Window, resize, resize_mask

logger = logging.getLogger(__name__)

PREVIEW_STEPS = 20
"""Sampling steps of a preview at most."""
NEAR_COPY = 0.95
"""A painting of at least this similarity to a reference's defect counts as its copy."""
FLAT = 2 / 255
"""A defect whose pixels vary by less than this (standard deviation, of [0, 1]) is similar to nothing."""
TILE_PX = 160
REACH_PX = 5
"""Largest offset in a tile between a defect and its copy; crops of references are drawn at random."""


@dataclass(frozen=True)
class Preview:
    """Paintings of the adapter at some step."""

    picture: NDArray[np.uint8]
    """[3 TILE_PX, scenes x TILE_PX, 3]: each scene with its mask outlined, painted, and the most similar reference."""
    preview_similarity: float
    """The largest of any painting to any reference, in [-1, 1]."""
    reference: int
    """Index of that reference."""


def paint_preview(base: Base, data: TrainingData, settings: GenerateConfig, seed: int) -> Preview:
    """Paint the scenes with the adapter in the base: one candidate each, in few steps, always from the same noise."""
    quick = {"candidates": 1, "samples_per_batch": 1, "steps": min(settings.steps, PREVIEW_STEPS)}
    painter = DiffusionPainter(base, settings.model_copy(update=quick), vae_distance(base))
    windows, prompts = [scene.window for scene in data.scenes], [scene.prompt for scene in data.scenes]
    seeds = [derive_seed(seed, "preview", index) for index in range(len(windows))]
    with adapted_precision(base):
        paintings = list(painter.paint(windows, seeds, prompts))
    references = [reference.window for reference in data.references]
    columns, found = [], []
    for window, painting in zip(windows, paintings, strict=True):
        painted = replace(window, image=np.where(window.mask[..., None], painting.candidates[0], window.image))
        similarities = [preview_similarity(painted, reference) for reference in references]
        nearest = int(np.argmax(similarities))
        found.append((similarities[nearest], nearest))
        shown = (outlined(_tile(window)), _tile(painted).image, outlined(_tile(references[nearest])))
        columns.append(np.concatenate(shown))
    picture = np.rint(np.concatenate(columns, axis=1).clip(0, 1) * 255).astype(np.uint8)
    return Preview(picture, *max(found))


def _tile(window: Window) -> Window:
    return replace(window, image=resize(window.image, TILE_PX), mask=resize_mask(window.mask, TILE_PX))


def preview_similarity(painted: Window, reference: Window) -> float:
    """Return the correlation of two windows' pixels inside the painted mask, in [-1, 1].

    Pixels count without their mean colour. Both windows are brought to TILE_PX, the reference is moved so that the
    centres of both masks fall together, and then by up to REACH_PX, to where the correlation is highest.
    """
    painted, reference = _tile(painted), _tile(reference)
    top, left = (
        round(ours - theirs) for ours, theirs in zip(_centre(painted.mask), _centre(reference.mask), strict=True)
    )
    rows, columns = np.nonzero(painted.mask)
    ours = _without_mean(painted.image[rows, columns])
    best = -1.0
    for down in range(top - REACH_PX, top + REACH_PX + 1):
        for right in range(left - REACH_PX, left + REACH_PX + 1):
            there = np.clip(rows - down, 0, TILE_PX - 1), np.clip(columns - right, 0, TILE_PX - 1)
            theirs = _without_mean(reference.image[there])
            if min(ours.std(), theirs.std()) >= FLAT:
                best = max(best, float((ours * theirs).mean() / (ours.std() * theirs.std())))
    return best


def _centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (row, column) of the middle of a mask's bounding box."""
    rows, columns = np.nonzero(mask)
    return (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2


def _without_mean(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pixels [N, 3] without each channel's mean."""
    return pixels - pixels.mean(axis=0)


def evaluate_at_intervals(
    base: Base,
    settings: TrainConfig,
    validation_loss: Callable[[], float] | None,
    draw_preview: Callable[[], Preview] | None,
    folder: Path,
    label: str,
) -> Callable[[int], dict[str, float]]:
    """Return the `evaluate` hook of train_loop: figures every settings.eval_every steps and after the last, else {}.

    `validation` is the loss; `preview_similarity` the preview's, whose picture is written to `folder`. A near-copy of a
    reference is said in the log.
    """

    def evaluate(done: int) -> dict[str, float]:
        if done % settings.eval_every and done != settings.steps:
            return {}
        figures: dict[str, float] = {}
        base.unet.eval()
        base.text_encoder.eval()
        if validation_loss is not None:
            figures["validation"] = validation_loss()
        if draw_preview is not None:
            preview = draw_preview()
            write_png(folder / f"{done:06d}.png", preview.picture)
            figures["preview_similarity"] = preview.preview_similarity
            _warn_of_copy(preview, label, done)
        base.unet.train()
        base.text_encoder.train()
        return figures

    return evaluate


def _warn_of_copy(preview: Preview, label: str, done: int) -> None:
    if preview.preview_similarity >= NEAR_COPY:
        logger.warning(
            "%s: after %d steps a preview is nearly a copy of reference %d (similarity %.2f): the adapter "
            "knows it by heart; train fewer steps, at a lower rank, or from more references",
            *(label, done, preview.reference, preview.preview_similarity),
        )
