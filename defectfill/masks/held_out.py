"""The masks of held-out images, as the paper plans them: what is made with them has seen the test split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defectfill.config.run import RunConfig
from defectfill.io.errors import ConfigError
from defectfill.records.snapshot import ImageRecord, read_defect
from mask_sampling import PlacementError
from mask_sampling.placement import Scene
from mask_sampling.sampling import SampledMask

HELD_OUT = "held_out"
"""The column mask_sampler of what is planned so."""


class HeldOutMasks:
    """The masks of a defect's held-out images, each in turn, as they lie; ConfigError where none is held out."""

    def __init__(self, config: RunConfig, records: Sequence[ImageRecord], defect: str) -> None:
        held_out = [record for record in records if (record.role, record.defect) == ("held_out", defect)]
        if not held_out:
            raise ConfigError(f"masks.source: held_out needs held-out images of {defect}, found none")
        self._folder, self._records = config.category_folder, held_out
        self.names = [Path(record.path).stem for record in held_out]

    def sample(self, on: Scene, index: int) -> SampledMask:
        """Return the mask of an index, stretched where the scene has another size than its own image.

        Raises PlacementError where nothing of it is left at that size.
        """
        import cv2

        number = index % len(self._records)
        mask = read_defect(self._folder, self._records[number])
        height, width = on.allowed.shape
        stretched = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        if not stretched.any():
            raise PlacementError(f"nothing is left of {self._records[number].mask_path} at {width} x {height} pixels")
        return SampledMask(stretched, HELD_OUT, (number,))
