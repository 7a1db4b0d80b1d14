"""What a run would refuse after training, and parts that do not stand out from their ground: check knows it before."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.ndimage import gaussian_filter

from benchmarks.mutations.bases import WEIGHTS
from benchmarks.mutations.common import Expected, Sandbox, Trial, put
from benchmarks.mutations.encode import SIDE, disc, encoded
from defectfill.config.base import BUNDLED_BASES

Base = Callable[[Path], Any]
CRON: dict[str, Expected] = {
    "61 * * * *": "refused",
    "0 24 * * *": "refused",
    "0 2 0 * *": "refused",
    "0 2 * 13 *": "refused",
    "0 2 * * 8": "refused",
    "0 2 31 2 *": "refused",
    "a b c d e": "refused",
    "*/0 * * * *": "refused",
    "*/15 2-4 1,15 * mon-fri": "accepted",
    "0 2 * * 7": "accepted",
}
ADDRESSES = ("scheduler", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:{free}", "127.0.0.1:{free}")
ADDRESSES += ("tls://[::1]:{free}", "tcp://no-such-host.invalid:8786")


def trials() -> Iterator[Trial]:
    yield from _bases()
    for cron, expected in CRON.items():
        yield _config(f"cron {cron}", f'schedule: {{cron: "{cron}"}}', expected, "schedule.cron")
    for address in ADDRESSES:
        text = f'runner: {{kind: dask, address: "{address.format(free=_free_port())}"}}'
        yield _config(f"runner.address {address}", text, "refused", "runner.address")
    yield from _zones()
    yield from _poses()


def _trial(name: str, mutate: Callable[[Sandbox], Any], expected: Expected, *culprits: str, tells: Any = ()) -> Trial:
    def change(sandbox: Sandbox) -> None:
        sandbox.undo("data")
        mutate(sandbox)

    return Trial("foresight", f"foresight: {name}", "check", change, expected, culprits, tells)


def _config(name: str, more: str, expected: Expected, *culprits: str) -> Trial:
    return _trial(name, lambda sandbox: _add(sandbox, more), expected, *culprits)


def _add(sandbox: Sandbox, text: str) -> None:
    put(sandbox.config, f"{sandbox.config.read_text()}{text}\n")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _bases() -> Iterator[Trial]:
    """Yield trials of copies of the bundled base that look whole."""
    for part, stem in WEIGHTS.items():
        for value in (np.nan, np.inf):
            yield _base(f"{value} in {part}", _spoilt(f"{part}/{stem}.safetensors", value), part)
        for variant in ("fp16", "non_ema"):
            yield _base(
                f"{part} in {variant} only",
                lambda base, path=f"{part}/{stem}", variant=variant: (base / f"{path}.safetensors").rename(
                    base / f"{path}.{variant}.safetensors"
                ),
                f"{part}/{stem}.safetensors",
            )
    yield _base(
        "two text encoders", lambda base: shutil.copytree(base / "text_encoder", base / "text_encoder_2"), "SDXL"
    )
    for key, value in (("addition_embed_type", "text_time"), ("cross_attention_dim", 2048), ("in_channels", 4)):
        yield _base(f"a UNet of {key} {value}", _edited("unet/config.json", key, value), key)
    for part, key, value in (("text_encoder", "hidden_size", 1024), ("vae", "latent_channels", 16)):
        yield _base(f"{part} of {key} {value}", _edited(f"{part}/config.json", key, value), part, key, "bases/mini")


def _base(name: str, change: Base, *culprits: str) -> Trial:
    def mutate(sandbox: Sandbox) -> None:
        folder = sandbox.root / "bases" / "mini"
        shutil.copytree(BUNDLED_BASES / "mini", folder)
        put(sandbox.config, sandbox.config.read_text().replace("model: mini", "model: bases/mini"))
        change(folder)

    return _trial(f"base: {name}", mutate, "refused", *culprits)


def _spoilt(path: str, value: float) -> Base:
    """Return what gives one number of a file of weights another value."""

    def change(base: Path) -> None:
        tensors = load_file(base / path)
        name = max(name for name, values in tensors.items() if values.dtype.kind == "f" and values.size)
        tensors[name] = tensors[name].copy()
        tensors[name].flat[0] = value
        save_file(tensors, base / path, metadata={"format": "pt"})

    return change


def _edited(path: str, key: str, value: Any) -> Base:
    return lambda base: put(base / path, json.dumps({**json.loads((base / path).read_text()), key: value}))


def _zones() -> Iterator[Trial]:
    white, flat = np.full((SIDE, SIDE), 255, np.uint8), np.full((SIDE, SIDE), 90, np.uint8)
    corner = np.pad(np.full((3, 3), 255, np.uint8), ((0, SIDE - 3), (0, SIDE - 3)))
    pictures: dict[str, tuple[str, Any, Expected]] = {
        "black": ("allowed", white * 0, "refused"),
        "white": ("forbidden", white, "refused"),
        "of another size": ("allowed", white[::2], "refused"),
        "of another size, forbidden": ("forbidden", disc()[::2], "refused"),
        "beside the object": ("allowed", corner, "refused"),
        "all but a corner, forbidden": ("forbidden", 255 - corner, "refused"),
        "everywhere": ("allowed", white, "accepted"),
        "a corner, forbidden": ("forbidden", corner, "accepted"),
    }
    for name, (key, pixels, expected) in pictures.items():

        def mutate(sandbox: Sandbox, key: str = key, pixels: Any = pixels) -> None:
            put(sandbox.root / "zone.png", encoded(pixels, "PNG"))
            _add(sandbox, f"masks: {{zones: {{{key}: zone.png}}}}")

        yield _trial(f"a zone {name}", mutate, expected, "zone")

    def drawn_on_nothing(sandbox: Sandbox) -> None:
        put(sandbox.root / "zone.png", encoded(white, "PNG"))
        put(sandbox.root / "on.png", encoded(flat + disc(40) - disc(20, radius=3), "PNG"))
        _add(sandbox, "masks: {zones: {allowed: zone.png, drawn_on: on.png}}")

    yield _trial("a zone drawn on what is hardly an object", drawn_on_nothing, "either", "on.png")


def _poses() -> Iterator[Trial]:
    """Yield trials of a component on a woven carrier, from which it does not stand out surely."""
    unsure = "the part does not stand out surely from its ground"
    ways: dict[str, tuple[bool, str, Expected, tuple[str, ...]]] = {
        "always in one pose": (False, "", "accepted", (unsure, "lies the same in all pictures")),
        "anywhere": (True, "", "accepted", (unsure, "taken for a texture")),
        "anywhere, asked to be aligned": (True, "masks: {foreground: aligned}", "refused", ()),
        "in one pose, asked to be aligned": (False, "masks: {foreground: aligned}", "accepted", ()),
        "anywhere, asked to be full": (True, "masks: {foreground: full}", "accepted", ()),
    }
    for name, (moved, more, expected, tells) in ways.items():

        def mutate(sandbox: Sandbox, moved: bool = moved, more: str = more) -> None:
            for number, path in enumerate(sorted(sandbox.category.glob("t*/*/*.png"))):
                put(path, encoded(_component(number, anywhere=moved, spot="hole" in str(path)), "PNG"))
            for path in sandbox.category.glob("ground_truth/hole/*.png"):
                put(path, encoded(disc(radius=4), "PNG"))
            _add(sandbox, more)

        yield _trial(f"a component {name}", mutate, expected, "not alike", tells=tells)


def _component(seed: int, *, anywhere: bool, spot: bool) -> Any:
    """A picture [H, W, 3] of a component on a woven carrier, with a dark spot on it."""
    rng = np.random.default_rng(seed)
    reach = 20 if anywhere else 2
    right, down = (int(step) for step in rng.integers(-reach, reach + 1, 2))
    weave = gaussian_filter(np.random.default_rng(seed if anywhere else 99).normal(size=(SIDE, SIDE)), 2, mode="wrap")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    part = (np.abs(columns - 48 - right) < 22) & (np.abs(rows - 48 - down) < 17)
    carrier = np.roll(100 + 5 * weave / weave.std(), (down, right), axis=(0, 1))
    image = np.where(part, 150, carrier) + 25 * (part & (columns // 6 % 2 == 0) & (rows < 40))
    image = np.where((disc(radius=4) > 0) & spot, 30, image) + rng.normal(0, 2, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
