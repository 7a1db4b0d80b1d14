"""A forecast of the time, memory and disk that a run takes whose painter needs no base."""

import resource
import time
from collections.abc import Sequence

from defectfill.config.run import RunConfig
from defectfill.painting.gates import Gate
from defectfill.painting.measures import measure_sample
from defectfill.painting.window import window_box
from defectfill.records.forecast import Forecast, image_mib
from defectfill.records.plan import SampleSpec
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture, references_of
from defectfill.synthesis.painters import painter_without_base
from defectfill.synthesis.synthesize import synthesize

TIMES = 3
"""The same sample is painted and judged so often, and the shortest time counts."""


def forecast_without_base(config: RunConfig, records: Sequence[ImageRecord], paintings: int) -> Forecast:
    """Return how long so many paintings take, how much memory they need, and how much disk.

    records: the real images. Timed is a sample of the first defect, painted where its first reference has it.
    """
    seconds = min(_sample_seconds(config, records) for _ in range(TIMES))
    return Forecast(
        trainings=0,
        training_seconds=0.0,
        paintings=paintings,
        painting_seconds=seconds,
        memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        disk_mib=2 * paintings * image_mib(config, records),
    )


def _sample_seconds(config: RunConfig, records: Sequence[ImageRecord]) -> float:
    """Return the seconds that it takes to read, paint, stitch and judge one sample."""
    defect, folder = config.data.defects[0], config.category_folder
    painter, reference = painter_without_base(config, records, defect), references_of(records, defect)[0]
    mask = read_defect(folder, reference)
    box = window_box(mask, config.window, config.latent_side)
    picture = read_picture(folder, reference)
    gate = Gate.calibrated([measure_sample(picture, mask, mask, box)], config.gates, config.generate.painter)
    spec = SampleSpec(
        sample_id="measured",
        defect=defect,
        index=0,
        seed=0,
        prompt="",
        source_path=reference.path,
        source_sha256=reference.sha256,
        planned_mask_path=reference.mask_path,
        window=box,
        latent_cells=0.0,
        mask_sampler="reference",
        mask_like=(),
        mask_area_fraction=float(mask.mean()),
    )
    start = time.perf_counter()
    scenes = ((read_picture(folder, each), mask) for each in [reference])
    list(synthesize([spec], scenes, painter, gate, config.generate, config.base.resolution, 1.0))
    return time.perf_counter() - start
