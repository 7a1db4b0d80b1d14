"""From planned samples to kept or rejected ones, in one straight line. Read this first."""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectfill.adapters.files import adapter_sha256
from defectfill.config.generate import GenerateConfig
from defectfill.io.errors import DataError
from defectfill.io.files import damage_named, new_folder, write_bytes, write_rows
from defectfill.io.gpu_lock import gpu_lock
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray, file_sha256, read_image, write_png
from defectfill.io.prefetch import prefetch
from defectfill.io.progress import progress
from defectfill.painting.gates import Gate, Reason
from defectfill.painting.label import draw_label, intersection_over_union
from defectfill.painting.measures import Measures, measure_sample
from defectfill.painting.painter import Painter, Painting
from defectfill.painting.selection import select_low_fidelity
from defectfill.painting.stitch import background_intact, stitch
from defectfill.painting.window import Window, crop_window, is_window_of
from defectfill.records.manifest import REJECTED_SCHEMA, ManifestRow
from defectfill.records.plan import SampleSpec, Shard
from defectfill.runs.plan import REMEDY, planned_mask_sha256, read_plan, read_planned_mask
from defectfill.runs.run import Run
from defectfill.runs.shards import ROWS_FILE
from defectfill.runs.timings import timed
from defectfill.synthesis.gate import gate_of
from defectfill.synthesis.reuse import BATCH_FILE, DIGEST_FILE, find_painted, shard_digest

PREFETCHED = 4
"""Sources that are read, and samples that are painted, before they are needed."""


@dataclass(frozen=True)
class Sample:
    """What has become of one row of the plan, with one of its candidates."""

    spec: SampleSpec
    image: ImageArray
    """[H, W, C], the source's size, bit depth and channels."""
    drawn_mask: NDArray[np.bool_]
    """[H, W]"""
    planned_iou: float
    drawn_fraction: float
    off_mask_fraction: float
    background_intact: bool
    scores: tuple[float, ...]
    early_scores: tuple[float, ...]
    chosen: int
    measures: Measures
    reference_correlation: float
    """To the reference that is most alike."""
    appearance_distance: float
    """Distance of its looks to the nearest reference's."""
    reason: Reason | None
    """None: kept."""
    vae_normal: ImageArray | None
    """[H, W, C]: the source after the same window, VAE and blend, without a defect; for a share of the samples."""


def synthesize(
    specs: Sequence[SampleSpec],
    scenes: Iterable[tuple[ImageArray, NDArray[np.bool_]]],
    painter: Painter,
    gate: Gate,
    settings: GenerateConfig,
    resolution: int,
) -> Iterator[Sample]:
    """One shard: planned samples to kept or rejected samples, in plan order.

    scenes: the source [H, W, C] (8 or 16 bit) and the planned mask [H, W] of each spec. The next ones are read and
    painted while a sample is finished.
    """
    paintings = _paint(specs, prefetch(iter(scenes), PREFETCHED), painter, resolution)
    for spec, (source, planned_mask, painting) in zip(specs, prefetch(paintings, PREFETCHED), strict=True):
        numbers = [select_low_fidelity(painting.scores)] if settings.choice == "lfs" else painting.numbers
        samples = [finish(spec, source, planned_mask, painting, number, gate, settings) for number in numbers]
        yield max(samples, key=lambda sample: (sample.reason is None, sample.planned_iou - sample.appearance_distance))


def _paint(
    specs: Sequence[SampleSpec],
    scenes: Iterator[tuple[ImageArray, NDArray[np.bool_]]],
    painter: Painter,
    resolution: int,
) -> Iterator[tuple[ImageArray, NDArray[np.bool_], Painting]]:
    """Every scene with its painting."""
    taken: deque[tuple[ImageArray, NDArray[np.bool_]]] = deque()

    def windows() -> Iterator[Window]:
        for spec, scene in zip(specs, scenes, strict=True):
            taken.append(scene)
            yield crop_window(*scene, spec.window, resolution)

    for painting in painter.paint(windows(), [spec.seed for spec in specs], [spec.prompt for spec in specs]):
        yield *taken.popleft(), painting


def finish(
    spec: SampleSpec,
    source: ImageArray,
    planned_mask: NDArray[np.bool_],
    painting: Painting,
    number: int,
    gate: Gate,
    settings: GenerateConfig,
) -> Sample:
    """The sample that candidate `number` makes: put into its source, labelled, measured and judged."""
    candidate = painting.candidate(number)
    image = stitch(source, candidate, spec.window, planned_mask)
    drawn_mask = draw_label(
        source, candidate, painting.reconstruction, spec.window, planned_mask, min_change=settings.min_change
    )
    intact = background_intact(source, image, spec.window, planned_mask)
    assert intact, f"{spec.sample_id}: the background was changed"
    drawn_fraction = float((drawn_mask & planned_mask).sum() / planned_mask.sum())
    off_mask_fraction = float((drawn_mask & ~planned_mask).sum() / max(drawn_mask.sum(), 1))
    measures = measure_sample(image, drawn_mask, planned_mask, spec.window)
    verdict = gate.judge(measures, drawn_fraction, off_mask_fraction)
    return Sample(
        spec=spec,
        image=image,
        drawn_mask=drawn_mask,
        planned_iou=intersection_over_union(planned_mask, drawn_mask),
        drawn_fraction=drawn_fraction,
        off_mask_fraction=off_mask_fraction,
        background_intact=intact,
        scores=tuple(float(score) for score in painting.scores),
        early_scores=painting.early_scores,
        chosen=number,
        measures=measures,
        reference_correlation=verdict.reference_correlation,
        appearance_distance=verdict.appearance_distance,
        reason=verdict.reason,
        vae_normal=(
            stitch(source, painting.reconstruction, spec.window, planned_mask)
            if np.random.default_rng(derive_seed(spec.seed, "codec normal")).random() < settings.vae_normals
            else None
        ),
    )


