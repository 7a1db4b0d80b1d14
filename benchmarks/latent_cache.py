"""The price of the latent cache in quality: python -m benchmarks.latent_cache CONFIG WORK [--seeds 3]

Trains the first defect of a toy config with the config's cache and with every step encoding its own crops, and prints
the loss of references that neither has learnt from: as many as it learns from, the same crops, noise and timesteps for
both. Every seed makes a toy category of its own. WORK keeps what is done: a killed run goes on. Prints a table in
Markdown: the loss after the last step per seed, their mean, and how far apart two seeds lie.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks.ablation import variant
from defectfill.adapters.train import train_adapter
from defectfill.config.data import References
from defectfill.config.run import RunConfig, load_config
from defectfill.demo import make_toy_category
from defectfill.io.files import read_table
from defectfill.operations.lock import locked
from defectfill.operations.prepare import start_run

REFERENCES = 6
"""Learnt from; as many are kept for validation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    toy = load_config(arguments.config)
    variants = {f"cache of {toy.train.latent_cache} crops": toy.train.latent_cache, "every step encodes its own": 0}
    print(f"| | {' | '.join(f'seed {seed}' for seed in range(arguments.seeds))} | mean | between seeds |")
    print("| --- " * (arguments.seeds + 3) + "|")
    for name, cache in variants.items():
        losses = [held_out_loss(toy, arguments.work.resolve(), seed, cache) for seed in range(arguments.seeds)]
        figures = [*losses, statistics.mean(losses), max(losses) - min(losses)]
        print(f"| {name} | {' | '.join(f'{figure:.5f}' for figure in figures)} |", flush=True)


def held_out_loss(toy: RunConfig, work: Path, seed: int, cache: int) -> float:
    """Return the total loss of the kept references after the last step."""
    train = {"latent_cache": cache, "validation_references": REFERENCES}
    config = variant(toy, work, seed, train=train, data={"references": References(count=2 * REFERENCES)})
    make_toy_category(config)
    with locked(config):
        run, defect = start_run(config), config.data.defects[0]
        train_adapter(run, defect)
    return float(read_table(run.adapter_folder(defect) / "losses.parquet")[-1]["validation"])


if __name__ == "__main__":
    main()
