"""The speed of training adapters: python -m benchmarks.training [--full | --base FOLDER] [--blocks 6] [--steps 8]

Ours and a plainly written reference loop take turns in blocks of steps, in one process, with the same base, LoRA
weights, data and precision. The reference makes two UNet calls and three encodes of the autoencoder in every step,
encodes the prompt of every sample, keeps whole attention maps and uses stock AdamW. The base is `mini`, a folder, or
with --full one of Stable Diffusion 2 inpainting's size, with random weights.

First the losses of both are compared, for one seed, without dropout, every step encoding its crops. Then a table, then
one JSON line. Ours counts with its share of the encoding of the latent cache, over train.steps steps; both with the
median block. Peak memory is the process's on a CPU, and what torch allocated on a GPU, base included. On a GPU the rate
of 8192 x 8192 bf16 products is measured too, and the share of it that our step reaches.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bases import add_base_arguments, base_and_resolution
from defectfill.config.train import TrainConfig
from defectfill.io.hashing import derive_seed
from defectfill.model.base.base import Base, encode_images, encode_prompts, find_token
from defectfill.model.lora.adapter import fast_lora_forward, trainable_adapter
from defectfill.model.training.attention import record_token_attention
from defectfill.model.training.augmentation import draw_batch
from defectfill.model.training.latent_cache import latent_batches
from defectfill.model.training.loop import backpropagate, make_optimizer, take_step, warmed_up
from defectfill.model.training.steps import MicroBatch, noise_scheduler, step_losses
from defectfill.painting.window import Window

PROMPTS = ("A photo of sks", "A nut with sks")
SEED = 0
COMPARED_STEPS = 4
GIB = 2**30

Block = Callable[[Sequence[int]], list[float]]
"""Takes the steps of these numbers; the total loss of each."""
Weights = tuple[list[nn.Parameter], list[nn.Parameter]]
"""LoRA weights of the UNet and of the text encoder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_base_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=6, help="of steps, for either loop")
    parser.add_argument("--steps", type=int, default=8, help="in a block")
    arguments = parser.parse_args()
    base, resolution = base_and_resolution(arguments)
    settings = TrainConfig(batch_size=arguments.batch_size)
    windows = [random_window(round(resolution * settings.max_resize), seed) for seed in range(3)]
    plain = settings.model_copy(update={"latent_cache": 0, "dropout": 0.0})
    ours, theirs = (first_losses(base, windows, plain, resolution, make) for make in (our_loop, reference_loop))
    difference = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
    print(f"largest relative difference of the losses over {COMPARED_STEPS} steps: {difference:.1e}")
    figures = {"loss_difference": difference, **compare(base, windows, settings, resolution, arguments)}
    print(json.dumps(figures))


