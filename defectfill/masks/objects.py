"""The object in each picture of a category, found in one of three ways, and which of them is right for a defect.

object    it stands out from its ground and is cut out, or all pictures are textures
aligned   it does not stand out, but lies the same in all pictures, which are brought on top of each other
full      neither: the whole frame is taken for a texture
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from defectfill.config.masks import MasksConfig
from defectfill.io.errors import DataError
from defectfill.io.images import ImageArray
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture
from mask_sampling import PlacementError, UncertainObject
from mask_sampling.alignment import Offset, Template
from mask_sampling.foreground import find_object

Mask = NDArray[np.bool_]
Way: TypeAlias = Literal["object", "aligned", "full"]

LOOKED_AT = 8
"""Normals that are compared before pictures count as alike."""
CERTAIN_SHARE = 0.5
"""Share of the references in which the object has to be found."""
ALIKE_SHARE = 0.75
"""Share of the pictures that have to be alike."""
DEFECT_SHARE = 0.5
"""What stands out may be the defect and no object where the defect covers at least this share of it."""


@dataclass(frozen=True)
class FoundObject:
    """Where an object is in a picture."""

    foreground: Mask
    """[H, W]"""
    offset: Offset = (0, 0)
    """By how much it has moved, where that and not the foreground tells."""


class ObjectFinder:
    """Finds the object in the pictures of a category, in the way that its references allow."""

    def __init__(
        self, masks: MasksConfig, folder: Path, references: Sequence[ImageRecord], normals: Sequence[ImageRecord]
    ) -> None:
        self._masks, self._folder, self._normals = masks, folder, normals
        self.pictures = [read_picture(folder, record) for record in references]
        """Of the references, [H, W, C]."""
        self.note = ""
        """What was decided where the object does not stand out, in a line; empty elsewhere."""
        self._template: Template | None = None
        self.way: Way = "full" if masks.foreground == "full" else "object"
        self.found: Sequence[FoundObject | None] = ()
        """In the references; None in one that tells nothing of where its defect lies."""
        if masks.foreground == "aligned":
            self.way, self._template = "aligned", Template(read_picture(folder, normals[0]))
        if self.way == "object":
            self._find_or_step_down(references)
        else:
            self.found = self._find_all(references)

    def find(self, image: ImageArray) -> FoundObject:
        """Return the object in an image [H, W, C].

        Raises PlacementError where it is not surely found, or the image is not like the others.
        """
        if self.way == "full":
            return whole_frame(image)
        if self.way == "object":
            try:
                return FoundObject(foreground_of(self._masks, image))
            except UncertainObject as problem:
                raise PlacementError(str(problem)) from problem
        assert self._template is not None
        aligned = self._template.align(image)
        if not aligned.is_alike:
            raise PlacementError(
                f"expected the part as it lies in {self._normals[0].path}, found a picture that is not alike "
                f"(correlation {aligned.likeness:.2f}); see masks.foreground"
            )
        return FoundObject(whole_frame(image).foreground, aligned.offset)

    def _find_or_step_down(self, references: Sequence[ImageRecord]) -> None:
        """Find the objects of the references; where all that are certain are textures, so are the others.

        So are all where what stands out is a defect, and the normals are textures. Masks follow the certain ones as
        long as those are CERTAIN_SHARE of all.
        """
        found: list[Mask | None] = []
        problems = []
        for record, picture in zip(references, self.pictures, strict=True):
            try:
                found.append(foreground_of(self._masks, picture))
            except UncertainObject as problem:
                found.append(None)
                problems.append(f"{record.path}: {problem}")
        certain = [foreground for foreground in found if foreground is not None]
        are_textures = bool(certain) and all(foreground.all() for foreground in certain)
        if are_textures or (self._some_are_defects(references, found) and self._normals_are_textures()):
            self.found = [whole_frame(picture) for picture in self.pictures]
            return
        doubtful = problems if len(certain) < CERTAIN_SHARE * len(found) else self._all_uncertain()
        if doubtful:
            self._step_down(doubtful[0], references)
            return
        self.found = [None if foreground is None else FoundObject(foreground) for foreground in found]
        if problems:
            self.note = (
                f"the object is not surely found in {len(problems)} of {len(found)} references, masks follow the "
                f"others (see masks.foreground); {problems[0]}"
            )

    def _some_are_defects(self, references: Sequence[ImageRecord], found: Sequence[Mask | None]) -> bool:
        """Return whether what stands out in some of the references is for the most part their defect."""
        for record, foreground in zip(references, found, strict=True):
            if foreground is not None and not foreground.all():
                defect = read_defect(self._folder, record)
                if (foreground & defect).sum() >= DEFECT_SHARE * foreground.sum():
                    return True
        return False

    def _normals_are_textures(self) -> bool:
        """Return whether most of those normals are textures in which that is certain, of the first few."""
        are_textures = []
        for record in self._normals[:LOOKED_AT]:
            with suppress(UncertainObject):
                picture = read_picture(self._folder, record)
                are_textures.append(bool(foreground_of(self._masks, picture).all()))
        return sum(are_textures) > len(are_textures) / 2

    def _all_uncertain(self) -> list[str]:
        """Return why the object is not found in any of the normals; nothing as soon as it is in one."""
        problems = []
        for record in self._normals:
            try:
                foreground_of(self._masks, read_picture(self._folder, record))
            except UncertainObject as problem:
                problems.append(f"{record.path}: {problem}")
            else:
                return []
        return problems

    def _step_down(self, why: str, references: Sequence[ImageRecord]) -> None:
        """Take pictures that are alike for aligned ones, others for textures."""
        template = Template(read_picture(self._folder, self._normals[0]))
        aligned = [template.align(picture) for picture in [*self.pictures, *self._some_normals()]]
        alike = [each for each in aligned if each.is_alike]
        if all(each.is_alike for each in aligned[: len(self.pictures)]) and len(alike) >= ALIKE_SHARE * len(aligned):
            self.way, self._template = "aligned", template
            most = max(abs(length) for each in alike for length in each.offset)
            taken = (
                f"it lies the same in all pictures, but for {most} px, so defects lie where the references have them"
            )
            other = "full takes the frame for a texture"
        else:
            self.way = "full"
            taken = "nor does it lie the same in all pictures, so the whole frame is taken for a texture"
            other = "aligned insists on one pose"
        self.note = f"the part does not stand out surely from its ground, {taken} (masks.foreground: {other}); {why}"
        self.found = self._find_all(references)

    def _some_normals(self) -> Iterator[ImageArray]:
        for record in self._normals[1 : LOOKED_AT + 1]:
            yield read_picture(self._folder, record)

    def _find_all(self, references: Sequence[ImageRecord]) -> list[FoundObject]:
        """Return the object in each reference; DataError with those that are not like the others."""
        found, problems = [], []
        for record, picture in zip(references, self.pictures, strict=True):
            try:
                found.append(self.find(picture))
            except PlacementError as problem:
                problems.append(f"{self._folder / record.path}: {problem}")
        if problems:
            raise DataError(problems)
        return found


def foreground_of(masks: MasksConfig, image: ImageArray) -> Mask:
    """Return the object [H, W] in an image, or the whole frame; UncertainObject where they are not to be told apart."""
    if masks.foreground != "auto":
        return whole_frame(image).foreground
    return np.asarray(find_object(image).probability >= masks.min_probability)


def whole_frame(image: ImageArray) -> FoundObject:
    """Return the whole frame of an image [H, W, C], as the object that a texture is."""
    return FoundObject(np.ones(image.shape[:2], dtype=bool))
