"""Masks for a category: what `mask_sampling` needs, read from the config and the files it names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from defectfill.config.masks import MasksConfig, ZonesConfig
from defectfill.config.run import RunConfig
from defectfill.ingest.find import find_images, mask_files
from defectfill.io.errors import DataError
from defectfill.io.hashing import derive_seed
from defectfill.io.images import ImageArray, read_image, read_mask
from defectfill.masks.held_out import HeldOutMasks
from defectfill.masks.objects import FoundObject, Mask, ObjectFinder, whole_frame
from defectfill.records.snapshot import ImageRecord, read_defect, references_of
from mask_sampling import PlacementError
from mask_sampling.placement import Scene
from mask_sampling.pose import carried
from mask_sampling.sampling import FOLDER, MaskSampler, Reference, SampledMask, Settings
from mask_sampling.shapes import ShapeSettings
from mask_sampling.spots import Spot


class CategoryMasks:
    """The masks of one defect of a category; DataError with every file that cannot be used."""

    def __init__(self, config: RunConfig, records: Sequence[ImageRecord], defect: str) -> None:
        folder, masks = config.category_folder, config.masks
        self._held_out: HeldOutMasks | None = None
        if masks.source == "held_out":
            self._held_out = HeldOutMasks(config, records, defect)
            masks = masks.model_copy(update={"foreground": "full"})  # they stay where they lie, whatever is there
        own, normals = references_of(records, defect), [record for record in records if record.role == "normal"]
        self._objects = ObjectFinder(masks, folder, own, normals)
        usable = [(record, found) for record, found in zip(own, self._objects.found, strict=True) if found]
        references = [
            Reference(read_defect(folder, record), found.foreground, found.offset) for record, found in usable
        ]
        seed = derive_seed(config.seed, config.category, defect, "masks")
        self.names = self._held_out.names if self._held_out else [Path(record.path).stem for record, _ in usable]
        """Of the real images that masks follow, in the order of `SampledMask.like`."""
        settings = replace(_settings(masks), same_pose=self._objects.way == "aligned")
        self.sampler = MaskSampler(references, settings, seed, list(folder_masks(masks)))
        self._zones = _Zones(masks.zones, self._find, self.sampler) if masks.zones else None
        if self._zones is not None:
            self._zones.check_sizes(normals)

    @property
    def note(self) -> str:
        """What was decided where the object does not stand out from its ground, in a line; empty elsewhere."""
        return self._objects.note

    def scene(self, image: ImageArray) -> Scene:
        """Return where defects may be in a normal [H, W, C].

        Raises PlacementError when the object is not surely found, or the zones leave nothing of it.
        """
        found = self._find(image)
        permitted = None if self._zones is None else self._zones.permitted(found)
        return self.sampler.scene(found.foreground, permitted, found.offset)

    def sample(self, on: Scene, index: int, others: Sequence[Spot] = ()) -> SampledMask:
        """Return the mask of an index on a scene; raises as MaskSampler.sample. Held-out masks mind no `others`."""
        return self._held_out.sample(on, index) if self._held_out else self.sampler.sample(on, index, others)

    def _find(self, image: ImageArray) -> FoundObject:
        """Return the object in an image; where the references are textures, the whole frame."""
        is_texture = self.sampler.registration.kind == "frame" and self._objects.way == "object"
        return whole_frame(image) if is_texture else self._objects.find(image)


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
    if masks.folder is None or FOLDER not in masks.samplers:
        return
    mask_files(masks)  # raises where there is none
    for path in find_images(masks.folder):
        mask = read_mask(path)
        if not mask.any():
            raise DataError(f"{path}: expected a mask, found nothing white")
        yield mask


class _Zones:
    """The user's zones, as they lie on the object they were drawn over, or in the frame."""

    def __init__(self, zones: ZonesConfig, find: Callable[[ImageArray], FoundObject], sampler: MaskSampler) -> None:
        self._sampler = sampler
        self._paths = zones
        self._drawn_on = _object_in(zones.drawn_on, find) if zones.drawn_on else None
        self._allowed = read_mask(zones.allowed) if zones.allowed else None
        self._forbidden = read_mask(zones.forbidden) if zones.forbidden else None
        if self._allowed is not None and not self._allowed.any():
            raise DataError(f"{zones.allowed}: expected white where defects may be, found none")
        if self._forbidden is not None and self._forbidden.all():
            raise DataError(f"{zones.forbidden}: expected something that is not white, found white alone")
        if self._drawn_on is not None:
            self._check(self._drawn_on.foreground.shape)

    def check_sizes(self, normals: Iterable[ImageRecord]) -> None:
        """Raise DataError where zones that are fixed in the frame have another size than a normal."""
        if self._drawn_on is None:
            for shape in sorted({(record.height, record.width) for record in normals}):
                self._check(shape)

    def permitted(self, found: FoundObject) -> Mask:
        """Return where the zones let defects be [H, W], in the image with this object."""
        permitted = np.ones(found.foreground.shape, dtype=bool)
        if self._allowed is not None:
            permitted &= self._on(found, self._allowed)
        return permitted if self._forbidden is None else permitted & ~self._on(found, self._forbidden)

    def _on(self, found: FoundObject, zone: Mask) -> Mask:
        if self._drawn_on is None:
            self._check(found.foreground.shape)
            return zone
        registration, drawn_on = self._sampler.registration, self._drawn_on
        drawn_pose = registration.pose(drawn_on.foreground)
        pose = registration.pose_like(drawn_pose, found.foreground)
        return carried(zone, drawn_pose.moved(drawn_on.offset), pose.moved(found.offset), found.foreground.shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        for path, zone in ((self._paths.allowed, self._allowed), (self._paths.forbidden, self._forbidden)):
            if zone is not None and zone.shape != shape:
                expected, found = (f"{size[1]} x {size[0]}" for size in (shape, zone.shape))
                raise DataError(f"{path}: expected {expected} pixels like the image it is for, found {found}")


def _object_in(path: Path, find: Callable[[ImageArray], FoundObject]) -> FoundObject:
    """Return the object in the picture that zones were drawn over; DataError where it is not surely found."""
    try:
        return find(read_image(path))
    except PlacementError as problem:
        raise DataError(f"{path}: {problem}; see masks.foreground") from problem
