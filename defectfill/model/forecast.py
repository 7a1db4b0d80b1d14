"""A forecast of the time, memory and disk that a run takes, from a few measured steps on this machine."""

import itertools
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from defectfill.config.run import RunConfig
from defectfill.model.base.base import Base, shared_base
from defectfill.model.inpaint.painter import DiffusionPainter, find_samples_per_batch
from defectfill.model.inpaint.perceptual import make_distance
from defectfill.model.lora.adapter import trainable_adapter
from defectfill.model.training.data import Reference, TrainingData
from defectfill.model.training.latent_cache import cached_crops
from defectfill.model.training.train_lora import LoraJob, train_lora
from defectfill.painting.window import Window
from defectfill.records.forecast import MIB, Forecast, image_mib
from defectfill.records.snapshot import ImageRecord, references_of

FEW_STEPS, FEW_CROPS = 2, 1
TIMES = 3
"""Everything is timed this often, and the shortest counts: a machine does other things besides."""
MORE, MOST = 4, 64
"""So many times the few are timed too, to tell what one more takes; up to so many where that is lost in the noise."""
NOISE = 1.25
"""Times that are nearer to each other than this ratio tell nothing."""


def forecast(
    config: RunConfig,
    distance: Literal["vae", "lpips"],
    records: Sequence[ImageRecord],
    trainings: int,
    paintings: int,
) -> Forecast:
    """Return how long so many trainings and paintings take, how much memory they need, and how much disk.

    records: the real images.
    """
    base = shared_base(config.base)
    first_defect = config.data.defects[0]
    learnt = [references_of(records, defect) for defect in config.defects_learnt_with(first_defect)]
    crops = cached_crops(config.train, sum(map(len, learnt)))
    with TemporaryDirectory() as work:
        training = _training_seconds(base, config, first_defect, crops, Path(work))
    with trainable_adapter(base, config.train):
        base.unet.eval()
        base.text_encoder.eval()
        painting = _painting_seconds(base, config, distance)
    return Forecast(
        trainings=trainings,
        training_seconds=training,
        paintings=paintings,
        painting_seconds=painting,
        memory_mib=_used_mib(base),
        disk_mib=2 * paintings * image_mib(config, records),
    )


def _training_seconds(base: Base, config: RunConfig, defect: str, cached: int, work: Path) -> float:
    """Return the seconds that one adapter takes, from so many cached crops."""
    few_crops = FEW_CROPS if cached else 0  # without a cache every step encodes
    _seconds_of(base, config, defect, work / "warm", FEW_STEPS, few_crops)
    names = itertools.count()

    def seconds(steps: int, crops: int) -> float:
        return _seconds_of(base, config, defect, work / str(next(names)), steps, crops)

    few, step = few_and_each(lambda steps: seconds(steps, few_crops), FEW_STEPS)
    crop = 0.0
    if cached:
        _, crop = few_and_each(lambda crops: seconds(FEW_STEPS, crops), FEW_CROPS)
    return few + (config.train.steps - FEW_STEPS) * step + max(cached - FEW_CROPS, 0) * crop


def few_and_each(seconds: Callable[[int], float], few: int) -> tuple[float, float]:
    """Return the seconds that `few` of something take, and that each one more takes.

    seconds: does so many, and returns how long it took.
    """
    short = min(seconds(few) for _ in range(TIMES))
    more = MORE * few
    while (long := min(seconds(more) for _ in range(TIMES))) < NOISE * short and more < MOST * few:
        more *= 2
    return short, max(long - short, 0) / (more - few)


def _seconds_of(base: Base, config: RunConfig, defect: str, work: Path, steps: int, crops: int) -> float:
    """Return the seconds that it takes to train an adapter on noise for so many steps, from so many cached crops."""
    side = round(config.base.resolution * config.train.max_resize)
    mask = np.zeros((side, side), dtype=bool)
    mask[side // 3 : side // 2, side // 3 : side // 2] = True
    image = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    reference = Reference(Window((0, 0, side, side), image, mask), config.prompts(defect), config.token(defect))
    changes = {"steps": steps, "latent_cache": crops, "select": "last", "processes": 1, "eval_every": steps}
    settings = config.train.model_copy(update=changes)
    job = LoraJob(TrainingData(references=[reference]), config.base.resolution, 0, "measure", work)
    start = time.perf_counter()
    train_lora(base, job, settings)
    return time.perf_counter() - start


def _painting_seconds(base: Base, config: RunConfig, distance: Literal["vae", "lpips"]) -> float:
    """Return the seconds that one sample takes in a full batch."""
    resolution = config.base.resolution
    painter = DiffusionPainter(base, config.generate, make_distance(distance, base))
    size = config.generate.samples_per_batch
    samples = find_samples_per_batch(painter, resolution) if size == "auto" else size
    window = Window(
        (0, 0, resolution, resolution),
        np.full((resolution, resolution, 3), 0.5, dtype=np.float32),
        np.ones((resolution, resolution), dtype=bool),
    )

    def seconds(steps: int) -> float:
        changes = {"steps": steps, "samples_per_batch": samples, "selection": "full"}
        settings = config.generate.model_copy(update=changes)
        start = time.perf_counter()
        measured = DiffusionPainter(base, settings, painter.distance)
        list(measured.paint([window] * samples, range(samples), [""] * samples))
        return time.perf_counter() - start

    seconds(FEW_STEPS)  # warms up
    few, step = few_and_each(seconds, FEW_STEPS)
    early = config.generate.kept_candidates / config.generate.candidates
    share = config.generate.early_share if early < 1 else 1.0
    steps = config.generate.steps * (share + (1 - share) * early)
    return (few + (steps - FEW_STEPS) * step) / samples


def _used_mib(base: Base) -> float:
    """Return the most memory used till now in MiB, of the device; on a CPU of this process."""
    if base.device.type == "cuda":
        return torch.cuda.max_memory_allocated(base.device) / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
