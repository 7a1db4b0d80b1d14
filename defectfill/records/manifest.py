"""The manifest: one row per image of a dataset, real and synthetic."""

from collections import Counter
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator

from defectfill.config.loading import Formerly, renamed
from defectfill.io.files import InnerPath
from defectfill.records.arrow import Int8, Int64, arrow_schema

Split = Literal["train", "test"]
Decision = Literal["keep", "reject", "unsure", "wrong_label"]
"""The words of a review."""

TAKEN_OUT = ("reject", "wrong_label")
"""Those by which a sample leaves the dataset."""

REVIEWED = "review"
"""The reason of samples that the gates kept and a person took out."""

VAE_NORMAL = "vae-"
"""What the id of a VAE normal has before that of the sample whose window it shows."""


class ManifestRow(BaseModel):
    """One image of the dataset. Paths are relative to the dataset's folder, with forward slashes.

    The fields from source_path on are of synthetic images; a real image leaves them at their defaults.
    """

    model_config = ConfigDict(frozen=True)

    sample_id: str
    image_path: InnerPath
    mask_path: InnerPath = ""
    """Empty for normals. The label: 8 bit, 0 and 255, the image's size."""
    label_index: Int8
    """0 normal, 1 anomalous."""
    category: str
    defect: str
    """`good` for normals."""
    split: Split
    """`train` or `test`; held-out defects and test normals are test, synthetic images always train."""
    origin: Literal["real", "synthetic"]
    """`real` or `synthetic`."""
    width: int
    height: int
    white_level: int = 255
    """The value of white in the image: 255; of 16 bits 65535, or less where its camera has fewer bits."""
    image_sha256: str
    mask_sha256: str = ""
    sampling_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight for a random sampler over train; 0 in test."""
    source_path: InnerPath = ""
    """The normal that was painted on."""
    source_sha256: str = ""
    planned_mask_path: InnerPath = ""
    """Where the defect was asked for."""
    planned_mask_sha256: str = ""
    drawn_mask_path: InnerPath = ""
    """What was pasted: mask_path too, unless dataset.label says otherwise. All other pixels are the source's."""
    changed_fraction: float | None = None
    """Share of the drawn mask that differs from the source: their intersection over union."""
    planned_iou: float | None = None
    """Intersection over union of planned and drawn mask."""
    drawn_fraction: float | None = None
    """Share of the planned mask that was drawn; the gate grows the drawn mask by the references' margin before."""
    off_mask_fraction: float | None = None
    """Share of the drawn mask outside the planned one."""
    contrast: float | None = None
    """Root mean square difference of the defect from its surroundings, over their brightness."""
    seam_gradient: Annotated[float | None, Formerly("rim_step")] = None
    """Median gradient around the planned mask per pixel of a window of 128, over the surroundings' brightness."""
    texture: tuple[float, ...] = Field(default=())
    """Fine structure inside the defect, over the surroundings' brightness: root mean squares of the bands below 1, 1 to
    2 and 2 to 4 pixels of the source, then below 1 and 1 to 2 pixels of a window of 128."""
    edge_sharpness: tuple[float, ...] = Field(default=())
    """How much of the range over 9 pixels the defect's edge passes within 3: pixels of the source, then of a window of
    128."""
    reference_correlation: Annotated[float | None, Formerly("likeness")] = None
    """Correlation with the reference that is most alike."""
    appearance_distance: Annotated[float | None, Formerly("strangeness")] = None
    """Distance in contrast and shade to the nearest reference, over the references' median contrast."""
    window: tuple[int, int, int, int] | None = None
    """left, top, right, bottom of the crop window in source pixels."""
    latent_cells: float | None = None
    """How many latent cells the planned mask's width spans in the window."""
    background_intact: bool | None = None
    """That this was checked, pixel by pixel."""
    base_model: str = ""
    """Empty, as are base_revision, adapter_sha256, prompt and steps, where the painter needs no base."""
    base_revision: str = ""
    adapter_sha256: str = ""
    prompt: str = ""
    seed: Int64 | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    candidate_scores: tuple[float, ...] = Field(default=())
    """Distances of all candidates to the source, inside the planned mask: perceptual, or of a painter without a base of
    pixels; nan of those dropped early."""
    early_scores: tuple[float, ...] = Field(default=())
    """By which they were dropped: how far the predicted latents were from the source's; empty where none was."""
    candidate_index: int | None = None
    score: float | None = None
    mask_sampler: str = ""
    mask_area_fraction: float | None = None
    """Of the planned mask, of the whole image."""
    reason: str = ""
    """Why it was rejected; only in rejected.parquet."""
    review: Decision | None = None
    """The word of a person who looked at it; null where no one has."""

    @field_validator("window")
    @classmethod
    def _square(cls, window: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if window is not None and not 0 < window[2] - window[0] == window[3] - window[1]:
            raise ValueError("expected a square")
        return window


REJECTED_SCHEMA = arrow_schema(ManifestRow)
"""rejected.parquet"""

SHARD_SCHEMA = pa.schema([field for field in REJECTED_SCHEMA if field.name != "review"])
"""The parts that shards write: of both tables what painting tells."""

SCHEMA = pa.schema([field for field in REJECTED_SCHEMA if field.name != "reason"])
"""manifest.parquet"""

RENAMED_COLUMNS = renamed(ManifestRow)
"""New names of columns by those that earlier versions gave them."""

LATER_COLUMNS = ("review",)
"""Columns that datasets of earlier versions lack; as good as null there."""

FILE_COLUMNS = ("image_path", "mask_path", "drawn_mask_path", "planned_mask_path")
"""Paths of a row's own files; all empty for a rejected sample whose images did not come along."""

METADATA_COLUMNS = {
    "file_name": "image_path",
    "mask_file_name": "mask_path",
    "label": "label_index",
    "defect": "defect",
    "split": "split",
    "origin": "origin",
    "sampling_weight": "sampling_weight",
}
"""Columns of metadata.parquet, the table by which Hugging Face's imagefolder reads the dataset as it stands, and the
manifest's columns that they hold."""

METADATA_SCHEMA = pa.schema([(name, SCHEMA.field(column).type) for name, column in METADATA_COLUMNS.items()])
"""metadata.parquet"""

SPLIT_TABLES = {"train": "trainmetadata.parquet", "test": "testmetadata.parquet"}
"""The same table of one split alone, by the split: the dataset's card names them, since readers divide by files.

Names with train or test as a word of their own would have readers without the card take these for all that there is.
"""


def metadata_table(manifest: pa.Table, split: str | None = None) -> pa.Table:
    """Return the rows of metadata.parquet for rows of the manifest, or of a split of it; a normal's mask is null."""
    if split is not None:
        manifest = manifest.filter(pc.equal(manifest["split"], split))
    masks = manifest["mask_path"]
    columns = {name: manifest[column] for name, column in METADATA_COLUMNS.items()}
    columns["mask_file_name"] = pc.if_else(pc.equal(masks, ""), None, masks)
    return pa.table(list(columns.values()), schema=METADATA_SCHEMA)


def count_rows(rows: pa.Table) -> Counter[tuple[str, str, str]]:
    """Return how many rows have each defect, split and origin."""
    names = ["defect", "split", "origin"]
    counted = rows.group_by(names).aggregate([([], "count_all")]).to_pylist()
    return Counter({(row["defect"], row["split"], row["origin"]): row["count_all"] for row in counted})


def sampling_weights(counts: Counter[tuple[str, str, str]], real_share: float) -> dict[tuple[str, str, str], float]:
    """Return weights of rows by defect, split and origin: of the draws of a defect `real_share` are real references.

    Normals weigh 1, and the rows of a defect 1 on average; rows of the test split weigh 0. Where a defect has
    only one origin, its rows weigh 1.
    """
    weights = {}
    for defect, split, origin in counts:
        real, synthetic = counts[defect, "train", "real"], counts[defect, "train", "synthetic"]
        if split == "test":
            weight = 0.0
        elif defect == "good" or not real or not synthetic:
            weight = 1.0
        else:
            share, count = (real_share, real) if origin == "real" else (1 - real_share, synthetic)
            weight = share * (real + synthetic) / count
        weights[defect, split, origin] = weight
    return weights
