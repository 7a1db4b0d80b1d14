"""The schemas of the tables on disk follow from their row models."""

import pyarrow as pa

from defectfill.records.arrow import arrow_schema
from defectfill.records.manifest import METADATA_SCHEMA, REJECTED_SCHEMA, RENAMED_COLUMNS, SCHEMA
from defectfill.records.plan import SCHEMA as PLAN_SCHEMA
from defectfill.records.snapshot import ImageRecord

TEXT, WINDOW, SCORES = pa.string(), pa.list_(pa.int32(), 4), pa.list_(pa.float32())
MANIFEST = {
    "sample_id": TEXT,
    "image_path": TEXT,
    "mask_path": TEXT,
    "label_index": pa.int8(),
    "category": TEXT,
    "defect": TEXT,
    "split": TEXT,
    "origin": TEXT,
    "width": pa.int32(),
    "height": pa.int32(),
    "white_level": pa.int32(),
    "image_sha256": TEXT,
    "mask_sha256": TEXT,
    "sampling_weight": pa.float32(),
    "source_path": TEXT,
    "source_sha256": TEXT,
    "planned_mask_path": TEXT,
    "planned_mask_sha256": TEXT,
    "drawn_mask_path": TEXT,
    "changed_fraction": pa.float32(),
    "planned_iou": pa.float32(),
    "drawn_fraction": pa.float32(),
    "off_mask_fraction": pa.float32(),
    "contrast": pa.float32(),
    "seam_gradient": pa.float32(),
    "texture": SCORES,
    "edge_sharpness": SCORES,
    "reference_correlation": pa.float32(),
    "appearance_distance": pa.float32(),
    "window": WINDOW,
    "latent_cells": pa.float32(),
    "background_intact": pa.bool_(),
    "base_model": TEXT,
    "base_revision": TEXT,
    "adapter_sha256": TEXT,
    "prompt": TEXT,
    "seed": pa.int64(),
    "steps": pa.int32(),
    "guidance_scale": pa.float32(),
    "candidate_scores": SCORES,
    "early_scores": SCORES,
    "candidate_index": pa.int32(),
    "score": pa.float32(),
    "mask_sampler": TEXT,
    "mask_area_fraction": pa.float32(),
    "reason": TEXT,
    "review": TEXT,
}
METADATA = {
    "file_name": TEXT,
    "mask_file_name": TEXT,
    "label": pa.int8(),
    "defect": TEXT,
    "split": TEXT,
    "origin": TEXT,
    "sampling_weight": pa.float32(),
}
PLAN = {
    "sample_id": TEXT,
    "defect": TEXT,
    "index": pa.int32(),
    "seed": pa.int64(),
    "prompt": TEXT,
    "source_path": TEXT,
    "source_sha256": TEXT,
    "planned_mask_path": TEXT,
    "window": WINDOW,
    "latent_cells": pa.float32(),
    "mask_sampler": TEXT,
    "mask_like": pa.list_(TEXT),
    "mask_area_fraction": pa.float32(),
    "reason": TEXT,
}
SNAPSHOT = {
    "path": TEXT,
    "role": TEXT,
    "defect": TEXT,
    "split": TEXT,
    "width": pa.int32(),
    "height": pa.int32(),
    "channels": pa.int8(),
    "bit_depth": pa.int8(),
    "sha256": TEXT,
    "content_sha256": TEXT,
    "mask_path": TEXT,
    "mask_sha256": TEXT,
    "mask_area_px": pa.int64(),
    "group": TEXT,
    "white_level": pa.int32(),
    "perceptual_hash": TEXT,
}


def test_the_columns_that_readers_know_keep_their_order_and_their_types() -> None:
    assert REJECTED_SCHEMA.equals(pa.schema(MANIFEST))
    assert pa.schema({name: kind for name, kind in MANIFEST.items() if name != "reason"}).equals(SCHEMA)
    assert METADATA_SCHEMA.equals(pa.schema(METADATA))
    assert PLAN_SCHEMA.equals(pa.schema(PLAN))
    assert arrow_schema(ImageRecord).equals(pa.schema(SNAPSHOT))


def test_columns_that_were_renamed_are_known_by_their_old_names() -> None:
    assert RENAMED_COLUMNS == {
        "rim_step": "seam_gradient",
        "likeness": "reference_correlation",
        "strangeness": "appearance_distance",
    }
