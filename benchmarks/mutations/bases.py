"""Broken adapters and bases."""

import hashlib
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.mutations.common import JSONS, Change, Expected, Sandbox, Trial, cut, edit_json, pickled, put
from defectfill.config.base import BUNDLED_BASES
from defectfill.model.lora import ADAPTER_FILE


def trials() -> Iterator[Trial]:
    yield from adapters()
    yield from bases()


def adapters() -> Iterator[Trial]:
    """Yield trials of the file of weights, and the same with a hash in training.json that fits it."""
    for name, change in ADAPTERS.items():
        yield _adapter(name, lambda sandbox, change=change: change(sandbox.adapter / ADAPTER_FILE))
        if name not in ("no file", "a folder", "a pickle beside it"):
            yield _adapter(f"{name} with its hash", lambda sandbox, change=change: _change_with_hash(sandbox, change))
    yield Trial(
        "adapter",
        "adapter: no training.json",
        "run",
        lambda sandbox: (sandbox.undo("paint"), (sandbox.adapter / "training.json").unlink()),
        "accepted",
        heals=True,
    )
    yield Trial(
        "adapter",
        "adapter: a hash that is none",
        "run",
        lambda sandbox: (sandbox.undo("paint"), _write_hash(sandbox, 7)),
        "refused",
        ("training.json", ADAPTER_FILE),
    )
    for name, hashed in (("that is none", False), ("that is a pickle", True)):

        def stopped(sandbox: Sandbox, hashed: bool = hashed) -> None:
            """Leave what a training leaves that was stopped: a checkpoint."""
            work = sandbox.adapter.with_name(f".{sandbox.adapter.name}.work")
            content = pickled(sandbox)
            sandbox.undo("train")
            put(work / "00000001.checkpoint", hashlib.sha256(content).digest() + content if hashed else b"x")

        yield Trial("adapter", f"adapter: a checkpoint {name}", "run", stopped, "accepted", heals=True)


def _adapter(name: str, change: Callable[[Sandbox], Any]) -> Trial:
    def mutate(sandbox: Sandbox) -> None:
        sandbox.undo("paint")
        change(sandbox)

    return Trial("adapter", f"adapter: {name}", "run", mutate, "refused", (ADAPTER_FILE,), heals=True)


def _change_with_hash(sandbox: Sandbox, change: Change) -> None:
    from defectfill.io.images import file_sha256

    change(sandbox.adapter / ADAPTER_FILE)
    _write_hash(sandbox, file_sha256(sandbox.adapter / ADAPTER_FILE))


def _write_hash(sandbox: Sandbox, value: Any) -> None:
    edit_json(lambda content: content.update(adapter_sha256=value))(sandbox.adapter / "training.json")


