"""The gates on real defects and on smooth blobs: python -m benchmarks.gates DATA [--references 3 4 6] [--splits 20]

DATA holds categories in MVTec AD's layout. Of each defect some real images, whole groups of them, are taken at random
as references; the gate calibrated on these judges the others as if they had been painted, each as it is and without
its texture, by Gaussians of 2, 4 and 8 pixels inside the mask:

blurred    the image, low-pass filtered
smoothed   the defect's own pixels by each other alone, so that its contrast and its outline stay
grainy     the same, with white grain as strong as its surroundings' given back

A row per defect: how many real ones were judged and passed, how many each gate refused whatever the others did, and
the share of blobs that was refused. Then one JSON line.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectfill.config.gates import GatesConfig
from defectfill.config.run import RunConfig
from defectfill.ingest.ingest import ingest
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray, read_mask
from defectfill.painting.gates import REASONS, Gate
from defectfill.painting.measures import Measures, measure_sample
from defectfill.painting.stitch import blend_alpha
from defectfill.painting.window import window_box
from defectfill.records.snapshot import ImageRecord, read_picture

BLURS_PX = (2, 4, 8)
BLOBS = ("blurred", "smoothed", "grainy")
GRAIN_PX = 1.0
"""Grain is what a Gaussian of this deviation takes away."""
AROUND_PX = 16
"""How far around a mask the grain of its surroundings is measured."""
COLUMNS = ("judged", "passed", *REASONS, *BLOBS)


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--references", type=int, nargs="+", default=[3, 4, 6])
    parser.add_argument("--splits", type=int, default=20, help="of each defect, for each number of references")
    arguments = parser.parse_args()
    results = {}
    for folder in sorted(path.parent for path in arguments.data.glob("*/test")):
        defects = sorted(path.name for path in (folder / "test").iterdir() if path.is_dir() and path.name != "good")
        config = _config(folder, defects)
        records = [record for record in ingest(config) if record.defect != "good"]
        for defect in defects:
            of_defect = [record for record in records if record.defect == defect]
            results[f"{folder.name} {defect}"] = judge(config, of_defect, arguments.references, arguments.splits)
    total = sum(results.values(), Counter[str]())
    rows = {name: _row(counts) for name, counts in {**results, "all": total}.items()}
    print(f"{'':30}" + "".join(f"{name:>14}" for name in COLUMNS))
    for name, row in rows.items():
        print(f"{name:30}" + "".join(f"{row[column]:>14g}" for column in COLUMNS))
    print(json.dumps(rows))


def judge(config: RunConfig, records: Sequence[ImageRecord], references: Sequence[int], splits: int) -> Counter[str]:
    """Return how many images of a defect, and blobs made of them, were judged and passed, and what was against them."""
    measured = [measure_versions(config, record) for record in records]
    groups = [record.group or record.path for record in records]
    counts: Counter[str] = Counter()
    for split in range(splits):
        for wanted in references:
            taken = choose(groups, wanted, split)
            gate = Gate.calibrated([measured[index]["real"] for index in taken], GatesConfig(), "diffusion")
            for index in sorted(set(range(len(records))) - set(taken)):
                for version, measures in measured[index].items():
                    kind = version.split()[0]
                    against = gate.judge(measures, 1.0, 0.0).against
                    counts[f"{kind} judged"] += 1
                    counts[f"{kind} passed"] += not against
                    counts.update(against if kind == "real" else ())
    return counts


def choose(groups: Sequence[str], wanted: int, seed: int) -> list[int]:
    """Return the indices of at most `wanted` images, of whole groups in random order, but at least of one."""
    taken: list[int] = []
    for group in np.random.default_rng(seed).permutation(sorted(set(groups))):
        members = [index for index, each in enumerate(groups) if each == group]
        if not taken or len(taken) + len(members) <= wanted:
            taken += members
    return taken


def measure_versions(config: RunConfig, record: ImageRecord) -> dict[str, Measures]:
    """Return the measures of a real defect and of the blobs made of it."""
    image = read_picture(config.category_folder, record)
    mask = read_mask(config.category_folder / record.mask_path)
    box = window_box(mask, config.window, config.base.latent_side)
    versions = {"real": image, **dict(blobs(image, mask, derive_seed(0, record.path)))}
    return {version: measure_sample(each, mask, mask, box) for version, each in versions.items()}


def blobs(image: ImageArray, mask: NDArray[np.bool_], seed: int) -> Iterator[tuple[str, ImageArray]]:
    """Yield an image [H, W, C] whose defect has lost its texture, each time with its name."""
    pixels, weight = image.astype(np.float32), mask.astype(np.float32)[..., None]
    around = (blend_alpha(mask, AROUND_PX) > 0) & ~mask
    noise = np.random.default_rng(seed).normal(size=mask.shape).astype(np.float32)[..., None]
    noise -= _low_pass(noise, GRAIN_PX)
    # The median, since at edges of the surroundings there is more than grain.
    strength = np.median(np.abs(pixels - _low_pass(pixels, GRAIN_PX))[around]) / np.median(np.abs(noise))
    for deviation in BLURS_PX:
        smoothed = _low_pass(pixels * weight, deviation) / np.maximum(_low_pass(weight, deviation), 1e-6)
        made = {"blurred": _low_pass(pixels, deviation), "smoothed": smoothed, "grainy": smoothed + strength * noise}
        for kind, painting in made.items():
            mixed = pixels + blend_alpha(mask, 2)[..., None] * (painting - pixels)
            yield f"{kind} {deviation}", np.clip(np.rint(mixed), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def _low_pass(pixels: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), deviation), np.float32).reshape(pixels.shape)


def _row(counts: Counter[str]) -> dict[str, float]:
    """Return the columns of a defect's row."""
    refused = {kind: 1 - counts[f"{kind} passed"] / counts[f"{kind} judged"] for kind in BLOBS}
    return {
        "judged": counts["real judged"],
        "passed": counts["real passed"],
        **{reason: counts[reason] for reason in REASONS},
        **{kind: round(share, 3) for kind, share in refused.items()},
    }


def _config(category: Path, defects: Sequence[str]) -> RunConfig:
    return RunConfig.model_validate(
        {
            "category": category.name,
            "object_name": category.name,
            "data": {"root": category.parent, "defects": defects},
            "base": {"model": "any"},
            "output": {"root": category.parent},
        }
    )


if __name__ == "__main__":
    main()
