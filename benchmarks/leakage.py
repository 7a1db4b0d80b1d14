"""The search for near-duplicates on real photographs and toys: python -m benchmarks.leakage DATA [--images 30]

DATA holds categories in MVTec AD's layout; ten toy categories at 256 pixels and four at 96 are made. In each, every
photograph is compared with its nearest by the hash, as `find_leaks` does, and of some photographs copies are: encoded
as JPEG of quality 70, scaled to 98 %, enlarged by 2 % and cut, 20 grey levels brighter, 1 % of two sides cut off,
mirrored, turned, and mirrored, scaled, cut, darker and encoded at once.

A row per category: pairs compared, the largest likeness of two that are not copies, how many of them count as one
(look at those: they may be one part, photographed twice), copies made, found, and the least likeness of a kind of copy.
Then one JSON line.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectfill.ingest.find import find_images
from defectfill.ingest.leaks import FARTHEST, NEAREST
from defectfill.ingest.near_duplicates import SAME, hash_distances, likeness, perceptual_hash, thumbnail
from defectfill.io.images import ImageArray, read_image
from defectfill.toy import CATEGORIES, make_sample

COPIED = 8
"""Photographs of a category of which copies are made."""
SMALL = ("washer", "wood", "nut", "screw")


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=30, help="of each toy category")
    arguments = parser.parse_args()
    rows = {}
    for name, images in categories(arguments.data, arguments.images):
        rows[name] = row = compare(images)
        print(f"{name:20}" + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    print(json.dumps(rows))


def categories(data: Path, images: int) -> Iterator[tuple[str, dict[str, ImageArray]]]:
    """Yield the images of each category by their names."""
    for folder in sorted(path.parent for path in data.glob("*/test")):
        paths = [path for part in sorted(folder.glob("t*/*")) for path in find_images(part)]
        yield folder.name, {path.relative_to(folder).as_posix(): read_image(path) for path in paths}
    for category, side in [*((each, 256) for each in CATEGORIES), *((each, 96) for each in SMALL)]:
        defects = ("good", "hole", "scratch")
        samples = {
            f"{number}": make_sample((7, number), category, defects[number % 3], side) for number in range(images)
        }
        yield f"toy {category} {side}", {name: sample.image for name, sample in samples.items()}


def compare(images: dict[str, ImageArray]) -> dict[str, object]:
    """Return the row of a category."""
    hashes = [perceptual_hash(image) for image in images.values()]
    thumbnails = [thumbnail(image) for image in images.values()]
    distances = hash_distances(hashes, hashes)
    np.fill_diagonal(distances, 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    pairs = sorted(
        {(min(a, b), max(a, b)) for a, near in enumerate(nearest.tolist()) for b in near if distances[a, b] <= FARTHEST}
    )
    start = time.perf_counter()
    values = {pair: likeness(*(thumbnails[each] for each in pair)) for pair in pairs}
    seconds = time.perf_counter() - start
    names, copied = list(images), range(0, len(images), max(1, len(images) // COPIED))[:COPIED]
    one = [f"{names[a]} = {names[b]}" for (a, b), value in values.items() if value >= SAME]
    least: dict[str, float] = {}
    found = 0
    for kind, copy in COPIES.items():
        for number in copied:
            picture = np.ascontiguousarray(copy(images[names[number]]))
            away = hash_distances(hashes, [perceptual_hash(picture)])[:, 0]
            is_near = away[number] <= FARTHEST and int((away < away[number]).sum()) < NEAREST
            value = likeness(thumbnails[number], thumbnail(picture)) if is_near else 0.0
            found, least[kind] = found + (value >= SAME), min(least.get(kind, 1.0), round(value, 2))
    return {
        "images": len(images),
        "pairs": len(pairs),
        "ms": round(1000 * seconds / max(len(pairs), 1), 1),
        "largest": round(max((value for value in values.values() if value < SAME), default=0.0), 3),
        "one": one,
        "copies": len(copied) * len(COPIES),
        "found": found,
        "least": least,
    }


def _encoded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8).reshape(image.shape)


def _scaled(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, np.uint8).reshape(*scaled.shape[:2], image.shape[2])


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    large = _scaled(image, 1.02)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def _cut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    margin = max(2, min(image.shape[:2]) // 100)
    return image[margin:, margin:]


def _brighter(image: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    return np.clip(image.astype(np.int16) + levels, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "encoded": _encoded,
    "scaled": lambda image: _scaled(image, 0.98),
    "enlarged": _enlarged,
    "brighter": lambda image: _brighter(image, 20),
    "cut": _cut,
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "all": lambda image: _encoded(_brighter(_cut(_scaled(np.ascontiguousarray(image[::-1]), 0.98)), -15)),
}
"""Kind of copy -> the function that makes it of a picture of 8 bits."""

if __name__ == "__main__":
    main()
