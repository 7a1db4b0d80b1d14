"""The real images of a category: found and checked whole.

The layout is MVTec AD's: `train/good`, `test/good` (optional), `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.<ext>`; `groups.csv` beside them (optional) names the physical part that
each file shows. `ingest` tells every problem at once, a line each that starts with the file to fix.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from defectfill.config.run import RunConfig
from defectfill.ingest.find import _list_files, _pair, _relative, mask_files
from defectfill.ingest.groups import _read_groups
from defectfill.ingest.split import assign_roles
from defectfill.io.errors import DataError
from defectfill.io.hashing import digest
from defectfill.io.images import content_sha256, file_sha256, read_image, read_mask
from defectfill.io.progress import progress
from defectfill.records.snapshot import ImageRecord, Role

_WORKERS = min(4, os.cpu_count() or 1)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ingest(config: RunConfig) -> tuple[ImageRecord, ...]:
    """One record per real image: normals, test normals, each defect in the config's order, all by file name.

    Every file is opened and checked; what is learnt from is chosen by `assign_roles`. Raises one DataError
    with all problems: folders missing or empty, files that cannot be read, images without masks and the
    reverse, masks of another size, empty or full, images that occur twice, a `groups.csv` that does not fit.
    """
    listing, problems = _list_files(config)
    images = listing.images()
    masks, unpaired = _pair(listing)
    groups, misgrouped = _read_groups(config, images)
    problems += unpaired + misgrouped

    def inspect(image: tuple[str, Path]) -> tuple[ImageRecord | None, list[str]]:
        defect, path = image
        return _inspect(config.category_folder, path, defect, masks.get(path), groups.get(path, ""))

    records: list[ImageRecord] = []
    for record, found in progress(_in_threads(inspect, images), "reading images", total=len(images)):
        records += [record] if record else []
        problems += found
    problems += _repeated(config.category_folder, records)
    if problems:
        raise DataError(problems)
    return assign_roles(config, records)


def data_digest(config: RunConfig) -> str:
    """A fingerprint (64 hex digits) of name and bytes of every file that is read; nothing is decoded.

    Raises DataError with the same messages as `ingest` for folders that are missing or empty.
    """
    listing, problems = _list_files(config)
    if problems:
        raise DataError(problems)
    files = [path for _, path in listing.images()] + list(listing.groups_file)
    files += [path for masks in listing.masks.values() for path in masks]
    names = [_relative(path, config.category_folder) for path in files]
    drawn = mask_files(config.masks)
    digests = _in_threads(file_sha256, [*files, *drawn.values()])
    return digest(sorted(zip([*names, *drawn], digests, strict=True)))


def _inspect(
    root: Path, path: Path, defect: str, mask_path: Path | None, group: str
) -> tuple[ImageRecord | None, list[str]]:
    """The record of one image by where it lies, and its problems; no record where it cannot be read."""
    in_train = path.parent.parent.name == "train"
    record: ImageRecord | None = None
    problems: list[str] = []
    try:
        image = read_image(path)
        height, width, channels = image.shape
        role: Role = "normal" if in_train else "test_normal" if defect == "good" else "held_out"
        record = ImageRecord(
            path=_relative(path, root),
            role=role,
            defect=defect,
            split="train" if in_train else "test",
            width=width,
            height=height,
            channels=channels,
            bit_depth=image.dtype.itemsize * 8,
            sha256=file_sha256(path),
            content_sha256=content_sha256(image),
            group=group,
        )
    except DataError as error:
        problems += error.problems
    if mask_path is None:
        return record, problems
    try:
        area_px = _check_mask(mask_path, record)
        sha256 = file_sha256(mask_path)
    except DataError as error:
        return record, problems + list(error.problems)
    if record:
        update = {"mask_path": _relative(mask_path, root), "mask_sha256": sha256, "mask_area_px": area_px}
        record = record.model_copy(update=update)
    return record, problems


def _check_mask(path: Path, image: ImageRecord | None) -> int:
    """The defect's pixels in the mask `path`; DataError where it is empty, full or not the image's size."""
    mask = read_mask(path)
    height, width = mask.shape
    if image and (width, height) != (image.width, image.height):
        size = f"{image.width} x {image.height} pixels as the upright {image.path}"
        raise DataError(f"{path}: expected {size}, found {width} x {height}")
    area_px = int(mask.sum())
    if area_px in (0, mask.size):
        found = "no pixel" if area_px == 0 else "every pixel"
        raise DataError(f"{path}: expected a mask of a defect (0 and 255, or 0 and 1), found {found} set")
    return area_px


def _repeated(root: Path, records: Iterable[ImageRecord]) -> list[str]:
    """A problem for each image whose pixels an earlier image has, in whatever folder: one would leak."""
    first: dict[str, str] = {}
    problems = []
    for record in records:
        earlier = first.setdefault(record.content_sha256, record.path)
        if earlier != record.path:
            path = root / record.path
            problems.append(f"{path}: expected every image once, found the same pixels in {earlier}")
    return problems


def _in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """`function` of each item, in order; a few threads work ahead, each with one item at a time."""
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        yield from pool.map(function, items)
