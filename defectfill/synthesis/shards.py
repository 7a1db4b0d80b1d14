"""One shard of a run: read from the plan, painted, judged and written."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectfill.adapters.files import adapter_sha256
from defectfill.dataset.annotated import annotation_margin_px
from defectfill.io.files import damage_named, new_folder, write_bytes, write_rows
from defectfill.io.gpu_lock import gpu_lock
from defectfill.io.images import ImageArray, write_png
from defectfill.io.white_level import read_stretched, unstretched, white_of
from defectfill.painting.painter import Painter
from defectfill.painting.window import is_window_of
from defectfill.records.manifest import SHARD_SCHEMA, VAE_NORMAL, ManifestRow
from defectfill.records.plan import SampleSpec, Shard
from defectfill.records.snapshot import ingested, white_level_in
from defectfill.runs.plan import REMEDY, planned_mask_sha256, read_plan, read_planned_mask
from defectfill.runs.run import Run
from defectfill.runs.shards import ROWS_FILE
from defectfill.runs.timings import timed
from defectfill.synthesis.calibration import calibrated_gate
from defectfill.synthesis.detail import detail_gain
from defectfill.synthesis.painters import open_painter
from defectfill.synthesis.reuse import DIGEST_FILE, find_painted, shard_digest
from defectfill.synthesis.synthesize import Sample, synthesize


def inpaint_shard(run: Run, shard: Shard, painter: Painter | None = None) -> None:
    """Paint one shard: images, masks and their rows, in a folder that appears when all is written.

    What another run of the category has painted of the same samples in the same way is copied.

    painter: in place of the run's own. Raises DataError when a source is no longer the file
    that was planned with.
    """
    config = run.config
    adapter = adapter_sha256(run, shard.defect) if config.generate.uses_base else ""
    specs = [spec for spec in read_plan(run, shard.defect, shard.start, shard.stop) if not spec.reason]
    white = white_level_in(run.snapshot())
    content = shard_digest(run, shard, specs, adapter)
    if painted := find_painted(run, shard, content):
        with new_folder(run.shard_folder(shard), replace=True) as folder:
            shutil.copytree(painted, folder, dirs_exist_ok=True)
        return
    with (
        gpu_lock(run.record.device, int(config.base.device.partition(":")[2] or 0)),
        timed(run, "inpaint", shard=shard.name, painted=len(specs)),
        new_folder(run.shard_folder(shard), replace=True) as folder,
    ):
        samples = synthesize(
            specs,
            (_read_scene(run, spec, white) for spec in specs),
            painter or open_painter(run, shard.defect),
            calibrated_gate(run.folder, shard.defect),
            config.generate,
            config.base.resolution,
            detail_gain(run.folder, shard.defect),
            annotation_margin_px(run.folder, shard.defect),
            white,
        )
        written = (_write_sample(run, adapter, folder, restored(sample, white), white) for sample in samples)
        rows = [row for each in written for row in each]
        write_rows(folder / ROWS_FILE, [row.model_dump() for row in rows], SHARD_SCHEMA)
        write_bytes(folder / DIGEST_FILE, content.encode())


def _read_scene(run: Run, spec: SampleSpec, white: int) -> tuple[ImageArray, NDArray[np.bool_]]:
    """Return source [H, W, C] and planned mask [H, W] of a sample; DataError where they are not those of the plan.

    white: the white level of a source of 16 bits.
    """
    path = ingested(run.config.category_folder / spec.source_path, spec.source_sha256)
    source, planned_mask = read_stretched(path, white), read_planned_mask(run, spec.planned_mask_path)
    with damage_named(run.plan_path, REMEDY):
        if np.float32(planned_mask.mean()) != np.float32(spec.mask_area_fraction):
            raise ValueError(f"row {spec.sample_id}: another planned mask than {spec.planned_mask_path}")
        if planned_mask.shape != source.shape[:2] or not is_window_of(spec.window, planned_mask):
            raise ValueError(
                f"row {spec.sample_id}: {spec.source_path}, planned mask and window do not belong together"
            )
    return source, planned_mask


def restored(sample: Sample, white: int) -> Sample:
    """Return a sample with its images in the range of their source's file."""
    clean = sample.vae_normal
    return replace(
        sample,
        image=unstretched(sample.image, white),
        vae_normal=None if clean is None else unstretched(clean, white),
    )


