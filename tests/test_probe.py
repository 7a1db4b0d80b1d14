"""Whether pixels that went through a VAE can be told from untouched ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import ndimage

from defectfill.dataset.probe import LEAST, probe_vae
from defectfill.io.images import read_image, write_png

MASK = np.hypot(*(np.indices((48, 48)) - 24)) < 15


def write_pairs(folder: Path, count: int, blur: float) -> Path:
    """Pictures of noise, and the same blurred inside the mask."""
    rows = []
    for index in range(count):
        source = np.random.default_rng(index).integers(60, 200, (48, 48, 3), np.uint8)
        smooth = ndimage.gaussian_filter(source.astype(float), (blur, blur, 0))
        other = np.random.default_rng(1000 + index).integers(60, 200, (48, 48, 3), np.uint8)
        passed = np.where(MASK[..., None], smooth if blur else other, source).astype(np.uint8)
        row = {
            "image_path": f"{index}.png",
            "source_path": f"source-{index}.png",
            "planned_mask_path": "mask.png",
            "white_level": 255,
        }
        write_png(folder / row["image_path"], passed)
        write_png(folder / row["source_path"], source)
        rows.append({**row, "defect": "good", "origin": "synthetic"})
    write_png(folder / "mask.png", MASK)
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def deepened(folder: Path, factor: int, white_level: int) -> Path:
    """Make the pictures in a folder ones of 16 bits."""
    for path in folder.glob("*.png"):
        if path.name != "mask.png":
            write_png(path, read_image(path).astype(np.uint16) * np.uint16(factor))
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    pq.write_table(
        pa.Table.from_pylist([{**row, "white_level": white_level} for row in rows]), folder / "manifest.parquet"
    )
    return folder


def test_a_12_bit_camera_is_probed_like_any_other(tmp_path: Path) -> None:
    pairs = {name: write_pairs(tmp_path / name, 20, 0.2) for name in ("wide", "narrow")}
    wide, narrow = deepened(pairs["wide"], 257, 65535), deepened(pairs["narrow"], 16, 4080)
    assert probe_vae(narrow) == probe_vae(wide) == probe_vae(write_pairs(tmp_path, 20, 0.2))


@pytest.mark.parametrize(("blur", "lowest", "highest"), [(0.5, 0.95, 1.0), (0.0, 0.3, 0.7)])
def test_blurred_pixels_are_told_and_others_of_the_same_kind_are_not(
    tmp_path: Path, blur: float, lowest: float, highest: float
) -> None:
    accuracy = probe_vae(write_pairs(tmp_path, 40, blur))
    assert accuracy is not None
    assert lowest <= accuracy <= highest


def test_of_few_pictures_nothing_is_said(tmp_path: Path) -> None:
    assert probe_vae(write_pairs(tmp_path, LEAST - 1, 1.0)) is None
