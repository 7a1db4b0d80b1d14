"""The real images of a category: found and checked whole.

The layout is MVTec AD's: `train/good`, `test/good` (optional), `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.<ext>`; `groups.csv` beside them (optional) names the physical part that
each file shows. `ingest` tells every problem at once, a line each that starts with the file to fix.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from defectfill.config import RunConfig
from defectfill.errors import DataError
from defectfill.hashing import digest
from defectfill.images import SUFFIXES, content_sha256, file_sha256, read_image, read_mask
from defectfill.mask_config import MasksConfig
from defectfill.progress import progress
from defectfill.snapshot import ImageRecord, Role
from defectfill.split import assign_roles

GROUPS_FILE = "groups.csv"

_WORKERS = min(4, os.cpu_count() or 1)
_MASK_ENDING = "_mask"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _Listing(NamedTuple):
    """The files of a category that a config asks for, not yet opened."""

    normals: tuple[Path, ...]
    test_normals: tuple[Path, ...]
    defects: dict[str, tuple[Path, ...]]
    masks: dict[str, tuple[Path, ...]]
    groups_file: tuple[Path, ...]
    """Empty where there is none."""

    def images(self) -> list[tuple[str, Path]]:
        """Every image as (defect, path): normals, test normals, then the defects in the config's order."""
        good = [("good", path) for path in (*self.normals, *self.test_normals)]
        return good + [(defect, path) for defect, paths in self.defects.items() for path in paths]