def _tensors(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return what changes the tensors of a file."""

    def mutate(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return mutate


def _reshape(tensors: dict[str, Any]) -> None:
    for name in list(tensors)[:4]:
        tensors[name] = np.zeros((5, 7), np.float32)


ADAPTERS: dict[str, Change] = {
    "an empty file": lambda path: put(path, b""),
    "text": lambda path: put(path, "weights"),
    "cut in half": lambda path: cut(path, 0.5),
    "cut at its end": lambda path: cut(path, 0.99),
    "a pickle": lambda path: put(path, pickled(Sandbox(path.parents[4]))),
    "a header of 2^60 bytes": lambda path: put(path, struct.pack("<Q", 2**60) + path.read_bytes()[8:]),
    "a header that is no JSON": lambda path: put(path, struct.pack("<Q", 8) + b"not JSON"),
    "no tensors": _tensors(lambda tensors: tensors.clear()),
    "other shapes": _tensors(_reshape),
    "other names": _tensors(lambda tensors: tensors.update({f"x.{n}": tensors.pop(n) for n in list(tensors)})),
    "nan": _tensors(lambda tensors: tensors.update({n: t * np.nan for n, t in tensors.items()})),
    "no file": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pickle beside it": lambda path: (
        path.unlink(),
        put(path.with_suffix(".bin"), pickled(Sandbox(path.parents[4]))),
    ),
}
"""What is done to the file of weights."""

CONFIGS: list[tuple[str, str, Any]] = [
    ("unet", "in_channels", 4),
    ("unet", "in_channels", "25"),
    ("unet", "in_channels", None),
    ("unet", "cross_attention_dim", 64),
    ("unet", "cross_attention_dim", "wide"),
    ("unet", "block_out_channels", [64, 128]),
    ("unet", "block_out_channels", []),
    ("unet", "block_out_channels", [64, 128, 100]),
    ("unet", "down_block_types", ["Down", "Down", "Down"]),
    ("unet", "attention_head_dim", 0),
    ("unet", "norm_num_groups", 7),
    ("unet", "norm_num_groups", 0),
    ("unet", "layers_per_block", 9),
    ("unet", "act_fn", "square"),
    ("unet", "out_channels", 3),
    ("unet", "sample_size", "large"),
    ("unet", "_class_name", "os.system"),
    ("vae", "latent_channels", 12),
    ("vae", "latent_channels", "twelve"),
    ("vae", "latent_channels", -12),
    ("vae", "block_out_channels", [16]),
    ("vae", "block_out_channels", None),
    ("vae", "scaling_factor", 0),
    ("vae", "scaling_factor", "half"),
    ("vae", "scaling_factor", None),
    ("vae", "norm_num_groups", 5),
    ("vae", "in_channels", 1),
    ("text_encoder", "hidden_size", 96),
    ("text_encoder", "hidden_size", "big"),
    ("text_encoder", "vocab_size", 10),
    ("text_encoder", "num_attention_heads", 5),
    ("text_encoder", "max_position_embeddings", 8),
    ("text_encoder", "hidden_act", "square"),
    ("text_encoder", "num_hidden_layers", 7),
    ("scheduler", "prediction_type", "sample"),
    ("scheduler", "num_train_timesteps", 0),
    ("scheduler", "num_train_timesteps", "many"),
    ("scheduler", "beta_schedule", "round"),
    ("scheduler", "beta_start", "low"),
    ("scheduler", "beta_end", 7),
    ("scheduler", "timestep_spacing", "wide"),
    ("tokenizer", "model_max_length", 0),
    ("tokenizer", "model_max_length", "long"),
    ("tokenizer", "pad_token", None),
    ("tokenizer", "tokenizer_class", "NoSuchTokenizer"),
]
FILES = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
}
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


WEIGHT_CHANGES: dict[str, Change] = {
    "no file": lambda path: path.unlink(),
    "an empty file": lambda path: put(path, b""),
    "text": lambda path: put(path, "weights"),
    "cut in half": lambda path: cut(path, 0.5),
    "cut at its end": lambda path: cut(path, 0.999),
    "a pickle": lambda path: put(path, pickled(Sandbox(path.parents[3]))),
    "a pickle as .bin": lambda path: (
        path.unlink(),
        put(path.with_suffix(".bin"), pickled(Sandbox(path.parents[3]))),
    ),
    "no tensors": lambda path: (path.unlink(), save_file({}, path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
HARMLESS = (
    ("unet", "_class_name"),
    ("unet", "sample_size"),
    ("tokenizer", "tokenizer_class"),
    ("scheduler", "timestep_spacing"),
    ("tokenizer", "pad_token"),
    ("vae", "norm_num_groups"),
    ("scheduler", "beta_end"),
)
"""Keys of parts that a base may do without."""


def bases() -> Iterator[Trial]:
    """Yield trials of every part of a base: its folder, its config, its weights, the tokenizer."""
    for part, file in FILES.items():
        yield _base(f"no {part}", lambda base, part=part: shutil.rmtree(base / part), "refused", part)
        path = f"{part}/{file}"
        yield _base(f"no {path}", lambda base, path=path: (base / path).unlink(), "refused", path)
        for name in ("cut in half", "a list", "an empty file", "not UTF-8", "nested without end"):
            yield _base(f"{path}: {name}", _inside(path, JSONS[name]), "refused", path)
    for part, key, value in CONFIGS:
        path = f"{part}/{FILES[part]}"
        change = edit_json(lambda content, key=key, value=value: content.update({key: value}))
        expected: Expected = "either" if (part, key) in HARMLESS else "refused"
        yield _base(f"{path}: {key} {value!r}", _inside(path, change), expected, part, "bases/mini")
    for part, stem in WEIGHTS.items():
        path = f"{part}/{stem}.safetensors"
        for name, change in WEIGHT_CHANGES.items():
            yield _base(f"{path}: {name}", _inside(path, change), "refused", part)
    path = "tokenizer/tokenizer.json"
    for name in ("cut in half", "a list", "no keys", "an empty file"):
        yield _base(f"{path}: {name}", _inside(path, JSONS[name]), "refused", "tokenizer")
    yield _base(f"no {path}", lambda base: (base / path).unlink(), "refused", "tokenizer")


def _base(name: str, change: Change, expected: Expected, *culprits: str) -> Trial:
    """Return a trial of a copy of the bundled base, of which something is changed."""

    def mutate(sandbox: Sandbox) -> None:
        sandbox.undo("data")
        folder = sandbox.root / "bases" / "mini"
        shutil.copytree(BUNDLED_BASES / "mini", folder)
        put(sandbox.config, sandbox.config.read_text().replace("model: mini", "model: bases/mini"))
        change(folder)

    return Trial("base", f"base: {name}", "run", mutate, expected, culprits)


def _inside(path: str, change: Change) -> Change:
    """Return what changes a file of a base's folder."""
    return lambda base: change(base / path)
