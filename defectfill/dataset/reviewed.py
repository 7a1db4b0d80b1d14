"""What a review makes of the rows that shards wrote."""

import pyarrow as pa
import pyarrow.compute as pc

from defectfill.records.manifest import REVIEWED, VAE_NORMAL
from defectfill.runs.review import Review

APART = "rejected/"
"""Before the paths of a rejected sample's image and drawn mask."""


def reviewed(rows: pa.Table, review: Review) -> pa.Table:
    """Return rows of a shard as manifest.REJECTED_SCHEMA has them, with what people decided of them.

    What the gates kept and a person took out is rejected, its paths those of rejected samples; its VAE normal goes.
    """
    if not review.decisions:
        return rows.append_column("review", pa.nulls(len(rows), pa.string()))
    taken_out = pa.array(review.taken_out, pa.string())
    normals = pa.array([f"{VAE_NORMAL}{sample_id}" for sample_id in review.taken_out], pa.string())
    rows = rows.filter(pc.invert(pc.is_in(rows["sample_id"], normals)))
    decided = (review.decisions.get(sample_id) for sample_id in rows["sample_id"].to_pylist())
    words = pa.array([each.decision if each else None for each in decided], pa.string())
    leaving = pc.and_(pc.equal(rows["reason"], ""), pc.is_in(rows["sample_id"], taken_out))
    changed = {"reason": REVIEWED} | {
        name: pc.binary_join_element_wise(APART, rows[name], "")
        for name in ("image_path", "mask_path", "drawn_mask_path")
    }
    for name, column in changed.items():
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, rows.schema.field(index), pc.if_else(leaving, column, rows[name]))
    return rows.append_column("review", words)


def path_in_shard(path: str, reason: str) -> str:
    """Return where a shard has a file of a row that `reviewed` returned."""
    return path.removeprefix(APART) if reason == REVIEWED else path
