"""The training of an adapter in this process, from the files of a run to the folder of the adapter."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from defectfill.adapters.files import TRAINING_FILE
from defectfill.adapters.loss_plot import plot_losses
from defectfill.adapters.references import read_training_data
from defectfill.config.affects import Affects, settings_that_affect
from defectfill.io.files import new_folder, write_bytes, write_table
from defectfill.io.gpu_lock import gpu_lock
from defectfill.io.images import file_sha256
from defectfill.io.names import drawn_name
from defectfill.model.lora import ADAPTER_FILE
from defectfill.model.training.data import TrainingData
from defectfill.records.losses import LOSSES
from defectfill.runs.run import Run

if TYPE_CHECKING:
    from defectfill.model.training.distributed import DistributedState
    from defectfill.model.training.loop import LossRows
    from defectfill.model.training.train_lora import TrainedLora

RATES = ("learning_rate_unet", "learning_rate_text_encoder")
EVALUATION_FIGURES = ("validation", "preview_similarity")
"""Null for the steps after which there was no evaluation."""
LOSS_SCHEMA = pa.schema(
    [("step", pa.int32()), *((name, pa.float32()) for name in (*LOSSES, *RATES, *EVALUATION_FIGURES))]
)


def train_in_this_process(
    run: Run, defect: str, distributed: "DistributedState | None" = None, device: str | None = None
) -> None:
    """Train the adapter that paints `defect` and write its folder.

    distributed, device: of one among several processes that train it together, of which the main one writes.
    """
    from defectfill.model.base.base import shared_base
    from defectfill.model.training.distributed import SINGLE_PROCESS
    from defectfill.model.training.preview import paint_preview
    from defectfill.model.training.train_lora import LoraJob, train_lora

    config, seed, distributed = run.config, run.record.training_seed(defect), distributed or SINGLE_PROCESS
    label = f"train {', '.join(config.defects_learnt_with(defect))}"
    data = read_training_data(run, defect)
    logs_to_tensorboard = config.train.tensorboard and distributed.is_main_process
    base = shared_base(config.base.model_copy(update={"device": device or config.base.device}))
    alone = distributed.num_processes == 1  # of several the starter holds all locks
    with gpu_lock(run.record.device, base.device.index or 0) if alone else nullcontext():
        trained = train_lora(
            base,
            LoraJob(data, config.base.resolution, seed, label, run.training_folder(defect)),
            config.train,
            draw_preview=partial(paint_preview, base, data, config.generate, seed) if data.scenes else None,
            report=_tensorboard(run, defect) if logs_to_tensorboard else lambda _: None,
            distributed=distributed,
        )
    if distributed.is_main_process:
        _write_adapter(run, defect, data, trained)


def _write_adapter(run: Run, defect: str, data: TrainingData, trained: "TrainedLora") -> None:
    """Write the LoRA file, the loss curve (losses.parquet, losses.png), previews and, last, training.json."""
    from defectfill.model.lora.adapter import save_adapter
    from defectfill.model.training.train_lora import PREVIEWS_FOLDER

    with new_folder(run.adapter_folder(defect), replace=True) as folder:
        save_adapter(trained.adapter, folder)
        write_table(folder / "losses.parquet", trained.losses, LOSS_SCHEMA)
        title = f"train {', '.join(map(drawn_name, run.config.defects_learnt_with(defect)))}"
        plot_losses(trained.losses, folder / "losses.png", title)
        if data.scenes:
            shutil.copytree(run.training_folder(defect) / PREVIEWS_FOLDER, folder / PREVIEWS_FOLDER)
        sha256 = file_sha256(folder / ADAPTER_FILE)
        content = json.dumps(_training_record(run, defect, data, sha256), indent=2)
        write_bytes(folder / TRAINING_FILE, content.encode())


def _training_record(run: Run, defect: str, data: TrainingData, sha256: str) -> dict[str, Any]:
    """Return the content of training.json."""
    config, learnt = run.config, run.config.defects_learnt_with(defect)
    return {
        "category": config.category,
        "prompts": {each: config.prompts(each) for each in learnt},
        "tokens": {each: config.token(each) for each in learnt},
        "base": run.record.base.model_dump(),
        "settings": settings_that_affect(config, Affects.ADAPTER),
        "seed": run.record.training_seed(defect),
        "references": {record.path: record.sha256 for record in data.records},
        "validation_references": {record.path: record.sha256 for record in data.validation_records},
        "adapter_sha256": sha256,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
    }


def _tensorboard(run: Run, defect: str) -> "Callable[[LossRows], None]":
    """Return a function that writes rows of the loss curve for TensorBoard; ConfigError where that is not installed."""
    from defectfill.model.training.tensorboard import open_tensorboard

    return open_tensorboard(run.category_output / "tensorboard", run.adapter_folder(defect).name)
