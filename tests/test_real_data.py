"""The whole pipeline on real photographs: large, grey, of odd sizes, with tiny defects."""

from pathlib import Path

import pytest
from conftest import run_all_steps

from defectfill.files import read_table
from defectfill.verify import verify_dataset

pytestmark = pytest.mark.real_data

CONFIG = """
category: {category}
object_name: {category}
data: {{root: {root}, defects: [{defect}], references: {{fraction: 0.3333}}}}
base: {{model: {base}, resolution: 128, device: cpu}}
train: {{steps: 3}}
generate: {{count: 16, candidates: 2, steps: 4, samples_per_batch: 4}}
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
    assert verify_dataset(run.dataset) == len(rows)