def compare(
    base: Base, windows: Sequence[Window], settings: TrainConfig, resolution: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Print the table and return the figures in it."""
    print(f"{base.device} {base.dtype}, {parameters(base) / 1e6:.0f} M parameters, {resolution} px")
    with trainable_adapter(base, settings) as weights:
        start = time.perf_counter()
        ours = our_loop(base, windows, settings, resolution, weights)
        setup_seconds = time.perf_counter() - start
        loops = {"ours": ours, "reference": reference_loop(base, windows, settings, resolution, weights)}
        peak = {name: peak_gib(partial(loop, range(2)), base.device) for name, loop in loops.items()}
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for block in range(arguments.blocks):
            steps = range(block * arguments.steps, (block + 1) * arguments.steps)
            for name, loop in loops.items():
                start = time.perf_counter()
                loop(steps)
                seconds[name].append((time.perf_counter() - start) / len(steps))
        step_flops = flops(ours) if base.device.type == "cuda" else 0
    step = {name: statistics.median(times) for name, times in seconds.items()}
    with_setup = {**step, "ours": step["ours"] + setup_seconds / settings.steps}
    figures = {f"{name}_steps_per_s": 1 / value for name, value in with_setup.items()}
    figures |= {f"{name}_peak_gib": value for name, value in peak.items()}
    figures |= {"ratio": with_setup["reference"] / with_setup["ours"], "latent_cache_s": setup_seconds}
    print(f"{'':12}{'steps/s':>10}{'ms/step':>10}{'peak GiB':>10}")
    for name in loops:
        print(f"{name:12}{1 / with_setup[name]:10.3f}{with_setup[name] * 1e3:10.1f}{peak[name]:10.2f}")
    print(f"ours is {figures['ratio']:.2f} times as fast; encoding the latent cache took {setup_seconds:.1f} s of it")
    if step_flops:
        rate = matmul_rate(base.device)
        figures |= {"matmul_tflops": rate / 1e12, "matmul_share": step_flops / step["ours"] / rate}
        print(
            f"bf16 products reach {rate / 1e12:.0f} TFLOP/s, our step of {step_flops / 1e12:.2f} TFLOP "
            f"{figures['matmul_share']:.0%} of it"
        )
    return figures


def our_loop(base: Base, windows: Sequence[Window], settings: TrainConfig, resolution: int, weights: Weights) -> Block:
    """Return the library's own training, but for checkpoints and the progress bar."""
    optimizer = make_optimizer(list(zip(weights, _rates(settings), strict=True)), settings.weight_decay)
    batch_of = latent_batches(base, windows, settings, resolution, SEED)
    losses_of = step_losses(base, batch_of, settings, [PROMPTS] * len(windows), SEED, MicroBatch(settings.batch_size))
    token_index = find_token(base.tokenizer, PROMPTS[1], settings.token)

    def block(steps: Sequence[int]) -> list[float]:
        totals = []
        with fast_lora_forward(base), record_token_attention(base.unet, token_index) as recorder:
            for step in steps:
                losses = backpropagate(optimizer, losses_of(step, recorder))
                take_step(optimizer, warmed_up(step, settings.warmup_steps), settings.max_grad_norm)
                totals.append(losses["total"])
        return [float(total) for total in totals]

    return block


def reference_loop(
    base: Base, windows: Sequence[Window], settings: TrainConfig, resolution: int, weights: Weights
) -> Block:
    """Return the paper's step as training scripts write it; the same draws as ours without a latent cache."""
    groups = [{"params": part, "lr": rate} for part, rate in zip(weights, _rates(settings), strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmed_up(step, settings.warmup_steps))
    scheduler = noise_scheduler(base)
    token_index = find_token(base.tokenizer, PROMPTS[1], settings.token)

    def step_loss(step: int) -> Tensor:
        torch.manual_seed(derive_seed(SEED, "dropout", step))
        rng = np.random.default_rng(derive_seed(SEED, "augmentation", step))
        generator = torch.Generator().manual_seed(derive_seed(SEED, "noise", step))
        batch = draw_batch(windows, settings, resolution, rng)
        images, defect_masks, box_masks = (
            part.to(base.device) for part in (batch.images, batch.defect_masks, batch.box_masks)
        )
        with torch.no_grad():
            clean = encode_images(base, images).float()
            defect_background = encode_images(base, images * (defect_masks < 0.5)).float()
            object_background = encode_images(base, images * (box_masks < 0.5)).float()
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(images),), generator=generator)
        timesteps = timesteps.to(base.device)
        noise = torch.randn(clean.shape, generator=generator).to(base.device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, timesteps) if velocity else noise
        mask, box_mask = (F.max_pool2d(part, base.latent_scale) for part in (defect_masks, box_masks))
        with torch.autocast(base.device.type, dtype=torch.bfloat16, enabled=base.dtype != torch.float32):
            text = encode_prompts(base, [PROMPTS[0]] * len(images))
            inputs = torch.cat([noisy, mask, defect_background], dim=1).to(base.dtype)
            predicted_defect = base.unet(inputs, timesteps, text).sample.float()
            text = encode_prompts(base, [PROMPTS[1]] * len(images))
            inputs = torch.cat([noisy, box_mask, object_background], dim=1).to(base.dtype)
            with WholeMaps(base.unet) as maps:
                predicted_object = base.unet(inputs, timesteps, text).sample.float()
        token_maps = [_token_map(each, token_index, noise.shape[-1]) for each in maps.maps]
        weight = mask + settings.object_background * (1 - mask)
        defect = (mask * (target - predicted_defect)).square().mean()
        object_ = (weight * (target - predicted_object)).square().mean()
        attention = (torch.stack(token_maps).mean(dim=0) - mask).square().mean()
        parts = settings.weights
        return parts.defect * defect + parts.object * object_ + parts.attention * attention

    def block(steps: Sequence[int]) -> list[float]:
        totals = []
        for step in steps:
            loss = step_loss(step)
            loss.backward()
            nn.utils.clip_grad_norm_([*weights[0], *weights[1]], settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            totals.append(loss.item())
        return totals

    return block


class WholeMaps:
    """A context in which the decoder's cross-attention is computed step by step and its maps are kept."""

    def __init__(self, unet: Any) -> None:
        self.unet = unet
        self.maps: list[Tensor] = []
        """One [B, heads, N, L] per layer."""

    def __enter__(self) -> "WholeMaps":
        self.before = dict(self.unet.attn_processors)
        cross = {name for name in self.before if name.startswith("up_blocks") and "attn2" in name}
        self.unet.set_attn_processor({name: self if name in cross else each for name, each in self.before.items()})
        return self

    def __exit__(self, *_: object) -> None:
        self.unet.set_attn_processor(self.before)

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key)
        self.maps.append(probabilities.unflatten(0, (len(hidden_states), attn.heads)))
        attended = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        output: Tensor = attn.to_out[1](attn.to_out[0](attended))
        return output