def _write_sample(run: Run, adapter: str, folder: Path, sample: Sample, white: int) -> Iterator[ManifestRow]:
    """Write the files of a sample where the dataset will have them, below the shard's folder, and yield their rows.

    First that of the same window without a defect, where there is one.
    """
    shared = _shared_values(run, sample, white)
    if sample.vae_normal is not None and not sample.reason:
        yield _write_vae_normal(folder, sample, sample.vae_normal, shared)
    yield _write_defect(run, adapter, folder, sample, shared)


def _write_vae_normal(folder: Path, sample: Sample, image: ImageArray, shared: dict[str, Any]) -> ManifestRow:
    sample_id = f"{VAE_NORMAL}{sample.spec.sample_id}"
    image_path = f"images/good/{sample_id}.png"
    return ManifestRow(
        **shared,
        sample_id=sample_id,
        image_path=image_path,
        image_sha256=write_png(folder / image_path, image),
        label_index=0,
        defect="good",
    )


def _write_defect(run: Run, adapter: str, folder: Path, sample: Sample, shared: dict[str, Any]) -> ManifestRow:
    """Write image and drawn mask, apart where the sample is rejected, and return their row."""
    spec, generate = sample.spec, run.config.generate
    rejected = "rejected/" if sample.reason else ""
    image_path = f"{rejected}images/{spec.defect}/{spec.sample_id}.png"
    mask_path = f"{rejected}masks/{spec.defect}/{spec.sample_id}.png"
    return ManifestRow(
        **shared,
        sample_id=spec.sample_id,
        image_path=image_path,
        mask_path=mask_path,
        label_index=1,
        defect=spec.defect,
        image_sha256=write_png(folder / image_path, sample.image),
        mask_sha256=write_png(folder / mask_path, sample.drawn_mask),
        drawn_mask_path=mask_path,
        changed_fraction=sample.changed_fraction,
        planned_iou=sample.planned_iou,
        drawn_fraction=sample.drawn_fraction,
        off_mask_fraction=sample.off_mask_fraction,
        contrast=sample.measures.contrast,
        seam_gradient=sample.measures.seam_gradient,
        texture=sample.measures.texture,
        edge_sharpness=sample.measures.edge_sharpness,
        reference_correlation=sample.reference_correlation,
        appearance_distance=sample.appearance_distance,
        adapter_sha256=adapter,
        prompt=spec.prompt,
        seed=spec.seed,
        steps=generate.steps if generate.uses_base else None,
        guidance_scale=generate.guidance_scale if generate.uses_base else None,
        candidate_scores=sample.scores,
        early_scores=sample.early_scores,
        candidate_index=sample.chosen,
        score=sample.scores[sample.chosen],
        reason=sample.reason or "",
    )


def _shared_values(run: Run, sample: Sample, white: int) -> dict[str, Any]:
    """Return the values that the rows of a sample and of its VAE normal have in common."""
    spec, base = sample.spec, run.record.base
    height, width = sample.drawn_mask.shape
    return {
        "category": run.config.category,
        "split": "train",
        "origin": "synthetic",
        "width": width,
        "height": height,
        "white_level": white_of(sample.image, white),
        "source_path": spec.source_path,
        "source_sha256": spec.source_sha256,
        "planned_mask_path": spec.planned_mask_path,
        "planned_mask_sha256": planned_mask_sha256(run, spec.planned_mask_path),
        "window": spec.window,
        "latent_cells": spec.latent_cells if run.config.generate.uses_base else None,
        "background_intact": sample.background_intact,
        "base_model": base.model,
        "base_revision": base.revision,
        "mask_sampler": spec.mask_sampler,
        "mask_area_fraction": spec.mask_area_fraction,
    }
