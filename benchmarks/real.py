"""What a base paints on real photographs: python -m benchmarks.real WORK [--base mini] [--count 10] [--steps 300]

Runs every category below DEFECTFILL_REAL_DATA (photographs for measuring only) with the settings of the demo, and
says for each defect

kept     images kept, of the painted ones
ours     fine structure inside kept defects: deviation of the luma (0 to 255) minus its Gaussian of 2 px, inside the
         label eroded by 4 px (by less where nothing is left); median over images
real     the same of all real defects of that type
ratio    ours over real: 1 is as rough as the real ones, 0.2 a smooth blob

WORK keeps what is done; one has to look at the contact sheets in it. Ends in one JSON line.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.ablation import run_without_server
from defectfill.config.run import RunConfig, load_config
from defectfill.demo import TOY_CONFIG
from defectfill.ingest.find import find_images
from defectfill.io.files import read_table
from defectfill.io.images import read_image, read_mask
from defectfill.painting.window import unit_rgb
from defectfill.runs.run import Run

LUMA = np.array([0.299, 0.587, 0.114]) * 255
SIGMA_PX = 2
ERODED_PX = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--base", default="mini", help="a bundled base's name or a folder")
    parser.add_argument("--count", type=int, default=10, help="images to keep of each defect")
    parser.add_argument("--steps", type=int, default=300, help="training steps of an adapter")
    parser.add_argument("--resolution", type=int, help="side in pixels of what is painted; the base's own by default")
    parser.add_argument("--only", help="one category")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    print(f"{'defect':30} {'kept':>9} {'ours':>6} {'real':>6} {'ratio':>6}")
    for folder in sorted(Path(os.environ["DEFECTFILL_REAL_DATA"]).glob("*/")):
        if arguments.only in (None, folder.name):
            run = run_without_server(_config(folder, arguments))
            figures |= dict(_judge(run))
            print(f"  {run.folder}/contact_sheet.png", flush=True)
    print(json.dumps(figures).replace("NaN", "null"))


def _config(folder: Path, arguments: argparse.Namespace) -> RunConfig:
    """Return the demo's config for a real category, with half of its defects as references, six at most."""
    defects = sorted(path.name for path in (folder / "ground_truth").iterdir())
    fewest = min(len(find_images(folder / "test" / defect)) for defect in defects)
    base = arguments.base + (f", resolution: {arguments.resolution}" if arguments.resolution else "")
    text = TOY_CONFIG.read_text(encoding="utf-8").replace("model: mini", f"model: {base}")
    path: Path = arguments.work.resolve() / f"{folder.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    references = config.data.references.model_copy(update={"count": min(6, fewest // 2)})
    data = {"root": str(folder.parent), "defects": tuple(defects), "references": references}
    return config.model_copy(
        update={
            "category": folder.name,
            "object_name": folder.name.replace("_", " "),
            "data": config.data.model_copy(update=data),
            "train": config.train.model_copy(update={"steps": arguments.steps, "tokens": {}}),
            "generate": config.generate.model_copy(update={"count": arguments.count}),
            "output": config.output.model_copy(update={"root": str(path.parent / "out")}),
        }
    )


def _judge(run: Run) -> Iterator[tuple[str, dict[str, float]]]:
    """Print and yield the figures of each defect of a finished run."""
    category, rows = run.config.category_folder, read_table(run.dataset / "manifest.parquet")
    rejected = read_table(run.dataset / "rejected.parquet")
    for defect in run.config.data.defects:
        kept = [row for row in rows if row["origin"] == "synthetic" and row["defect"] == defect]
        painted = len(kept) + sum(row["defect"] == defect for row in rejected)
        images = [(run.dataset / row["image_path"], run.dataset / row["mask_path"]) for row in kept]
        real = [
            (image, category / "ground_truth" / defect / f"{image.stem}_mask.png")
            for image in find_images(category / "test" / defect)
        ]
        ours, theirs = (float(np.median([_roughness(*pair) for pair in pairs] or [np.nan])) for pairs in (images, real))
        figures = {"kept": len(kept), "painted": painted, "ours": ours, "real": theirs, "ratio": ours / theirs}
        name = f"{run.config.category}/{defect}"
        print(f"{name:30} {len(kept):4}/{painted:<4} {ours:6.2f} {theirs:6.2f} {ours / theirs:6.2f}", flush=True)
        yield name, figures


def _roughness(image: Path, mask: Path) -> float:
    return roughness(unit_rgb(read_image(image)) @ LUMA, read_mask(mask))


def roughness(luma: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Return the deviation of a luma [H, W] minus its Gaussian, inside a mask [H, W] eroded as far as it bears it."""
    depth = ndimage.distance_transform_edt(mask)
    inside = depth > min(ERODED_PX, depth.max() / 2)
    return float((luma - ndimage.gaussian_filter(luma, SIGMA_PX))[inside].std())


if __name__ == "__main__":
    main()
