"""The data that an adapter learns from, and scenes for its previews, read from the files of a run."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import numpy as np

from defectfill.config.run import RunConfig
from defectfill.io.errors import ConfigError
from defectfill.io.hashing import derive_seed
from defectfill.masks.objects import foreground_of
from defectfill.model.training.data import Reference, Scene, TrainingData
from defectfill.painting.window import Window, crop_window, window_box
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture, references_of
from defectfill.runs.run import Run
from mask_sampling import PlacementError, UncertainObject, bounding_box
from mask_sampling.placement import place_patch, scene
from mask_sampling.pose import register

PREVIEW_SCENES = 4
"""Scenes of a preview, over all defects."""


def divide_references(
    config: RunConfig, records: Sequence[ImageRecord], defect: str
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return the references of `defect` to learn from, and those kept: the last train.validation_references.

    Raises ConfigError where that leaves none to learn from.
    """
    own, validation = references_of(records, defect), config.train.validation_references
    if len(own) <= validation:
        expected = f"fewer than the {len(own)} references of {defect}"
        raise ConfigError(f"train.validation_references: expected {expected}, found {validation}")
    return own[: len(own) - validation], own[len(own) - validation :]


def read_training_data(run: Run, defect: str) -> TrainingData:
    """Read everything that the adapter that paints `defect` learns from."""
    config, snapshot = run.config, run.snapshot()
    learnt = config.defects_learnt_with(defect)
    divided = {each: divide_references(config, snapshot, each) for each in learnt}
    taught, kept = ({each: parts[index] for each, parts in divided.items()} for index in (0, 1))
    per_defect = max(PREVIEW_SCENES // len(learnt), 1)
    scenes = [scene for each in learnt for scene in _scenes(run, snapshot, each, per_defect)]
    return TrainingData(
        references=list(_references(run, taught)),
        validation=list(_references(run, kept)),
        scenes=scenes[:PREVIEW_SCENES],
        records=[record for own in taught.values() for record in own],
        validation_records=[record for own in kept.values() for record in own],
    )


def _references(run: Run, records: dict[str, list[ImageRecord]]) -> Iterator[Reference]:
    config, most = run.config, max(map(len, records.values()))
    for defect, own in records.items():
        windows = [_reference_window(run, record) for record in own]
        for window in islice(cycle(windows), most):
            yield Reference(window, config.prompts(defect), config.token(defect))


def _reference_window(run: Run, record: ImageRecord) -> Window:
    """Return the crop of a reference that training draws from, large enough for the largest resize."""
    config, folder = run.config, run.config.category_folder
    image, mask = read_picture(folder, record), read_defect(folder, record)
    side = round(config.base.resolution * config.train.max_resize)
    return crop_window(image, mask, window_box(mask, config.window, config.base.latent_side), side)


def _scenes(run: Run, snapshot: Sequence[ImageRecord], defect: str, count: int) -> Iterator[Scene]:
    """Yield up to `count` scenes, each a normal with the mask of a reference, unchanged in shape, where it has room."""
    config, folder = run.config, run.config.category_folder
    normals = [record for record in snapshot if record.role == "normal"]
    references = references_of(snapshot, defect)
    for index in range(count):
        mask = read_defect(folder, references[index % len(references)])
        image = read_picture(folder, normals[index % len(normals)])
        rng = np.random.default_rng(derive_seed(config.seed, config.category, defect, index, "preview"))
        try:
            foreground = foreground_of(config.masks, image)
            placed = place_patch(mask[bounding_box(mask)], scene(foreground, register([foreground])), rng)
        except (PlacementError, UncertainObject):
            continue
        resolution = config.base.resolution
        window = crop_window(image, placed, window_box(placed, config.window, config.base.latent_side), resolution)
        yield Scene(window, config.prompts(defect)[1])
