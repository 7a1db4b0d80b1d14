"""The findings of a check: what was decided about the real images, and what looks wrong though it can be used."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from defectfill.config.affects import keys_of
from defectfill.config.loading import is_set
from defectfill.config.run import RunConfig
from defectfill.ingest.find import passed_over, shortened
from defectfill.ingest.leaks import find_leaks
from defectfill.io.images import examine_mask, is_turned
from defectfill.io.mask_values import MaskReading, named
from defectfill.io.white_level import FULL
from defectfill.masks.held_out import HELD_OUT
from defectfill.painting.window import latent_cells, window_box
from defectfill.records.leakage import WORDS
from defectfill.records.snapshot import ImageRecord, white_level_in

MOST_COVERED = 0.5
"""A mask that covers more of its picture looks inverted."""
LEAST_AREA_PX = 9
"""Of smaller defects even pasted copies are refused: what changed counts as noise, or is mostly its own soft rim."""
MOST_REDUCED = 1.5
"""Windows that are reduced by more come out visibly soft (benchmarks.real, threads of screws by 1.7)."""


def notes(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for everything that was decided about values of images and masks, and for keys without effect."""
    if not config.generate.uses_base:
        free = (key for key in keys_of(RunConfig) if key.is_for_diffusion and not key.field.is_required())
        keys = [key.path for key in free if not key.path.startswith("base.")]
        without = _without_effect(config, keys)
        yield f"generate.painter: {config.generate.painter} needs no base and no training{without}"
    if config.masks.source == HELD_OUT:
        keys = [f"masks.{name}" for name in type(config.masks).model_fields if name != "source"]
        if without := _without_effect(config, keys):
            yield f"masks.source: held_out takes masks as they lie{without}"
    if white := white_level_in(records):
        how = "by the largest value of normals and references" if config.data.white_level == "auto" else "as asked for"
        yield (
            f"white is {white} of {FULL} in images of 16 bits ({white.bit_length()} bits), {how}; "
            "data.white_level sets another"
        )
    turned = [record.path for record in records if record.mask_path and is_turned(config.category_folder / record.path)]
    if turned:
        yield (
            f"{len(turned)} images of defects are read turned, as their EXIF says, and their masks as they lie: "
            f"{shortened(turned)}"
        )
    for defect in config.data.defects:
        yield from _mask_notes(config, defect, [record for record in records if record.defect == defect])


def _without_effect(config: RunConfig, keys: Sequence[str]) -> str:
    """Return in words which of some keys, none of which decides anything here, the config sets."""
    found = [key for key in keys if is_set(config, key)]
    return f"; without effect: {', '.join(found)}" if found else ""


def warnings(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for whatever is passed over, looks wrong, or is too small or too large to be learnt well."""
    if config.data.white_level != "auto" and not any(record.bit_depth == 16 for record in records):
        yield "data.white_level: counts for images of 16 bits only, of which there is none"
    for folder, names in passed_over(config).items():
        passed = f"{len(names)} files are passed over, in a format that is not read or in a folder"
        yield f"{folder}: {passed}: {shortened(names)}"
    sides: dict[str, list[int]] = defaultdict(list)
    for record in records:
        if not record.mask_path:
            continue
        if record.mask_area_px > MOST_COVERED * record.width * record.height:
            covered = record.mask_area_px / (record.width * record.height)
            yield f"{record.mask_path}: covers {covered:.1%} of its picture; is it inverted, black on white?"
        if record.role == "reference" and record.mask_area_px < LEAST_AREA_PX:
            small = f"has {record.mask_area_px} pixels; of less than {LEAST_AREA_PX} hardly anything is kept"
            yield f"{record.mask_path}: its defect {small}"
        if record.role == "reference" and config.generate.uses_base:
            mask = examine_mask(Path(config.category_folder, record.mask_path)).mask
            box = window_box(mask, config.window, config.latent_side)
            sides[record.defect].append(box[2] - box[0])
            yield from _thinness(record, latent_cells(mask, box, config.latent_side))
    for defect, found in sides.items():
        yield from _coarseness(defect, round(float(np.median(found))), config.base.resolution)
    yield from _leaks(config, records)


def _leaks(config: RunConfig, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for each way in which the test split is among what is learnt from, with some of the files."""
    if config.masks.source == HELD_OUT:
        yield (
            "masks.source: the masks of held-out images are planned, so what is measured on them says too much; the "
            "dataset is stamped as leaky"
        )
    leaks = find_leaks(config, records)
    for kind, words in WORDS.items():
        found = [f"{leak.path} is {leak.held_out} ({leak.likeness:.2f})" for leak in leaks if leak.kind == kind]
        if found:
            yield (
                f"leak: {len(found)} {words}: {shortened(found)}; remove one of each, or name their part in groups.csv"
            )


def _mask_notes(config: RunConfig, defect: str, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for each way in which masks of one defect were read where it had to be decided."""
    by_rule: dict[str, list[MaskReading]] = defaultdict(list)
    for record in records:
        reading = examine_mask(config.category_folder / record.mask_path)
        if not reading.is_plain:
            by_rule[reading.rule].append(reading)
    for rule, readings in sorted(by_rule.items()):
        counts: dict[int, int] = defaultdict(int)
        for reading in readings:
            for value, count in reading.counts.items():
                counts[value] += count
        masks = f"{len(readings)} of {len(records)} masks"
        if rule == "any value":
            yield f"{defect}: in {masks} every value above 0 counts as the defect: {named(counts)}"
        else:
            left_out = sum(reading.left_out_px for reading in readings)
            kept = sum(int(reading.mask.sum()) for reading in readings)
            yield (
                f"{defect}: {masks} have smooth outlines; values from half on count, {kept} pixels, "
                f"{left_out} darker ones do not"
            )


def _coarseness(defect: str, side: int, resolution: int) -> Iterator[str]:
    """Yield a line where windows of `side` pixels are much larger than the square in which they are painted."""
    if side > MOST_REDUCED * resolution:
        yield (
            f"{defect}: its windows of {side} px (median) are painted in {resolution}, so it comes out blurred; a "
            "larger base.resolution shows more (twice as large: four times as long), so does a closer window"
        )


def _thinness(record: ImageRecord, cells: float) -> Iterator[str]:
    """Yield a line where a reference's defect spans less than a latent cell."""
    if cells < 1:
        yield (
            f"{record.path}: the width of its defect spans {cells:.1f} latent cells; "
            "a larger base.resolution shows more of it"
        )
