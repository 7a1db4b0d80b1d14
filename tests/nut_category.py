"""What the tests of ingest share: the files of a small category, which tests may break."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 12, 16
HOLES, CRACKS = 6, 3


def save_image(path: Path, seed: int, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, mask: NDArray[np.bool_] | None = None) -> None:
    if mask is None:
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[2:5, 3:9] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(path)


def write_nut_category(folder: Path) -> Path:
    """Write a category without any problem: 4 normals, 2 test normals, 6 holes, 3 cracks."""
    for index in range(4):
        save_image(folder / f"train/good/{index:03d}.png", index)
    for index in range(2):
        save_image(folder / f"test/good/{index:03d}.png", 10 + index)
    for defect, count, seed in (("hole", HOLES, 20), ("crack", CRACKS, 30)):
        for index in range(count):
            save_image(folder / f"test/{defect}/{index:03d}.png", seed + index)
            save_mask(folder / f"ground_truth/{defect}/{index:03d}_mask.png")
    return folder


def write_groups(nut: Path, header: str = "file,group", drop: str = "", **group_of: str) -> Path:
    """groups.csv with a group per file, or the one given for a path whose last two parts match."""
    lines = [header]
    for index, path in enumerate(sorted(nut.glob("*/*/*.png"))):
        name = path.relative_to(nut).as_posix()
        key = f"{path.parent.parent.name}_{path.parent.name}_{path.stem}"
        if name.startswith("ground_truth") or name == drop:
            continue
        lines.append(f"{name},{group_of.get(key, f'part{index}')}")
    (nut / "groups.csv").write_text("\n".join(lines) + "\n")
    return nut / "groups.csv"
