"""The painter of a run, by its config's generate.painter."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from defectfill.config.run import RunConfig
from defectfill.io.errors import ModelError
from defectfill.painting.painter import Painter
from defectfill.painting.paste import PastePainter, cut_out
from defectfill.painting.perlin import PerlinPainter
from defectfill.records.snapshot import ImageRecord, read_defect, read_picture, references_of
from defectfill.runs.run import Run
from defectfill.synthesis.reuse import BATCH_FILE


def open_painter(run: Run, defect: str) -> Painter:
    """Return what paints a defect of a run. Only the base with the defect's adapter loads torch.

    Raises ModelError where that is on a device of another kind than the run was begun on.
    """
    config = run.config
    if not config.generate.uses_base:
        return _remembered(run.folder, defect)
    from defectfill.model.inpaint.painter import open_painter as open_base

    assert run.record.distance != "pixels"
    adapter, batch = run.adapter_folder(defect), run.folder / BATCH_FILE
    painter = open_base(config.base, config.generate, run.record.distance, adapter, batch)
    if not run.record.device.startswith(found := painter.base.device.type):
        raise ModelError(f"{run.uri}: was begun on {run.record.device}, but this process finds a {found} only")
    return painter


def painter_without_base(config: RunConfig, records: Sequence[ImageRecord], defect: str) -> Painter:
    """Return the painter of a config that needs no base; records: the real images."""
    generate, folder = config.generate, config.category_folder
    if generate.painter == "perlin":
        return PerlinPainter()
    pairs = ((read_picture(folder, each), read_defect(folder, each)) for each in references_of(records, defect))
    candidates = generate.candidates if generate.choice == "balanced" else 1
    return PastePainter([cut_out(picture, mask) for picture, mask in pairs], candidates)


@lru_cache(maxsize=8)
def _remembered(run_folder: Path, defect: str) -> Painter:
    """Return the painter of the run in `run_folder`, which has read its references; kept in the process."""
    run = Run.at(run_folder)
    return painter_without_base(run.config, run.snapshot(), defect)
