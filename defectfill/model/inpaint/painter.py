"""DefectFill's painter: sampling from pure noise with background replacement (section 3.4 of the paper).

Shapes: S samples of a batch, K candidates, N = S x K rows, C latent channels, h, w latent pixels,
R the model's resolution, L tokens, D text width.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from defectfill.config.base import BaseConfig
from defectfill.config.generate import GenerateConfig
from defectfill.io.errors import ModelError
from defectfill.io.files import damage_named, write_once
from defectfill.model.base.base import (
    Base,
    decode_latents,
    encode_images,
    encode_prompts,
    mask_out,
    mask_to_latent,
    shared_base,
)
from defectfill.model.base.memory import MOST_SAMPLES, batch_that_fits, free_memory
from defectfill.model.inpaint.perceptual import Distance, make_distance
from defectfill.model.inpaint.sampling import Conditions, sample_latents
from defectfill.model.lora.adapter import load_adapter, merged_adapter
from defectfill.painting.painter import Painting
from defectfill.painting.window import Window

logger = logging.getLogger(__name__)

CPU_SAMPLES = 2
"""Samples per batch on a CPU, which more do not make faster."""


@dataclass(frozen=True)
class DiffusionPainter:
    """A Painter (see defectfill.painting.painter) of one base with one adapter loaded."""

    base: Base
    settings: GenerateConfig
    distance: Distance

    @torch.inference_mode()
    def paint(self, windows: Iterable[Window], seeds: Sequence[int], prompts: Sequence[str]) -> Iterator[Painting]:
        """Yield one Painting per window, in order.

        Batches always have samples_per_batch windows, the last one filled up by repetition: kernels then see
        the same shapes whatever is painted together, and a sample's bytes do not depend on its company. Where memory
        runs out, batches are halved for the rest of the windows, which changes no more than rounding.
        """
        size, jobs = self.settings.samples_per_batch, zip(windows, seeds, prompts, strict=True)
        assert isinstance(size, int), "open_painter finds the number"
        waiting = list(islice(jobs, size))
        while waiting:
            batch = waiting[:size]
            try:
                paintings = self._paint_batch(*zip(*batch, *[batch[-1]] * (size - len(batch)), strict=True))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise ModelError(
                        "painting a single sample ran out of GPU memory: lower generate.candidates "
                        f"(now {self.settings.candidates})"
                    ) from error
                logger.warning("out of memory with %d samples at once; %d for the rest of this shard", size, size // 2)
                size //= 2
                continue
            yield from paintings[: len(batch)]
            waiting = [*waiting[size:], *islice(jobs, max(size - len(waiting[size:]), 0))]

    def _paint_batch(self, windows: Sequence[Window], seeds: Sequence[int], prompts: Sequence[str]) -> list[Painting]:
        images = torch.stack([to_tensor(window.image) for window in windows]).to(self.base.device)
        masks = torch.stack([torch.from_numpy(window.mask)[None].float() for window in windows]).to(self.base.device)
        conditions = self._conditions(images, masks, prompts)
        noise = torch.cat([self._noise(seed, conditions.clean_latents.shape[1:]) for seed in seeds])
        with merged_adapter(self.base):
            sampled = sample_latents(self.base, conditions, noise.to(self.base.device), self.settings)
        candidates = self._decode(sampled.latents).unflatten(0, (len(windows), -1))
        # One row per sample: the rows of the clean latents repeat K times.
        reconstructions = self._decode(conditions.clean_latents[:: self.settings.candidates])
        shift = vae_color_shift(images, reconstructions, self.base.latent_scale)
        candidates, reconstructions = (candidates - shift[:, None]).clamp(-1, 1), (reconstructions - shift).clamp(-1, 1)
        scores = torch.full((len(windows) * self.settings.candidates,), torch.nan, device=self.base.device)
        scores[sampled.rows] = torch.cat(
            [self.distance(images[row : row + 1], candidates[row], masks[row : row + 1]) for row in range(len(windows))]
        )
        by_sample = scores.unflatten(0, (len(windows), -1)).cpu()
        early = None if sampled.early_scores is None else sampled.early_scores.unflatten(0, (len(windows), -1))
        return [
            Painting(
                _to_array(candidates[row]),
                by_sample[row].numpy(),
                _to_array(reconstructions[row]),
                () if early is None else tuple(early[row].tolist()),
            )
            for row in range(len(windows))
        ]

    def _conditions(self, images: Tensor, masks: Tensor, prompts: Sequence[str]) -> Conditions:
        """Return conditions of images [S, 3, R, R] and masks [S, 1, R, R], each repeated for its K candidates."""
        copies = self.settings.candidates
        clean, background = encode_images(self.base, torch.cat([images, mask_out(images, masks)])).chunk(2)
        texts = list(dict.fromkeys(["", *prompts]))
        embeddings = encode_prompts(self.base, texts)
        rows = [texts.index(prompt) for prompt in prompts for _ in range(copies)]
        guided = self.settings.guidance_scale > 1
        return Conditions(
            clean_latents=clean.repeat_interleave(copies, dim=0),
            background_latents=background.repeat_interleave(copies, dim=0),
            latent_mask=mask_to_latent(masks, self.base.latent_scale).repeat_interleave(copies, dim=0),
            prompt=embeddings[rows],
            empty_prompt=embeddings[[0] * len(rows)] if guided else None,
        )

    def _noise(self, seed: int, shape: Sequence[int]) -> Tensor:
        """Return noise [K, C, h, w] from the sample's own generator on the CPU; candidate k's does not depend on K."""
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([torch.randn(*shape, generator=generator) for _ in range(self.settings.candidates)])

    def _decode(self, latents: Tensor) -> Tensor:
        """Decode in chunks of the number of candidates, which bounds the memory of the decoder."""
        return torch.cat([decode_latents(self.base, chunk) for chunk in latents.split(self.settings.candidates)])


def vae_color_shift(images: Tensor, reconstructions: Tensor, latent_scale: int) -> Tensor:
    """Return the color shift of the VAE [S, 3, R, R] on images [S, 3, R, R]: its error, smoothed over latent pixels.

    A latent holds more shape than color; a painted defect would stand out by its colors from a part that kept its own.
    """
    shift = reconstructions - images
    for _ in range(2):
        shift = F.avg_pool2d(shift, 2 * latent_scale + 1, stride=1, padding=latent_scale, count_include_pad=False)
    return shift


def open_painter(
    config: BaseConfig,
    settings: GenerateConfig,
    distance: Literal["vae", "lpips"],
    adapter: Path,
    batch_file: Path,
) -> DiffusionPainter:
    """Open the painter of one adapter, put into the process's shared base; good until another one is opened.

    batch_file: keeps the number of samples per batch that was found, so that a run that goes on paints the same
    bytes though another amount of memory is free.
    """
    base = shared_base(config)
    load_adapter(base, adapter)
    painter = DiffusionPainter(base, settings, make_distance(distance, base))
    if settings.samples_per_batch != "auto":
        return painter
    if not batch_file.is_file():
        write_once(batch_file, f"{find_samples_per_batch(painter, config.resolution)}\n".encode())
    with damage_named(batch_file, "remove it and run again"):
        size = int(batch_file.read_text())
        if not 1 <= size <= MOST_SAMPLES:
            raise ValueError(f"{size} samples per batch")
    return replace(painter, settings=settings.model_copy(update={"samples_per_batch": size}))


def find_samples_per_batch(painter: DiffusionPainter, resolution: int) -> int:
    """Return how many samples fit on a GPU at once, by what one takes; on a CPU CPU_SAMPLES."""
    device = painter.base.device
    if device.type != "cuda":
        return CPU_SAMPLES
    one = replace(painter, settings=painter.settings.model_copy(update={"samples_per_batch": 1, "steps": 1}))
    mask = np.ones((resolution, resolution), dtype=bool)
    window = Window((0, 0, resolution, resolution), np.zeros((resolution, resolution, 3), dtype=np.float32), mask)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    list(one.paint([window], [0], [""]))
    return batch_that_fits(torch.cuda.max_memory_allocated(device) - before, free_memory(device))


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """Return [3, R, R] in [-1, 1] of an image [R, R, 3] in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1) * 2 - 1


def _to_array(images: Tensor) -> NDArray[np.float32]:
    """Return [..., R, R, 3] in [0, 1] of images [..., 3, R, R] in [-1, 1]."""
    array: NDArray[np.float32] = ((images + 1) / 2).movedim(-3, -1).cpu().numpy()
    return array