def find_images(folder: Path) -> tuple[Path, ...]:
    """The image files directly in `folder`, sorted by name; hidden ones do not count, no folder has none.

    A link to nothing counts: it is an image that is missed when it is read.
    """
    if not folder.is_dir():
        return ()
    found = (path for path in folder.iterdir() if path.is_file() or (path.is_symlink() and not path.exists()))
    files = [path for path in found if not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    return tuple(sorted(images, key=lambda path: path.name))


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


def mask_files(masks: MasksConfig) -> dict[str, Path]:
    """Every file that the masks block names, by its key. Raises DataError for those that are missing."""
    zones = masks.zones.model_dump() if masks.zones else {}
    files = {f"masks.zones.{name}": path for name, path in zones.items() if path}
    problems = [f"{key}: expected a file, found none: {path}" for key, path in files.items() if not path.is_file()]
    if masks.folder:
        found = find_images(masks.folder)
        problems += [] if found else [f"masks.folder: expected images in {masks.folder}, found none"]
        files |= {f"masks.folder/{path.name}": path for path in found}
    if problems:
        raise DataError(problems)
    return files


def _list_files(config: RunConfig) -> tuple[_Listing, list[str]]:
    """The files of the category, and a problem for each folder that is missing or empty and each unusable name."""
    folder = config.category_folder
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the category's folder, found {_folders_in(folder.parent)}")
    defects = config.data.defects
    groups_file = folder / GROUPS_FILE
    listing = _Listing(
        normals=find_images(folder / "train" / "good"),
        test_normals=find_images(folder / "test" / "good"),
        defects={defect: find_images(folder / "test" / defect) for defect in defects},
        masks={defect: find_images(folder / "ground_truth" / defect) for defect in defects},
        groups_file=(groups_file,) if groups_file.is_file() else (),
    )
    names = [path for _, path in listing.images()] + [path for masks in listing.masks.values() for path in masks]
    problems = [
        f"{str(path)!a}: expected a file name in UTF-8, found other bytes"
        for path in names
        if any("\ud800" <= letter <= "\udfff" for letter in str(path))
    ]
    needed = [(folder / "train" / "good", "normal images")]
    needed += [(folder / "test" / defect, "images of the defect") for defect in defects]
    needed += [(folder / "ground_truth" / defect, "the masks of the defect") for defect in defects]
    return listing, problems + [problem for path, what in needed for problem in _empty(path, what)]


def _empty(folder: Path, what: str) -> list[str]:
    """A problem where `folder` is missing or holds no image."""
    if not folder.is_dir():
        return [f"{folder}: expected a folder with {what}, found {_folders_in(folder.parent)}"]
    if find_images(folder):
        return []
    others = len(list(folder.iterdir()))
    return [f"{folder}: expected {what} ({', '.join(SUFFIXES)}), found none among {others} files"]


def _folders_in(parent: Path) -> str:
    """What is in `parent` instead of the folder that was looked for."""
    if not parent.is_dir():
        return f"that {parent} is no folder either"
    names = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    return f"beside it only {', '.join(names)}" if names else "nothing beside it"


def _pair(listing: _Listing) -> tuple[dict[Path, Path], list[str]]:
    """Image -> mask, and a problem for each file without its counterpart or with a second one."""
    pairs: dict[Path, Path] = {}
    problems: list[str] = []
    for paths in (listing.normals, listing.test_normals):
        _by_stem(paths, problems)
    for defect, paths in listing.defects.items():
        images = _by_stem(paths, problems)
        masks = _by_stem(listing.masks[defect], problems)
        for stem, path in images.items():
            if stem + _MASK_ENDING in masks:
                pairs[path] = masks[stem + _MASK_ENDING]
            elif masks:
                problems.append(f"{path}: expected a mask ground_truth/{defect}/{stem}_mask.png, found none")
        for stem, path in masks.items():
            if not stem.endswith(_MASK_ENDING):
                problems.append(f"{path}: expected the name <stem of the image>_mask, found {path.name}")
            elif stem.removesuffix(_MASK_ENDING) not in images:
                image = f"test/{defect}/{stem.removesuffix(_MASK_ENDING)}.png"
                problems.append(f"{path}: expected an image {image}, found none")
    return pairs, problems


def _by_stem(paths: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    """Stem -> file; a second file of the same stem is added to `problems`."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        first = by_stem.setdefault(path.stem, path)
        if first != path:
            problems.append(f"{path}: expected one file of this stem in the folder, found {first.name} too")
    return by_stem


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


def _read_groups(config: RunConfig, images: Sequence[tuple[str, Path]]) -> tuple[dict[Path, str], list[str]]:
    """Image -> group from `groups.csv`, and the problems of that file; no groups without it."""
    path = config.category_folder / GROUPS_FILE
    asked = config.data.group_column
    if not path.is_file():
        missing = f"{path}: expected because data.group_column is {asked!r}, found no such file"
        return {}, [missing] if asked else []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restval="", skipinitialspace=True)
            columns = [name.strip() for name in table.fieldnames or ()]
            table.fieldnames = columns
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return {}, [f"{path}: expected a table as CSV in UTF-8, found: {error}"]
    column, problem = _group_column(columns, asked)
    if problem:
        return {}, [f"{path}: {problem}"]
    names = [row["file"].strip().replace("\\", "/").removeprefix("./") for row in rows]
    twice = [name for name, times in Counter(names).items() if times > 1]
    problems = [f"{path}: expected every file once, found {name} more often" for name in twice]
    group_of = {name: row[column].strip() for name, row in zip(names, rows, strict=True)}
    groups = {image: group_of.get(_relative(image, config.category_folder), "") for _, image in images}
    for image in (image for image, group in groups.items() if not group):
        problems.append(f"{image}: expected a row with a {column} in groups.csv, found none")
    return groups, problems


def _group_column(columns: Sequence[str], asked: str | None) -> tuple[str, str]:
    """The column that names the group and an empty problem, or the other way round."""
    shown = ", ".join(columns) or "none"
    if "file" not in columns:
        return "", f"expected a column 'file', found the columns {shown}"
    if asked:
        return asked, "" if asked in columns else f"expected the column {asked!r}, found the columns {shown}"
    named = ["group"] if "group" in columns else [name for name in columns if name.endswith("_group")]
    if len(named) == 1:
        return named[0], ""
    expected = "expected a column 'group', one column ending in '_group', or data.group_column in the config"
    return "", f"{expected}, found the columns {shown}"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """`function` of each item, in order; a few threads work ahead, each with one item at a time."""
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        yield from pool.map(function, items)
