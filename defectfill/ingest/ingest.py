"""The real images of a category, found, checked and divided into roles.

The layout is MVTec AD's: `train/good`, `test/good` (optional), `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.<ext>`; `groups.csv` beside them (optional) names the physical part that
each file shows. `ingest` reports every problem at once, a line each that starts with the file to fix.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from defectfill.config.run import RunConfig
from defectfill.ingest.find import list_files, mask_files, pair_masks, relative_path
from defectfill.ingest.groups import read_groups
from defectfill.ingest.inspect import inspect_image
from defectfill.ingest.split import assign_roles
from defectfill.io.errors import DataError
from defectfill.io.hashing import digest
from defectfill.io.images import file_sha256
from defectfill.io.progress import progress
from defectfill.io.white_level import FULL, deep_maximum, white_level_of
from defectfill.records.snapshot import ImageRecord

WORKERS = min(4, os.cpu_count() or 1)
Item = TypeVar("Item")
Result = TypeVar("Result")


def ingest(config: RunConfig) -> tuple[ImageRecord, ...]:
    """Return one record per real image: normals, test normals, each defect in the config's order, all by file name.

    Every file is opened and checked; what is learnt from is chosen by `assign_roles`. Raises one DataError
    with all problems: folders missing or empty, files that cannot be read, images without masks and the
    reverse, masks of another size, empty or full, images that occur twice, a `groups.csv` that does not fit.
    """
    listing, problems = list_files(config)
    images = listing.images()
    masks, unpaired = pair_masks(listing)
    groups, misgrouped = read_groups(config, images)
    problems += unpaired + misgrouped

    def inspect(image: tuple[str, Path]) -> tuple[ImageRecord | None, list[str]]:
        defect, path = image
        return inspect_image(
            config.category_folder, path, defect, masks.get(path), groups.get(path, ""), config.data.white_level
        )

    records: list[ImageRecord] = []
    for record, found in progress(in_threads(inspect, images), "reading images", total=len(images)):
        records += [record] if record else []
        problems += found
    problems += _repeated(config.category_folder, records)
    if problems:
        raise DataError(problems)
    return _with_one_white(config.category_folder, assign_roles(config, records))


def data_digest(config: RunConfig) -> str:
    """Return a fingerprint (64 hex digits) of name and bytes of every file that is read; nothing is decoded.

    Raises DataError with the same messages as `ingest` for folders that are missing or empty.
    """
    listing, problems = list_files(config)
    if problems:
        raise DataError(problems)
    files = [path for _, path in listing.images()] + list(listing.groups_file)
    files += [path for masks in listing.masks.values() for path in masks]
    names = [relative_path(path, config.category_folder) for path in files]
    drawn = mask_files(config.masks)
    digests = in_threads(file_sha256, [*files, *drawn.values()])
    content = sorted(zip([*names, *drawn], digests, strict=True))
    white = _white_of_normals(config, listing.normals)
    return digest([*content, ["white_level", white]] if white else content)


def _with_one_white(root: Path, records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Return `records` with one white level for all of 16 bits: the largest of normals and references.

    Raises DataError for images of the test split that are brighter: they would be clipped wherever they are read.
    """
    deep = [record for record in records if record.bit_depth == 16]
    levels = [record.white_level or FULL for record in deep if record.role in ("normal", "reference")]
    white = max(levels, default=FULL)
    brighter = [record for record in deep if (record.white_level or FULL) > white]
    if brighter:
        expected = f"expected values up to {white}, the white of all normals and references, found those of"
        hint = "data.white_level says what the camera's white is"
        raise DataError([f"{root / each.path}: {expected} {each.white_level or FULL}; {hint}" for each in brighter])
    white %= FULL
    return tuple(
        record.model_copy(update={"white_level": white}) if record.bit_depth == 16 else record for record in records
    )


def _white_of_normals(config: RunConfig, normals: Sequence[Path]) -> int:
    """Return the white level of the normals, 0 where it is all of their range.

    It is known as soon as one uses the range; files of 8 bits are not decoded.
    """
    asked, level = config.data.white_level, 0
    for path in normals:
        stamp = path.stat()
        largest = _remembered_maximum(path, stamp.st_size, stamp.st_mtime_ns)
        level = max(level, white_level_of(largest) if largest and asked == "auto" else int(bool(largest)))
        if level == FULL:
            return 0
    return level if asked == "auto" or not level else asked % FULL


@lru_cache(maxsize=100_000)
def _remembered_maximum(path: Path, size: int, modified_ns: int) -> int:
    """Return `deep_maximum`, once per process and content."""
    try:
        return deep_maximum(path)
    except DataError:
        return 0  # told when it is read


def _repeated(root: Path, records: Iterable[ImageRecord]) -> list[str]:
    """Return a problem for each image whose pixels an earlier image has, in whatever folder: one would leak."""
    first: dict[str, str] = {}
    problems = []
    for record in records:
        earlier = first.setdefault(record.content_sha256, record.path)
        if earlier != record.path:
            path = root / record.path
            problems.append(f"{path}: expected every image once, found the same pixels in {earlier}")
    return problems


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `function` of each item, in order; a few threads work, each on one item at a time."""
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        yield from pool.map(function, items)
