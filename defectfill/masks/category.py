"""Masks for a category: what `mask_sampling` needs, read from the config and the files it names."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectfill.config.masks import MasksConfig, ZonesConfig
from defectfill.config.run import RunConfig
from defectfill.ingest.find import find_images
from defectfill.io.errors import DataError
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray, read_image, read_mask
from defectfill.records.snapshot import ImageRecord, read_picture, references_of
from mask_sampling import PlacementError, UncertainObject
from mask_sampling.foreground import find_object
from mask_sampling.placement import Scene
from mask_sampling.pose import carried
from mask_sampling.sampling import FOLDER, MaskSampler, Reference, Settings
from mask_sampling.shapes import ShapeSettings

Mask = NDArray[np.bool_]


class CategoryMasks:
    """The masks of one defect of a category; DataError with every file that cannot be used."""

    def __init__(self, config: RunConfig, records: Sequence[ImageRecord], defect: str) -> None:
        folder, masks = config.category_folder, config.masks
        own = references_of(records, defect)
        pictures = [(read_picture(folder, record), read_mask(folder / record.mask_path)) for record in own]
        foregrounds = _foregrounds(masks, [folder / record.path for record in own], [image for image, _ in pictures])
        references = [Reference(mask, foreground) for (_, mask), foreground in zip(pictures, foregrounds, strict=True)]
        seed = derive_seed(config.seed, config.category, defect, "masks")
        self.names = [Path(record.path).stem for record in own]
        """Of the references, in the sampler's order."""
        self.sampler = MaskSampler(references, _settings(masks), seed, list(folder_masks(masks)))
        self._config = masks
        self._zones = _Zones(masks, masks.zones, self.sampler) if masks.zones else None
        if self._zones is not None:
            self._zones.check_sizes(record for record in records if record.role == "normal")

    def scene(self, image: ImageArray) -> Scene:
        """Return where defects may be in a normal [H, W, C].

        Raises PlacementError when the object is not surely found, or the zones leave nothing of it.
        """
        if self.sampler.registration.kind == "frame":
            foreground = np.ones(image.shape[:2], dtype=bool)
        else:
            try:
                foreground = foreground_of(self._config, image)
            except UncertainObject as problem:
                raise PlacementError(str(problem)) from problem
        return self.sampler.scene(foreground, None if self._zones is None else self._zones.permitted(foreground))


def foreground_of(masks: MasksConfig, image: ImageArray) -> Mask:
    """Return the object [H, W] in an image, or the whole frame; UncertainObject where they are not to be told apart."""
    if masks.foreground == "full":
        return np.ones(image.shape[:2], dtype=bool)
    return np.asarray(find_object(image).probability >= masks.min_probability)


def _foregrounds(masks: MasksConfig, paths: Sequence[Path], images: Sequence[ImageArray]) -> list[Mask]:
    """Return the objects [H, W] of the references. Where all that are certain are textures, so are the others."""
    found: list[Mask | None] = []
    problems = []
    for path, image in zip(paths, images, strict=True):
        try:
            found.append(foreground_of(masks, image))
        except UncertainObject as problem:
            found.append(None)
            problems.append(f"{path}: {problem}; see masks.foreground")
    certain = [foreground for foreground in found if foreground is not None]
    if problems and not (certain and all(foreground.all() for foreground in certain)):
        raise DataError(problems)
    return [
        np.ones(image.shape[:2], dtype=bool) if foreground is None else foreground
        for foreground, image in zip(found, images, strict=True)
    ]


def _settings(masks: MasksConfig) -> Settings:
    return Settings(
        samplers=masks.samplers,
        shapes=ShapeSettings(masks.rotation_degrees, masks.elastic),
        turn_freely=masks.turn_freely,
        flip=masks.flip,
        placement="learned" if masks.placement == "learned" else "uniform",
        novelty=masks.novelty,
        max_cut=masks.max_cut,
        area_tolerance=masks.area_tolerance,
        count=masks.count,
        min_distance_px=masks.min_distance_px,
    )


def folder_masks(masks: MasksConfig) -> Iterator[Mask]:
    """Yield the user's own masks, for the sampler `folder`; DataError for one that cannot be used."""
    for path in find_images(masks.folder) if masks.folder and FOLDER in masks.samplers else ():
        mask = read_mask(path)
        if not mask.any():
            raise DataError(f"{path}: expected a mask, found nothing white")
        yield mask


class _Zones:
    """The user's zones, as they lie on the object they were drawn over, or in the frame."""

    def __init__(self, masks: MasksConfig, zones: ZonesConfig, sampler: MaskSampler) -> None:
        self._sampler = sampler
        self._paths = zones
        self._drawn_on = foreground_of(masks, read_image(zones.drawn_on)) if zones.drawn_on else None
        self._allowed = read_mask(zones.allowed) if zones.allowed else None
        self._forbidden = read_mask(zones.forbidden) if zones.forbidden else None
        if self._allowed is not None and not self._allowed.any():
            raise DataError(f"{zones.allowed}: expected white where defects may be, found none")
        if self._forbidden is not None and self._forbidden.all():
            raise DataError(f"{zones.forbidden}: expected something that is not white, found white alone")
        if self._drawn_on is not None:
            self._check(self._drawn_on.shape)

    def check_sizes(self, normals: Iterable[ImageRecord]) -> None:
        """Raise DataError where zones that are fixed in the frame have another size than a normal."""
        if self._drawn_on is None:
            for shape in sorted({(record.height, record.width) for record in normals}):
                self._check(shape)

    def permitted(self, foreground: Mask) -> Mask:
        """Return where the zones let defects be [H, W], in the image with this foreground."""
        permitted = np.ones(foreground.shape, dtype=bool)
        if self._allowed is not None:
            permitted &= self._on(foreground, self._allowed)
        return permitted if self._forbidden is None else permitted & ~self._on(foreground, self._forbidden)

    def _on(self, foreground: Mask, zone: Mask) -> Mask:
        if self._drawn_on is None:
            self._check(foreground.shape)
            return zone
        pose = self._sampler.registration.pose
        return carried(zone, pose(self._drawn_on), pose(foreground), foreground.shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        for path, zone in ((self._paths.allowed, self._allowed), (self._paths.forbidden, self._forbidden)):
            if zone is not None and zone.shape != shape:
                expected, found = (f"{size[1]} x {size[0]}" for size in (shape, zone.shape))
                raise DataError(f"{path}: expected {expected} pixels like the image it is for, found {found}")
