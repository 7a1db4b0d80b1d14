"""The traces of stitching: python -m benchmarks.stitch CONFIG [--samples 20] [--picture FILE]

For each defect of a config whose run has its plan and its adapters, the first samples are painted again. In one row
the whole blend region is pasted, which is what one would do without a measure of change; in the other what the defect
changed, as `defectfill run` does.

changed    intersection over union of the label and the pixels that differ from the source
outside    pixels that differ from the source outside the label, over those of the label
gradient   mean gradient in the planned mask beside the label (grown by 2 pixels), over the source's there
planned    share of the planned mask that is in the label
ms         of processor time to find what is pasted and to paste it

Means over samples; a table per defect, then one JSON line. --picture writes the samples that changed most strongly, as
rows of source, candidate, change, result and label.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectfill.config.run import load_config
from defectfill.io.images import ImageArray, read_image, read_mask, write_png
from defectfill.model.inpaint.painter import open_painter
from defectfill.operations.prepare import prepare_run
from defectfill.painting.change import measure_change
from defectfill.painting.label import grown, intersection_over_union
from defectfill.painting.painter import Painting
from defectfill.painting.selection import select_low_fidelity
from defectfill.painting.stitch import Pasted, blend_region, paste_changed, stitch
from defectfill.painting.tiles import TILE_PX, Tile, outlined, titled_row
from defectfill.painting.window import Box, crop_window, resize
from defectfill.runs.plan import read_plan
from defectfill.runs.run import Run
from defectfill.synthesis.detail import detail_gain
from defectfill.synthesis.reuse import BATCH_FILE

BESIDE_PX = 2
EXAMPLES = 2
"""Rows of the picture, of each defect."""
TITLE = "source, planned mask outlined | candidate | what changed | result | label"


class Stitched(NamedTuple):
    """One sample with its candidate, pasted in one way."""

    source: ImageArray
    planned_mask: NDArray[np.bool_]
    box: Box
    painting: Painting
    pasted: Pasted
    result: ImageArray
    milliseconds: float

    @property
    def label(self) -> NDArray[np.bool_]:
        return self.pasted.mask(self.source.shape)

    @property
    def candidate(self) -> NDArray[np.float32]:
        return self.painting.candidate(select_low_fidelity(self.painting.scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    run = prepare_run(load_config(arguments.config))
    figures, rows = {}, []
    for defect in run.config.data.defects:
        ways = paint(run, defect, arguments.samples)
        print(f"{defect:16}" + "".join(f"{name:>10}" for name in ("changed", "outside", "gradient", "planned", "ms")))
        for name, samples in ways.items():
            figures[f"{defect} {name}"] = row = measure(samples, ways["changed"])
            print(f"{name:16}" + "".join(f"{value:10.3f}" for value in row.values()), flush=True)
        rows += [tiles(sample) for sample in sorted(ways["changed"], key=strength)[-EXAMPLES:]]
    if arguments.picture:
        titles = [TITLE] + [""] * (len(rows) - 1)
        picture = [titled_row(title, row, len(row)) for title, row in zip(titles, rows, strict=True)]
        write_png(arguments.picture, np.concatenate(picture))
    print(json.dumps(figures))


def paint(run: Run, defect: str, count: int) -> dict[str, list[Stitched]]:
    """Return the first samples of the plan, pasted whole and where they changed."""
    specs = [spec for spec in read_plan(run, defect) if not spec.reason][:count]
    config, settings = run.config, run.config.generate
    painter = open_painter(
        config.base, settings, run.record.distance, run.adapter_folder(defect), run.folder / BATCH_FILE
    )
    scenes = [
        (read_image(config.category_folder / spec.source_path), read_mask(run.folder / spec.planned_mask_path))
        for spec in specs
    ]
    windows = [crop_window(*scene, s.window, config.base.resolution) for scene, s in zip(scenes, specs, strict=True)]
    paintings = painter.paint(windows, [spec.seed for spec in specs], [spec.prompt for spec in specs])
    ways: dict[str, list[Stitched]] = {"whole": [], "changed": []}
    gains = {"whole": 0.0, "changed": detail_gain(run.folder, defect)}
    for (source, mask), spec, painting in zip(scenes, specs, paintings, strict=True):
        candidate = painting.candidate(select_low_fidelity(painting.scores))
        for name, samples in ways.items():
            start = time.thread_time()
            if name == "whole":
                pasted = Pasted(*blend_region(mask, spec.window))
            else:
                pasted = paste_changed(
                    source, candidate, painting.reconstruction, spec.window, mask, min_change=settings.min_change
                )
            result = stitch(source, candidate, spec.window, pasted, gains[name])
            spent = 1000 * (time.thread_time() - start)
            samples.append(Stitched(source, mask, spec.window, painting, pasted, result, spent))
    return ways


def measure(samples: list[Stitched], changed: list[Stitched]) -> dict[str, float]:
    """Return the means over samples; where nothing but the defect changed is said by `changed`, the same samples."""
    figures = []
    for sample, tight in zip(samples, changed, strict=True):
        label, differs = tight.label, (sample.source != sample.result).any(axis=2)
        beside = sample.planned_mask & ~grown(label, BESIDE_PX)
        gradients = [_gradient(image)[beside] for image in (sample.result, sample.source)]
        figures.append(
            (
                intersection_over_union(label, differs),
                float((differs & ~label).sum() / max(label.sum(), 1)),
                float(gradients[0].mean() / max(gradients[1].mean(), 1e-6)) if beside.any() else np.nan,
                float((label & sample.planned_mask).sum() / sample.planned_mask.sum()),
                sample.milliseconds,
            )
        )
    names = ("changed", "outside", "gradient", "planned", "ms")
    return dict(zip(names, np.nanmean(figures, axis=0).tolist(), strict=True))


def _gradient(image: ImageArray) -> NDArray[np.float64]:
    return np.hypot(*np.gradient(image[..., :3].mean(axis=2)))


def strength(sample: Stitched) -> float:
    """Return the mean change of the pixels in the label."""
    return (
        float(np.abs(sample.result.astype(float) - sample.source)[sample.label].mean()) if sample.label.any() else 0.0
    )


def tiles(sample: Stitched) -> list[Tile]:
    """Return the row of the picture that a sample makes."""
    whole = np.ones(sample.candidate.shape[:2], dtype=bool)
    change = measure_change(sample.candidate, sample.painting.reconstruction, whole, 0.04)
    change = np.repeat(change[..., None] / max(float(change.max()), 1e-6), 3, axis=2)
    label = crop_window(sample.result, sample.label, sample.box, TILE_PX)
    return [
        outlined(crop_window(sample.source, sample.planned_mask, sample.box, TILE_PX)),
        resize(sample.candidate, TILE_PX),
        resize(change, TILE_PX),
        label.image,
        np.repeat(label.mask[..., None], 3, axis=2).astype(np.float32),
    ]


if __name__ == "__main__":
    main()
