"""The files of a category: found and paired, not yet opened."""

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from defectfill.config.masks import MasksConfig
from defectfill.config.run import RunConfig
from defectfill.io.errors import DataError
from defectfill.io.images import SUFFIXES
from defectfill.io.names import folder_named

GROUPS_FILE = "groups.csv"
MASK_ENDING = "_mask"
NAMED = 3
"""Files that are named of several."""
UNREAD = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".gif", ".heic", ".heif", ".jp2", ".jpe", ".jxl", ".nef"}
    | {".npy", ".pbm", ".pgm", ".pnm", ".ppm", ".raw", ".svg", ".tga"}
)
"""Endings of images that are not read, in lower case."""


class Listing(NamedTuple):
    """The files of a category that a config asks for, not yet opened."""

    normals: tuple[Path, ...]
    test_normals: tuple[Path, ...]
    defects: dict[str, tuple[Path, ...]]
    masks: dict[str, tuple[Path, ...]]
    groups_file: tuple[Path, ...]
    """Empty where there is none."""

    def images(self) -> list[tuple[str, Path]]:
        """Return every image as (defect, path): normals, test normals, then the defects in the config's order."""
        good = [("good", path) for path in (*self.normals, *self.test_normals)]
        return good + [(defect, path) for defect, paths in self.defects.items() for path in paths]


def find_images(folder: Path) -> tuple[Path, ...]:
    """Return the image files directly in `folder`, sorted by name; hidden ones do not count, no folder has none.

    A link to nothing counts: it is an image that is missed when it is read.
    """
    if not folder.is_dir():
        return ()
    found = (path for path in folder.iterdir() if path.is_file() or (path.is_symlink() and not path.exists()))
    files = [path for path in found if not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    return tuple(sorted(images, key=lambda path: path.name))


def passed_over(config: RunConfig) -> dict[Path, list[str]]:
    """Return, by the folders that are read, the names of what looks like images there but is not read, sorted.

    That is files of other formats, and folders with images in them; hidden files do not count.
    """
    category = config.category_folder
    folders = [category / "train" / "good", category / "test" / "good"]
    for defect in config.data.defects:
        folders += [folder_named(category / kind, defect) for kind in ("test", "ground_truth")]
    found = {folder: sorted(_passed_over_in(folder)) for folder in folders if folder.is_dir()}
    return {
        folder: [name.encode(errors="backslashreplace").decode() for name in names]
        for folder, names in found.items()
        if names
    }


def _passed_over_in(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            inside = (each for each in path.rglob("*") if each.suffix.lower() in UNREAD.union(SUFFIXES))
            yield from (each.relative_to(folder).as_posix() for each in inside)
        elif path.suffix.lower() in UNREAD:
            yield path.name


def mask_files(masks: MasksConfig) -> dict[str, Path]:
    """Return every file that the masks block names, by its key; DataError for those that are missing."""
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


def list_files(config: RunConfig) -> tuple[Listing, list[str]]:
    """Return the files of the category, and a problem for each folder that is missing or empty and each unusable name.

    Raises DataError where the category's own folder is missing.
    """
    folder = config.category_folder
    if not folder.is_dir():
        hint = "; data.root is the folder above the category's" if (folder.parent / "train").is_dir() else ""
        raise DataError(f"{folder}: expected the category's folder, found {_instead_of(folder)}{hint}")
    defects = config.data.defects
    groups_file = folder / GROUPS_FILE
    listing = Listing(
        normals=find_images(folder / "train" / "good"),
        test_normals=find_images(folder / "test" / "good"),
        defects={defect: find_images(folder_named(folder / "test", defect)) for defect in defects},
        masks={defect: find_images(folder_named(folder / "ground_truth", defect)) for defect in defects},
        groups_file=(groups_file,) if groups_file.is_file() else (),
    )
    names = [path for _, path in listing.images()] + [path for masks in listing.masks.values() for path in masks]
    problems = [
        f"{str(path)!a}: expected a file name in UTF-8, found other bytes"
        for path in names
        if any("\ud800" <= letter <= "\udfff" for letter in str(path))
    ]
    needed = [(folder / "train" / "good", "normal images")]
    needed += [(folder_named(folder / "test", defect), "images of the defect") for defect in defects]
    needed += [(folder_named(folder / "ground_truth", defect), "the masks of the defect") for defect in defects]
    return listing, problems + [problem for path, what in needed for problem in _empty(path, what)]


def _empty(folder: Path, what: str) -> list[str]:
    """Return a problem where `folder` is missing or holds no image."""
    if not folder.is_dir():
        return [f"{folder}: expected a folder with {what}, found {_instead_of(folder)}"]
    if find_images(folder):
        return []
    others, passed = len(list(folder.iterdir())), sorted(_passed_over_in(folder))
    hint = f"; passed over, in a format that is not read or in a folder: {shortened(passed)}" if passed else ""
    return [f"{folder}: expected {what} ({', '.join(SUFFIXES)}), found none among {others} files{hint}"]


def shortened(names: Sequence[str]) -> str:
    """Return names in a line, the first of them where there are many."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _instead_of(folder: Path) -> str:
    """Return what there is instead of a folder that was looked for."""
    parent = folder.parent
    if folder.is_file():
        return "a file"
    if not parent.is_dir():
        return f"that {parent} is no folder either"
    names = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    return f"beside it only {', '.join(names)}" if names else "nothing beside it"


def pair_masks(listing: Listing) -> tuple[dict[Path, Path], list[str]]:
    """Return image -> mask, and a problem for each file without its counterpart or with a second one."""
    pairs: dict[Path, Path] = {}
    problems: list[str] = []
    for paths in (listing.normals, listing.test_normals):
        _by_stem(paths, problems)
    for defect, paths in listing.defects.items():
        images = _by_stem(paths, problems)
        masks = _by_stem(listing.masks[defect], problems)
        for stem, path in images.items():
            if stem + MASK_ENDING in masks:
                pairs[path] = masks[stem + MASK_ENDING]
            elif masks:
                problems.append(f"{path}: expected a mask ground_truth/{defect}/{stem}_mask.png, found none")
        for stem, path in masks.items():
            if not stem.endswith(MASK_ENDING):
                problems.append(f"{path}: expected the name <stem of the image>_mask, found {path.name}")
            elif stem.removesuffix(MASK_ENDING) not in images:
                image = f"test/{defect}/{stem.removesuffix(MASK_ENDING)}.png"
                problems.append(f"{path}: expected an image {image}, found none")
    return pairs, problems


def _by_stem(paths: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    """Return stem, in one Unicode form -> file; a second file of the same stem is added to `problems`."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        first = by_stem.setdefault(unicodedata.normalize("NFC", path.stem), path)
        if first != path:
            problems.append(
                f"{path}: expected one file of this stem in the folder, found {_shown(first.name, path)} too"
            )
    return by_stem


def _shown(name: str, other: Path) -> str:
    """Return a name so that it looks unlike the other's also where these are Unicode forms of one another."""
    twins = name != other.name and unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other.name)
    return f"{name} ({name!a}, in another Unicode form)" if twins else name


def relative_path(path: Path, root: Path) -> str:
    """Return `path` as it stands in the tables: relative to `root`, with forward slashes."""
    return path.relative_to(root).as_posix()
