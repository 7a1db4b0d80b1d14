"""The speed of painting: python -m benchmarks.painting [--full | --base FOLDER] [--candidates 8] [--steps 50]

In one process, with the same weights, windows and steps: ours with every candidate painted to the end, ours with early
selection, and what one would write today, a stock StableDiffusionInpaintPipeline called once per candidate, whose
results are scored by the same distance. All take turns, a batch of samples each, with an untrained adapter in the base,
which stock pipelines leave beside its weights. The base is `mini`, a folder (of 4 latent channels: the stock pipeline
takes no other), or with --full one of Stable Diffusion 2 inpainting's size at 512 px, with random weights.

A table of kept images per second, medians over the rounds, then one JSON line. Peak memory is the process's on a CPU,
and what torch allocated on a GPU, base included.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.bases import add_base_arguments, base_and_resolution
from benchmarks.training import peak_gib, random_window
from defectfill.config.generate import GenerateConfig
from defectfill.config.train import TrainConfig
from defectfill.model.base.base import Base
from defectfill.model.inpaint.painter import DiffusionPainter, to_tensor
from defectfill.model.inpaint.perceptual import Distance, vae_distance
from defectfill.model.lora.adapter import stock_pipeline, trainable_adapter
from defectfill.painting.window import Window

PROMPT = "A nut with sks"

Paint = Callable[[Sequence[Window], Sequence[int]], list[int]]
"""Takes windows and seeds; the number of the candidate that is kept of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base_arguments(parser)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--samples-per-batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    base, resolution = base_and_resolution(arguments)
    settings = GenerateConfig(
        candidates=arguments.candidates,
        steps=arguments.steps,
        guidance_scale=arguments.guidance,
        samples_per_batch=arguments.samples_per_batch,
    )
    print(f"{base.device} {base.dtype}, {resolution} px, {settings.candidates} candidates, {settings.steps} steps")
    with trainable_adapter(base, TrainConfig()):
        base.unet.eval()
        base.text_encoder.eval()
        print(json.dumps(compare(base, settings, resolution, arguments.rounds)))


def compare(base: Base, settings: GenerateConfig, resolution: int, rounds: int) -> dict[str, float]:
    """Print the table and return the figures in it."""
    distance = vae_distance(base)
    early = settings.model_copy(update={"selection": "early"})
    ways = {
        "stock": stock(base, settings, distance),
        "full": ours(DiffusionPainter(base, settings, distance)),
        "early": ours(DiffusionPainter(base, early, distance)),
    }
    windows = [random_window(resolution, seed) for seed in range(int(settings.samples_per_batch))]
    seeds = range(len(windows))
    peaks = {name: peak_gib(partial(paint, windows, seeds), base.device) for name, paint in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, paint in ways.items():
            start = time.perf_counter()
            paint(windows, seeds)
            seconds[name].append((time.perf_counter() - start) / len(windows))
    figures: dict[str, float] = {}
    print(f"{'':8}{'s/image':>10}{'images/s':>10}{'times stock':>13}{'peak GiB':>10}")
    for name in ways:
        each, reference = statistics.median(seconds[name]), statistics.median(seconds["stock"])
        figures |= {f"{name}_s_per_image": each, f"{name}_ratio": reference / each, f"{name}_peak_gib": peaks[name]}
        print(f"{name:8}{each:10.3f}{1 / each:10.3f}{reference / each:13.2f}{peaks[name]:10.2f}")
    return figures


def ours(painter: DiffusionPainter) -> Paint:
    """Return the library's painter."""

    def paint(windows: Sequence[Window], seeds: Sequence[int]) -> list[int]:
        paintings = painter.paint(windows, seeds, [PROMPT] * len(windows))
        return [int(np.nanargmax(painting.scores)) for painting in paintings]

    return paint


def stock(base: Base, settings: GenerateConfig, distance: Distance) -> Paint:
    """Return diffusers' pipeline, called once per candidate."""
    pipeline = stock_pipeline(base)
    pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def paint(windows: Sequence[Window], seeds: Sequence[int]) -> list[int]:
        kept = []
        for window, seed in zip(windows, seeds, strict=True):
            image, mask = to_tensor(window.image)[None], torch.from_numpy(window.mask)[None, None].float()
            candidates = [
                pipeline(
                    PROMPT,
                    image=(image + 1) / 2,
                    mask_image=mask,
                    height=image.shape[-2],
                    width=image.shape[-1],
                    num_inference_steps=settings.steps,
                    guidance_scale=settings.guidance_scale,
                    generator=torch.Generator().manual_seed(seed * settings.candidates + number),
                    output_type="pt",
                ).images
                for number in range(settings.candidates)
            ]
            device = base.device
            scores = distance(image.to(device), torch.cat(candidates).to(device) * 2 - 1, mask.to(device))
            kept.append(int(scores.argmax()))
        return kept

    return paint


if __name__ == "__main__":
    main()
