"""The training step: an adapter per defect, or one for all of them, in a folder that says that it is done."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from defectfill.adapters.loss_plot import plot_losses
from defectfill.adapters.processes import train_in_processes
from defectfill.adapters.references import read_training_data
from defectfill.config.affects import Affects, settings_that_affect
from defectfill.io.files import damage_named, new_folder, write_bytes, write_table
from defectfill.io.gpu_lock import gpu_lock
from defectfill.io.images import file_sha256
from defectfill.model.lora import ADAPTER_FILE
from defectfill.model.training.data import TrainingData
from defectfill.records.snapshot import ImageRecord
from defectfill.runs.run import Run
from defectfill.runs.timings import timed

if TYPE_CHECKING:
    from defectfill.model.training.distributed import Team

TRAINING_FILE = "training.json"
"""In the folder of an adapter, once it is whole."""
LOSSES = ("total", "defect", "object", "attention")
RATES = ("learning_rate_unet", "learning_rate_text_encoder")
LOOKS = ("validation", "preview_similarity")
"""Figures of the steps that were looked at; null for the others."""
LOSS_SCHEMA = pa.schema([("step", pa.int32()), *((name, pa.float32()) for name in (*LOSSES, *RATES, *LOOKS))])


def is_trained(run: Run, defect: str, records: Sequence[ImageRecord] | None = None) -> bool:
    """Whether the adapter of `defect` is there, whole; records as in Run.adapter_folder."""
    return (run.adapter_folder(defect, records) / TRAINING_FILE).is_file()


def train_adapter(run: Run, defect: str) -> None:
    """Trains and writes the adapter that paints `defect`, unless it is there.

    A training that was stopped goes on from its last checkpoint, to the same bytes on the same machine.
    """
    if not is_trained(run, defect):
        with timed(run, "train", defect=defect):
            if run.config.train.processes > 1:
                train_in_processes(run, defect)
            else:
                train_here(run, defect)
    shutil.rmtree(run.training_folder(defect), ignore_errors=True)


def train_here(run: Run, defect: str, team: "Team | None" = None, device: str | None = None) -> None:
    """The training in this process: alone, or as one of a team on a device of its own, whose leader writes.

    The adapter's folder gets the LoRA file, the curve (losses.parquet, losses.png), previews and, last, training.json.
    """
    from defectfill.model.base.base import shared_base
    from defectfill.model.lora.adapter import save_adapter
    from defectfill.model.training.distributed import ALONE
    from defectfill.model.training.lora import PREVIEWS, trained_adapter
    from defectfill.model.training.preview import paint_preview

    config, work, seed, team = run.config, run.training_folder(defect), run.training_seed(defect), team or ALONE
    label = f"train {', '.join(config.defects_learnt_with(defect))}"
    data = read_training_data(run, defect)
    base = shared_base(config.base.model_copy(update={"device": device or config.base.device}))
    with (
        gpu_lock(run.record.device, base.device.index or 0),
        trained_adapter(
            base,
            data,
            config.train,
            config.base.resolution,
            seed,
            label,
            work,
            draw_preview=partial(paint_preview, base, data, config.generate, seed) if data.scenes else None,
            report=_tensorboard(run, defect) if config.train.tensorboard and team.leads else lambda _: None,
            team=team,
        ) as curve,
    ):
        if not team.leads:
            return
        with new_folder(run.adapter_folder(defect), replace=True) as folder:
            save_adapter(base, folder)
            write_table(folder / "losses.parquet", curve, LOSS_SCHEMA)
            plot_losses(curve, folder / "losses.png", label)
            if data.scenes:
                shutil.copytree(work / PREVIEWS, folder / PREVIEWS)
            sha256 = file_sha256(folder / ADAPTER_FILE)
            content = json.dumps(_facts(run, defect, data, sha256), indent=2)
            write_bytes(folder / TRAINING_FILE, content.encode())


def _facts(run: Run, defect: str, data: TrainingData, sha256: str) -> dict[str, Any]:
    """What training.json says."""
    config, learnt = run.config, run.config.defects_learnt_with(defect)
    return {
        "category": config.category,
        "prompts": {each: config.prompts(each) for each in learnt},
        "tokens": {each: config.token(each) for each in learnt},
        "base": run.record.base.model_dump(),
        "settings": settings_that_affect(config, Affects.ADAPTER),
        "seed": run.training_seed(defect),
        "references": {record.path: record.sha256 for record in data.records},
        "validation_references": {record.path: record.sha256 for record in data.validation_records},
        "adapter_sha256": sha256,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
    }


def _tensorboard(run: Run, defect: str) -> Callable[[Sequence[dict[str, float]]], None]:
    """Writes rows of the curve for TensorBoard; ConfigError where that is not installed."""
    from defectfill.model.training.tensorboard import open_tensorboard

    return open_tensorboard(run.category_output / "tensorboard", run.adapter_folder(defect).name)


def adapter_sha256(run: Run, defect: str) -> str:
    """SHA-256 of the finished adapter's weights; DataError where they are no longer those that were trained."""
    folder = run.adapter_folder(defect)
    sha256 = adapter_sha256_in(folder)
    with damage_named(folder / ADAPTER_FILE, _remedy(folder)):
        if not (folder / ADAPTER_FILE).is_file() or file_sha256(folder / ADAPTER_FILE) != sha256:
            raise ValueError("no file, or another content than training.json tells of")
    return sha256


def adapter_sha256_in(folder: Path) -> str:
    """What training.json in an adapter's folder says of its weights; DataError where it cannot be read."""
    with damage_named(folder / TRAINING_FILE, _remedy(folder)):
        return str(json.loads((folder / TRAINING_FILE).read_bytes())["adapter_sha256"])


def _remedy(folder: Path) -> str:
    return f"remove {folder} and run again"