def _token_map(probabilities: Tensor, token_index: int, size: int) -> Tensor:
    """Return [B, 1, size, size] of one layer's [B, heads, N, L]."""
    column = probabilities.float().mean(dim=1)[..., token_index]
    side = round(column.shape[-1] ** 0.5)
    return F.interpolate(column.view(-1, 1, side, side), size=(size, size), mode="bilinear", align_corners=False)


def first_losses(
    base: Base,
    windows: Sequence[Window],
    settings: TrainConfig,
    resolution: int,
    make: Callable[[Base, Sequence[Window], TrainConfig, int, Weights], Block],
) -> list[float]:
    """Return the losses of a loop's first steps, from the seed's LoRA weights."""
    torch.manual_seed(SEED)
    with trainable_adapter(base, settings) as weights:
        return make(base, windows, settings, resolution, weights)(range(COMPARED_STEPS))


def peak_gib(run: Callable[[], object], device: torch.device) -> float:
    """Return the memory in GiB at the peak of a run: of torch on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) / GIB
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    run()
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / GIB


def flops(loop: Block) -> int:
    """Return the floating-point operations of a step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        loop(range(1))
    return int(counter.get_total_flops())


def matmul_rate(device: torch.device, side: int = 8192, repeats: int = 50) -> float:
    """Return the FLOP/s of bf16 products of square matrices."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for timed in (False, True):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            left @ right
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start if timed else 0.0
    return 2 * side**3 * repeats / seconds


def random_window(side: int, seed: int) -> Window:
    """Return a random picture with a rectangular defect."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), dtype=bool)
    mask[side // 3 : side // 2, side // 3 : 2 * side // 3] = True
    return Window((0, 0, side, side), rng.random((side, side, 3), dtype=np.float32), mask)


def parameters(base: Base) -> int:
    return sum(weight.numel() for part in (base.unet, base.vae, base.text_encoder) for weight in part.parameters())


def _rates(settings: TrainConfig) -> tuple[float, float]:
    return settings.learning_rate_unet, settings.learning_rate_text_encoder


if __name__ == "__main__":
    main()
