"""The whole pipeline on real photographs: large, grey, of odd sizes, with tiny defects."""

from pathlib import Path

import numpy as np
import pytest
from conftest import run_all_steps
from numpy.typing import NDArray

from defectfill.config.run import load_config
from defectfill.dataset.verify import verify_dataset
from defectfill.ingest.ingest import ingest
from defectfill.io.files import read_table
from defectfill.io.images import ImageArray, read_image
from defectfill.masks.category import CategoryMasks
from mask_sampling.priors import compare, measure
from mask_sampling.sampling import SampledMask
from mask_sampling.spots import overlap

pytestmark = pytest.mark.real_data

CONFIG = """
category: {category}
object_name: {category}
data: {{root: {root}, defects: [{defect}], references: {{fraction: 0.3333}}}}
base: {{model: {base}, resolution: 128, device: cpu}}
train: {{steps: 3}}
generate: {{count: 16, candidates: 2, steps: 2, samples_per_batch: 4}}
gates: {{tolerance: 20, max_off_mask_fraction: 1, min_drawn_fraction: 0}}
output: {{root: out}}
"""


@pytest.mark.parametrize(
    ("category", "defect"), [("hazelnut", "hole"), ("magnetic_tile", "blowhole"), ("screw", "scratch_neck")]
)
def test_sixteen_images_are_kept_at_the_sources_resolution_and_verified(
    real_data: Path, base_folder: Path, tmp_path: Path, category: str, defect: str
) -> None:
    config = tmp_path / "real.yaml"
    config.write_text(CONFIG.format(category=category, defect=defect, root=real_data, base=base_folder))
    run = run_all_steps(config)
    rows = {row["image_path"]: row for row in read_table(run.dataset / "manifest.parquet")}
    painted = [row for row in rows.values() if row["origin"] == "synthetic"]
    assert len(painted) == 16
    assert all(row["background_intact"] for row in painted)
    for row in painted:
        source = rows[row["source_path"]]
        assert (row["width"], row["height"]) == (source["width"], source["height"])
        assert source["split"] == "train"
    assert verify_dataset(run.dataset).rows == len(rows)


MASKS_CONFIG = """
category: {category}
object_name: {category}
data: {{root: {root}, defects: [{defect}], references: {{fraction: 1}}}}
base: {{model: mini}}
output: {{root: out}}
"""
MASKS = 60
"""Of each defect; the figures in the README are of 500."""


@pytest.mark.parametrize(
    ("category", "defect"),
    [
        ("screw", "scratch_neck"),
        ("screw", "thread_top"),
        ("hazelnut", "hole"),
        ("magnetic_tile", "blowhole"),
        ("magnetic_tile", "break"),
        ("concrete", "crack"),
    ],
)
def test_masks_could_have_been_real(real_data: Path, tmp_path: Path, category: str, defect: str) -> None:
    path = tmp_path / "masks.yaml"
    path.write_text(MASKS_CONFIG.format(category=category, defect=defect, root=real_data))
    config = load_config(path)
    records = ingest(config)
    masks = CategoryMasks(config, records, defect)
    normals = [config.category_folder / record.path for record in records if record.role == "normal"][:6]
    images = [read_image(normal) for normal in normals]
    scenes = [masks.scene(image) for image in images]
    outlines = [outline_of_a_screw(image) for image in images] if category == "screw" else []
    reaches = [position.reach for position in masks.sampler.positions.positions]
    low, high = min(reach[0] for reach in reaches), max(reach[1] for reach in reaches)
    attributes = []
    drawn: list[SampledMask] = []
    for index in range(MASKS):
        on = scenes[index % len(scenes)]
        earlier = [sample.spot for sample in drawn[index % len(scenes) :: len(scenes)]]  # on the same normal
        drawn.append(masks.sample(on, index, earlier))
        mask = drawn[-1].mask
        attributes.append(measure(mask, on.object_px, on.pose.axis))
        if category == "screw":
            assert (mask & outlines[index % len(scenes)]).sum() >= 0.99 * mask.sum()
            y, x = np.nonzero(mask)
            u = on.pose.to_object(x, y)[0]
            assert low - 0.1 * (high - low) <= u.min()
            assert u.max() <= high + 0.1 * (high - low)
    rows = {row.attribute: row for row in compare(masks.sampler.attributes, attributes)}
    assert rows["area_fraction"].ks < 0.2
    for first in range(MASKS):
        for second in range(first % len(scenes), first, len(scenes)):
            assert overlap(drawn[first].spot, drawn[second].spot) <= 0.9


def outline_of_a_screw(image: ImageArray) -> NDArray[np.bool_]:
    """A dark screw on light ground, cut out in another way than the pipeline's: by a threshold after smoothing."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter, label
    from skimage.filters import threshold_otsu

    grey = gaussian_filter(image.mean(axis=2), 1.5)
    level = (threshold_otsu(grey) + 2 * np.median(grey)) / 3
    labels = label(binary_fill_holes(grey < level))[0]
    largest: NDArray[np.bool_] = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return largest
