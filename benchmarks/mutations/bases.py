"""Broken adapters and bases."""

import hashlib
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.mutations.common import JSONS, Change, Expected, Place, Trial, cut, edit_json, pickled, put
from defectfill.config.base import BUNDLED_BASES
from defectfill.model.lora import ADAPTER_FILE


def trials() -> Iterator[Trial]:
    yield from adapters()
    yield from bases()


def adapters() -> Iterator[Trial]:
    """The file of weights, and the same with a hash in training.json that fits it."""

    def other(change: Callable[[dict[str, Any]], Any]) -> Change:
        def mutate(path: Path) -> None:
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)

        return mutate

    def scaled(tensors: dict[str, Any]) -> None:
        for name in list(tensors)[:4]:
            tensors[name] = np.zeros((5, 7), np.float32)

    changes: dict[str, Change] = {
        "an empty file": lambda path: put(path, b""),
        "text": lambda path: put(path, "weights"),
        "cut in half": lambda path: cut(path, 0.5),
        "cut at its end": lambda path: cut(path, 0.99),
        "a pickle": lambda path: put(path, pickled(Place(path.parents[4]))),
        "a header of 2^60 bytes": lambda path: put(path, struct.pack("<Q", 2**60) + path.read_bytes()[8:]),
        "a header that is no JSON": lambda path: put(path, struct.pack("<Q", 8) + b"not JSON"),
        "no tensors": other(lambda tensors: tensors.clear()),
        "other shapes": other(scaled),
        "other names": other(lambda tensors: tensors.update({f"x.{n}": tensors.pop(n) for n in list(tensors)})),
        "nan": other(lambda tensors: tensors.update({n: t * np.nan for n, t in tensors.items()})),
        "no file": lambda path: path.unlink(),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
        "a pickle beside it": lambda path: (
            path.unlink(),
            put(path.with_suffix(".bin"), pickled(Place(path.parents[4]))),
        ),
    }
    for name, change in changes.items():
        for fits in (False, True):

            def mutate(place: Place, change: Change = change, fits: bool = fits) -> None:
                from defectfill.io.images import file_sha256

                place.undo("paint")
                path = place.adapter / ADAPTER_FILE
                change(path)
                if fits and path.is_file():
                    sha256 = file_sha256(path)
                    edit_json(lambda content: content.update(adapter_sha256=sha256))(place.adapter / "training.json")

            if fits and name in ("no file", "a folder", "a pickle beside it"):
                continue
            shown = f"adapter: {name}" + (" with its hash" if fits else "")
            yield Trial("adapter", shown, "run", mutate, "refused", (ADAPTER_FILE,), heals=True)
    yield Trial(
        "adapter",
        "adapter: no training.json",
        "run",
        lambda place: (place.undo("paint"), (place.adapter / "training.json").unlink()),
        "accepted",
        heals=True,
    )
    yield Trial(
        "adapter",
        "adapter: a hash that is none",
        "run",
        lambda place: (
            place.undo("paint"),
            edit_json(lambda content: content.update(adapter_sha256=7))(place.adapter / "training.json"),
        ),
        "refused",
        ("training.json", ADAPTER_FILE),
    )
    for name, hashed in (("that is none", False), ("that is a pickle", True)):

        def stopped(place: Place, hashed: bool = hashed) -> None:
            """A training that was stopped and has left a checkpoint."""
            work = place.adapter.with_name(f".{place.adapter.name}.work")
            content = pickled(place)
            place.undo("train")
            put(work / "00000001.checkpoint", hashlib.sha256(content).digest() + content if hashed else b"x")

        yield Trial("adapter", f"adapter: a checkpoint {name}", "run", stopped, "accepted", heals=True)


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
    ("vae", "latent_channels", 4),
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


def bases() -> Iterator[Trial]:
    def trial(name: str, change: Change, expected: Expected, *culprits: str) -> Trial:
        def mutate(place: Place) -> None:
            place.undo("data")
            folder = place.root / "bases" / "mini"
            shutil.copytree(BUNDLED_BASES / "mini", folder)
            put(place.config, place.config.read_text().replace("model: mini", "model: bases/mini"))
            change(folder)

        return Trial("base", f"base: {name}", "run", mutate, expected, culprits)

    for part, file in FILES.items():
        yield trial(f"no {part}", lambda base, part=part: shutil.rmtree(base / part), "refused", part)
        path = f"{part}/{file}"
        yield trial(f"no {path}", lambda base, path=path: (base / path).unlink(), "refused", path)
        for name in ("cut in half", "a list", "an empty file", "not UTF-8", "nested without end"):
            yield trial(f"{path}: {name}", lambda base, path=path, name=name: JSONS[name](base / path), "refused", path)
    for part, key, value in CONFIGS:
        path = f"{part}/{FILES[part]}"
        expected: Expected = (
            "either"
            if (part, key)
            in (
                ("unet", "_class_name"),
                ("unet", "sample_size"),
                ("tokenizer", "tokenizer_class"),
                ("scheduler", "timestep_spacing"),
                ("tokenizer", "pad_token"),
                ("vae", "norm_num_groups"),
                ("scheduler", "beta_end"),
            )
            else "refused"
        )
        yield trial(
            f"{path}: {key} {value!r}",
            lambda base, path=path, key=key, value=value: edit_json(lambda content: content.update({key: value}))(
                base / path
            ),
            expected,
            part,
            "bases/mini",
        )
    for part, stem in WEIGHTS.items():
        path = f"{part}/{stem}.safetensors"
        weights: dict[str, Change] = {
            "no file": lambda path: path.unlink(),
            "an empty file": lambda path: put(path, b""),
            "text": lambda path: put(path, "weights"),
            "cut in half": lambda path: cut(path, 0.5),
            "cut at its end": lambda path: cut(path, 0.999),
            "a pickle": lambda path: put(path, pickled(Place(path.parents[3]))),
            "a pickle as .bin": lambda path: (
                path.unlink(),
                put(path.with_suffix(".bin"), pickled(Place(path.parents[3]))),
            ),
            "no tensors": lambda path: (path.unlink(), save_file({}, path)),
            "a folder": lambda path: (path.unlink(), path.mkdir()),
        }
        for name, change in weights.items():
            yield trial(f"{path}: {name}", lambda base, path=path, change=change: change(base / path), "refused", part)
    for name in ("tokenizer.json",):
        for how in ("cut in half", "a list", "no keys", "an empty file"):
            yield trial(
                f"tokenizer/{name}: {how}",
                lambda base, how=how: JSONS[how](base / "tokenizer/tokenizer.json"),
                "refused",
                "tokenizer",
            )
        yield trial(
            "no tokenizer/tokenizer.json",
            lambda base: (base / "tokenizer/tokenizer.json").unlink(),
            "refused",
            "tokenizer",
        )