def inpaint_shard(run: Run, shard: Shard, painter: Painter | None = None) -> None:
    """The inpaint step for one shard: images, masks and their rows in a folder that appears when all is written.

    What another run of the category has painted of the same samples in the same way is copied.

    painter: in place of the run's base with the defect's adapter. Raises DataError when a source is no longer the file
    that was planned with.
    """
    config, adapter = run.config, adapter_sha256(run, shard.defect)
    specs = [spec for spec in read_plan(run, shard.defect, shard.start, shard.stop) if not spec.reason]
    content = shard_digest(run, shard, specs, adapter)
    if painted := find_painted(run, shard, content):
        with new_folder(run.shard_folder(shard), replace=True) as folder:
            shutil.copytree(painted, folder, dirs_exist_ok=True)
        return
    with (
        gpu_lock(run.record.device),
        timed(run, "inpaint", shard=shard.name, painted=len(specs)),
        new_folder(run.shard_folder(shard), replace=True) as folder,
    ):
        samples = synthesize(
            specs,
            (_read_scene(run, spec) for spec in specs),
            painter or _open_painter(run, shard.defect),
            gate_of(run.folder, shard.defect),
            config.generate,
            config.base.resolution,
        )
        total = max(config.generate.count, shard.stop)
        watched = progress(samples, f"inpaint {shard.defect}", done=shard.start, total=total)
        rows = [row for sample in watched for row in _write_sample(run, adapter, folder, sample)]
        write_rows(folder / ROWS_FILE, [row.model_dump() for row in rows], REJECTED_SCHEMA)
        write_bytes(folder / DIGEST_FILE, content.encode())


def _open_painter(run: Run, defect: str) -> Painter:
    """The run's base with the adapter of a defect."""
    from defectfill.model.inpaint.painter import open_painter

    config, adapter = run.config, run.adapter_folder(defect)
    return open_painter(config.base, config.generate, run.record.distance, adapter, run.folder / BATCH_FILE)


def _read_scene(run: Run, spec: SampleSpec) -> tuple[ImageArray, NDArray[np.bool_]]:
    """The source and the planned mask of a sample; DataError where they are not what was planned with."""
    path = run.config.category_folder / spec.source_path
    if file_sha256(path) != spec.source_sha256:
        raise DataError(f"{path}: expected the file that was planned with, found another content; run again")
    source, planned_mask = read_image(path), read_planned_mask(run, spec.planned_mask_path)
    with damage_named(run.plan_path, REMEDY):
        if np.float32(planned_mask.mean()) != np.float32(spec.mask_area_fraction):
            raise ValueError(f"row {spec.sample_id}: another planned mask than {spec.planned_mask_path}")
        if planned_mask.shape != source.shape[:2] or not is_window_of(spec.window, planned_mask):
            raise ValueError(
                f"row {spec.sample_id}: {spec.source_path}, planned mask and window do not belong together"
            )
    return source, planned_mask


def _write_sample(run: Run, adapter: str, folder: Path, sample: Sample) -> Iterator[ManifestRow]:
    """Writes image and drawn mask where the dataset will have them, below the shard's folder; gives the row.

    Before it the row of the same window without a defect, where there is one.
    """
    config, spec = run.config, sample.spec
    rejected = "rejected/" if sample.reason else ""
    height, width = sample.drawn_mask.shape
    painted: dict[str, Any] = {
        "category": config.category,
        "split": "train",
        "origin": "synthetic",
        "width": width,
        "height": height,
        "source_path": spec.source_path,
        "source_sha256": spec.source_sha256,
        "planned_mask_path": spec.planned_mask_path,
        "planned_mask_sha256": planned_mask_sha256(run, spec.planned_mask_path),
        "window": spec.window,
        "latent_cells": spec.latent_cells,
        "background_intact": sample.background_intact,
        "base_model": run.record.base.model,
        "base_revision": run.record.base.revision,
        "mask_sampler": spec.mask_sampler,
        "mask_area_fraction": spec.mask_area_fraction,
    }
    if sample.vae_normal is not None and not sample.reason:
        sample_id = f"vae-{spec.sample_id}"
        image_path = f"images/good/{sample_id}.png"
        yield ManifestRow(
            **painted,
            sample_id=sample_id,
            image_path=image_path,
            image_sha256=write_png(folder / image_path, sample.vae_normal),
            label_index=0,
            defect="good",
        )
    image_path = f"{rejected}images/{spec.defect}/{spec.sample_id}.png"
    mask_path = f"{rejected}masks/{spec.defect}/{spec.sample_id}.png"
    yield ManifestRow(
        **painted,
        sample_id=spec.sample_id,
        image_path=image_path,
        mask_path=mask_path,
        label_index=1,
        defect=spec.defect,
        image_sha256=write_png(folder / image_path, sample.image),
        mask_sha256=write_png(folder / mask_path, sample.drawn_mask),
        drawn_mask_path=mask_path,
        planned_iou=sample.planned_iou,
        drawn_fraction=sample.drawn_fraction,
        off_mask_fraction=sample.off_mask_fraction,
        contrast=sample.measures.contrast,
        seam_gradient=sample.measures.seam_gradient,
        reference_correlation=sample.reference_correlation,
        appearance_distance=sample.appearance_distance,
        adapter_sha256=adapter,
        prompt=spec.prompt,
        seed=spec.seed,
        steps=config.generate.steps,
        guidance_scale=config.generate.guidance_scale,
        candidate_scores=sample.scores,
        early_scores=sample.early_scores,
        candidate_index=sample.chosen,
        score=sample.scores[sample.chosen],
        reason=sample.reason or "",
    )
