"""The training step: one adapter per defect, from the references' files to a folder that says it is done."""

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version

import pyarrow as pa

from defectfill.files import new_folder, write_bytes, write_table
from defectfill.images import file_sha256, read_image, read_mask
from defectfill.run import Run, references_of
from defectfill.snapshot import ImageRecord
from defectfill.window import Window, crop_window, window_box

LOSS_SCHEMA = pa.schema(
    [("step", pa.int32())]
    + [
        (name, pa.float32())
        for name in (
            "total",
            "defect",
            "object",
            "attention",
            "learning_rate_unet",
            "learning_rate_text_encoder",
        )
    ]
)


def is_trained(run: Run, defect: str, records: Sequence[ImageRecord] | None = None) -> bool:
    """Whether the adapter of `defect` is there, whole; records as in Run.adapter_folder."""
    return (run.adapter_folder(defect, records) / "training.json").is_file()


def train_adapter(run: Run, defect: str) -> None:
    """Trains and writes the adapter of `defect`, unless it is there: LoRA file, loss curve, then training.json.

    A training that was stopped goes on from its last checkpoint, to the same bytes on the same machine.
    """
    if not is_trained(run, defect):
        _train(run, defect)
    shutil.rmtree(run.training_folder(defect), ignore_errors=True)


def _train(run: Run, defect: str) -> None:
    from defectfill.model.adapter import ADAPTER_FILE, save_adapter
    from defectfill.model.base import shared_base
    from defectfill.model.training import trained_adapter

    config, references = run.config, references_of(run.snapshot(), defect)
    windows = [_reference_window(run, record) for record in references]
    base = shared_base(config.base)
    with (
        trained_adapter(
            base,
            windows,
            config.train,
            config.prompts(),
            config.base.resolution,
            run.training_seed(defect),
            f"train {defect}",
            run.training_folder(defect),
        ) as curve,
        new_folder(run.adapter_folder(defect), replace=True) as folder,
    ):
        save_adapter(base, folder)
        write_table(folder / "losses.parquet", curve, LOSS_SCHEMA)
        content = {
            "category": config.category,
            "defect": defect,
            "token": config.train.token,
            "prompts": config.prompts(),
            "base": run.record.base.model_dump(),
            "resolution": config.base.resolution,
            "train": config.train.content(),
            "seed": run.training_seed(defect),
            "references": {record.path: record.sha256 for record in references},
            "adapter_sha256": file_sha256(folder / ADAPTER_FILE),
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
        }
        write_bytes(folder / "training.json", json.dumps(content, indent=2).encode())


def adapter_sha256(run: Run, defect: str) -> str:
    """SHA-256 of the finished adapter's weights."""
    content = json.loads((run.adapter_folder(defect) / "training.json").read_bytes())
    return str(content["adapter_sha256"])


def _reference_window(run: Run, record: ImageRecord) -> Window:
    """The crop of a reference that training draws from, large enough for the largest resize."""
    config, folder = run.config, run.config.category_folder
    image, mask = read_image(folder / record.path), read_mask(folder / record.mask_path)
    side = round(config.base.resolution * config.train.max_resize)
    return crop_window(image, mask, window_box(mask, config.window), side)
