"""The references of a run as its dataset holds them, measured, and the gates that they set."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from defectfill.io.images import ImageArray, read_mask
from defectfill.io.white_level import read_stretched
from defectfill.painting.gates import Gate
from defectfill.painting.label import visible_fraction
from defectfill.painting.measures import Measures, measure_sample
from defectfill.painting.window import Box, window_box
from defectfill.records.manifest import ManifestRow
from defectfill.runs.run import Run


@dataclass(frozen=True)
class MeasuredReference:
    """A real defect that was learnt from."""

    row: ManifestRow
    image: ImageArray
    """[H, W, C]"""
    mask: NDArray[np.bool_]
    """[H, W]"""
    box: Box
    measures: Measures

    @property
    def area_fraction(self) -> float:
        """Of the mask, of the whole image."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class DefectReferences:
    """The references of a defect, and what follows from them for its samples."""

    references: tuple[MeasuredReference, ...]
    gate: Gate


def measured_references(run: Run, defect: str) -> DefectReferences:
    """Return the references of a defect with their gate, from the dataset alone: the run's data may be gone by now.

    Raises DataError where a file of the dataset is missing or damaged.
    """
    real = (pc.field("defect") == defect) & (pc.field("origin") == "real") & (pc.field("split") == "train")
    rows = pq.read_table(run.dataset / "manifest.parquet", filters=real).to_pylist()
    found = tuple(_measured(run, ManifestRow.model_validate(row)) for row in rows)
    return DefectReferences(
        references=found,
        gate=Gate.calibrated(
            [each.measures for each in found],
            run.config.gates,
            run.config.generate.painter,
            [visible_fraction(each.image, each.mask) for each in found],
        ),
    )


def _measured(run: Run, row: ManifestRow) -> MeasuredReference:
    image = read_stretched(run.dataset / row.image_path, row.white_level)
    mask = read_mask(run.dataset / row.mask_path)
    box = window_box(mask, run.config.window, run.config.latent_side)
    return MeasuredReference(row, image, mask, box, measure_sample(image, mask, mask, box))
