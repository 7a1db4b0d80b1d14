"""Leaks: photographs and masks of the test split that are among those that a category's images are made from."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectfill.config.run import RunConfig
from defectfill.ingest.find import mask_files
from defectfill.ingest.ingest import in_threads
from defectfill.ingest.near_duplicates import (
    SAME,
    Thumbnail,
    hash_distances,
    likeness,
    orientations,
    perceptual_hash,
    thumbnail,
)
from defectfill.io.images import read_image, read_mask
from defectfill.io.progress import progress
from defectfill.records.leakage import Kind, Leak
from defectfill.records.snapshot import ImageRecord, read_picture

NEAREST = 8
"""Photographs, the nearest by their hash, that one of the test split is compared with."""
FARTHEST = 0.36
"""Share of signs in which their hashes may differ; those of unrelated photographs differ in about 0.4."""
REMEMBERED = 1024
"""Thumbnails that are kept in memory, 81 KiB each."""
SAME_MASK = 0.85
"""Intersection over union of masks that are one, each as it lies in its frame."""
LEAST_PX = 64
"""Masks of fewer pixels, and boxes, are alike by chance: moved ones do not count."""
PLACES = 64
"""Masks are compared as they lie at this many pixels squared."""
FOLDER_KEY = "masks.folder/"


def find_leaks(config: RunConfig, records: Sequence[ImageRecord]) -> list[Leak]:
    """Return every normal, reference and mask to learn from that is one of the test split, in the records' order.

    Images are read when their hashes are near, one at a time and thread. A photograph of the test split is found where
    it is among the NEAREST of the others.
    """
    folder, masks = config.category_folder, _masks_to_learn_from(config, records)
    learnt = [record for record in records if record.role in ("normal", "reference")]
    tested = [record for record in records if record.role in ("held_out", "test_normal")]
    held_out = {record.mask_path: folder / record.mask_path for record in tested if record.mask_path}
    found = [*_photograph_leaks(folder, learnt, tested), *_mask_leaks(masks, held_out)]
    order = {path: number for number, path in enumerate([*(record.path for record in records), *masks])}
    return sorted(found, key=lambda leak: (order[leak.path], leak.held_out))


def _masks_to_learn_from(config: RunConfig, records: Sequence[ImageRecord]) -> dict[str, Path]:
    """Return the masks of references and of masks.folder by the name that a leak gives them."""
    own = [record.mask_path for record in records if record.role == "reference"]
    drawn = {key: path for key, path in mask_files(config.masks).items() if key.startswith(FOLDER_KEY)}
    return {path: config.category_folder / path for path in own} | drawn


def _photograph_leaks(folder: Path, learnt: Sequence[ImageRecord], tested: Sequence[ImageRecord]) -> Iterator[Leak]:
    """Yield the photographs to learn from that are one of the test split."""
    if not learnt or not tested:
        return
    hashes = [_hash_of(folder, record) for record in learnt]

    @lru_cache(maxsize=REMEMBERED)
    def thumbnail_of(record: ImageRecord) -> Thumbnail:
        return thumbnail(read_picture(folder, record))

    def compare(twin: ImageRecord) -> list[Leak]:
        distances = hash_distances(hashes, [_hash_of(folder, twin)])[:, 0]
        nearest = np.argsort(distances, kind="stable")[:NEAREST]
        near = [learnt[each] for each in nearest if distances[each] <= FARTHEST]
        values = [likeness(thumbnail_of(record), thumbnail_of(twin)) for record in near]
        return [_leak(*pair, twin) for pair in zip(near, values, strict=True) if pair[1] >= SAME]

    for leaks in progress(in_threads(compare, tested), "search for leaks", total=len(tested)):
        yield from leaks


def _leak(record: ImageRecord, value: float, twin: ImageRecord) -> Leak:
    kind: Kind = "normal" if record.role == "normal" else "reference"
    return Leak(kind=kind, path=record.path, held_out=twin.path, likeness=round(value, 2))


def _hash_of(folder: Path, record: ImageRecord) -> str:
    return record.perceptual_hash or perceptual_hash(read_image(folder / record.path))


@dataclass(frozen=True)
class _Shape:
    """A mask, to be compared with others."""

    digest: str
    """Of the mask without what is empty around it, the same however it is turned; empty where chance makes it alike."""
    cover: NDArray[np.float32]
    """Share of each of PLACES x PLACES fields of the frame that it covers, flat."""


def _mask_leaks(learnt: Mapping[str, Path], held_out: Mapping[str, Path]) -> Iterator[Leak]:
    """Yield the masks to learn from that are one of those held out, as it lies or moved and turned."""
    if not learnt or not held_out:
        return
    shapes, tested = ([_shape(path) for path in side.values()] for side in (learnt, held_out))
    covers = np.stack([shape.cover for shape in tested])
    for path, shape in zip(learnt, shapes, strict=True):
        kind: Kind = "folder_mask" if path.startswith(FOLDER_KEY) else "reference_mask"
        overlaps = np.minimum(covers, shape.cover).sum(axis=1) / np.maximum(covers, shape.cover).sum(axis=1)
        for twin, other, overlap in zip(held_out, tested, overlaps.tolist(), strict=True):
            value = 1.0 if shape.digest and shape.digest == other.digest else overlap
            if value >= SAME_MASK:
                yield Leak(kind=kind, path=path, held_out=twin, likeness=round(value, 2))


def _shape(path: Path) -> _Shape:
    import cv2

    mask = read_mask(path)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cover = cv2.resize(mask.astype(np.float32), (PLACES, PLACES), interpolation=cv2.INTER_AREA)
    usual = int(cut.sum()) < LEAST_PX or bool(cut.all())
    return _Shape("" if usual else min(map(_digest, orientations(cut))), np.asarray(cover).ravel())


def _digest(mask: NDArray[np.bool_]) -> str:
    return hashlib.sha256(f"{mask.shape} ".encode() + np.packbits(mask).tobytes()).hexdigest()
