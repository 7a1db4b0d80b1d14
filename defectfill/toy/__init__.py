"""Made-up categories in MVTec AD's layout, much like photographs of parts: normal, pitted, scratched or stained.

For demos, tests and pre-training, where no real photographs may be shipped. A picture comes about as in a
workshop: a part is made (`CATEGORIES`), damaged or not (`DEFECTS`), lit (`light`) and photographed
(`photograph`). Another category is another function that returns a Part; damage, light and camera take any.

Lengths without a unit are half picture widths: x and y run from -1 to 1, y downwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from defectfill.io.errors import ConfigError
from defectfill.io.files import new_folder
from defectfill.io.images import write_png
from defectfill.toy.camera import light, photograph
from defectfill.toy.defects import dig_hole, draw_scratch, spill_stain
from defectfill.toy.maps import Generator
from defectfill.toy.objects import grow_nut, turn_washer
from defectfill.toy.part import Part
from defectfill.toy.textures import saw_wood, weave_cloth

CATEGORIES: dict[str, Callable[[Generator, int], Part]] = {
    "washer": turn_washer,
    "wood": saw_wood,
    "cloth": weave_cloth,
    "nut": grow_nut,
}
"""Category -> the function that makes such a part, for so many pixels. New ones go last: order enters seeds."""
DEFECTS: dict[str, Callable[[Part, Generator], Part]] = {
    "hole": dig_hole,
    "scratch": draw_scratch,
    "stain": spill_stain,
}
"""Defect -> the function that does such damage to the face of a part. New ones go last: order enters seeds."""
VISIBLE_LEVELS = 2
"""A defect's mask takes in every pixel that the defect changes by more than this many of 256 grey levels."""
_PART, _DEFECT, _CAMERA = range(3)  # last word of a picture's seed: which of its generators


@dataclass(frozen=True)
class Sample:
    """One finished picture."""

    image: npt.NDArray[np.uint8]
    """[H, W, 3]"""
    defect_mask: npt.NDArray[np.bool_]
    """[H, W], True where the defect shows; all False for a normal."""


def write_category(
    root: Path,
    category: str,
    seed: int,
    normals: int,
    test_normals: int,
    defective: int,
    size_px: int = 256,
    defects: Sequence[str] = ("hole", "scratch", "stain"),
) -> Path:
    """Write the folder `<root>/<category>`, whole or not at all, with images and masks in MVTec AD's layout.

    `normals` and `test_normals` count the pictures of `train/good` and `test/good`, `defective` those of each of
    `defects`; all are `size_px` square, 64 to 1024. A picture depends on `seed` (0 or more), its category, folder
    and number only: larger counts and further defects repeat what was there. Raises ConfigError for a category
    or defect that is none of CATEGORIES or DEFECTS, FileExistsError if the category's folder is there.
    """
    check_names(category, defects)
    target = root / category
    if target.exists():
        raise FileExistsError(f"{target}: is there already")
    folders = {"train/good": normals, "test/good": test_normals}
    folders |= {f"test/{defect}": defective for defect in defects}
    kinds = ["train/good", "test/good", *(f"test/{defect}" for defect in DEFECTS)]
    with new_folder(target) as partial:
        for folder, count in folders.items():
            for index in range(count):
                seeds = (seed, index, kinds.index(folder))
                _write_sample(partial, folder, index, make_sample(seeds, category, Path(folder).name, size_px))
    return target


def make_sample(seed: Sequence[int], category: str, defect: str = "good", size_px: int = 256) -> Sample:
    """Return the picture of a `category` that descends from `seed`, with a defect of DEFECTS or, for `good`, with none.

    Part, light and camera noise come from `seed` alone: outside the mask, the pictures with and without the
    defect differ by VISIBLE_LEVELS at most. The same seed shows much the same part at any size, 64 to 1024.
    """
    seeds = [*seed, list(CATEGORIES).index(category)]
    part = CATEGORIES[category](np.random.default_rng([*seeds, _PART]), size_px)
    normal = photograph(light(part), np.random.default_rng([*seeds, _CAMERA]))
    if defect == "good":
        return Sample(normal, np.zeros((size_px, size_px), dtype=bool))
    damaged = DEFECTS[defect](part, np.random.default_rng([*seeds, _DEFECT]))
    image = photograph(light(damaged), np.random.default_rng([*seeds, _CAMERA]))
    return Sample(image, _visible_change(normal, image))


def check_names(category: str, defects: Sequence[str]) -> None:
    """Raise ConfigError unless the category is one of CATEGORIES and every defect one of DEFECTS."""
    problems = [
        f"defects: expected some of {', '.join(DEFECTS)}, found: {name}" for name in defects if name not in DEFECTS
    ]
    if category not in CATEGORIES:
        problems.insert(0, f"category: expected one of {', '.join(CATEGORIES)}, found: {category}")
    if problems:
        raise ConfigError(problems)


def _visible_change(normal: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where two pictures visibly differ [H, W], with what such pixels enclose."""
    change = np.abs(image.astype(np.int16) - normal).max(axis=2) > VISIBLE_LEVELS
    closed = change | ndimage.binary_closing(change, np.ones((3, 3)))
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def _write_sample(category: Path, folder: str, index: int, sample: Sample) -> None:
    (category / folder).mkdir(parents=True, exist_ok=True)
    write_png(category / folder / f"{index:03d}.png", sample.image)
    if not folder.endswith("good"):
        masks = category / folder.replace("test", "ground_truth", 1)
        masks.mkdir(parents=True, exist_ok=True)
        write_png(masks / f"{index:03d}_mask.png", sample.defect_mask)
