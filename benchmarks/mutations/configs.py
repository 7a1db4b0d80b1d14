"""Broken configs, which `check` reads."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from benchmarks.mutations.common import Expected, Sandbox, Trial, loop, put


def edit(key_path: str, value: Any) -> Callable[[Sandbox], None]:
    """Return what writes another value to a dotted path; DELETE takes the key away, RENAME misspells it."""

    def change(sandbox: Sandbox) -> None:
        content = yaml.safe_load(sandbox.config.read_text())
        part, *names = content, *key_path.split(".")
        for name in names[:-1]:
            part = part.setdefault(name, {})
        if value is DELETE:
            del part[names[-1]]
        elif value is RENAME:
            part[names[-1][:-1] + "_"] = part.pop(names[-1])
        else:
            part[names[-1]] = value
        sandbox.config.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")

    return change


DELETE, RENAME = object(), object()


def leaves(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield dotted paths of all keys that hold a value."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{before}{name}.")
        else:
            yield f"{before}{name}"


NEEDED = ("category", "object_name", "data", "data.root", "data.defects", "base", "base.model", "output", "output.root")
OPTIONAL = ("seed", "data.references", "base.resolution", "train", "train.steps", "generate", "generate.count", "gates")
VALUES: list[tuple[str, Any, Expected]] = [
    ("category", "../washer", "refused"),
    ("category", "..", "refused"),
    ("category", ".", "refused"),
    ("category", "washer/../washer", "refused"),
    ("category", "/etc", "refused"),
    ("category", "C:\\washer", "refused"),
    ("category", "washer\n", "refused"),
    ("category", "wäscher", "refused"),
    ("category", "-washer", "refused"),
    ("category", ".washer", "refused"),
    ("category", "", "refused"),
    ("category", "w" * 300, "refused"),
    ("category", 7, "refused"),
    ("category", "bolt", "refused"),
    ("object_name", "", "refused"),
    ("object_name", "Unterlegscheibe ø8 – «groß» 垫圈", "accepted"),
    ("object_name", "washer " * 3000, "refused"),
    ("object_name", "a {token} b", "accepted"),
    ("object_name", "sks", "refused"),
    ("seed", -1, "refused"),
    ("seed", 2**32, "refused"),
    ("seed", 10**400, "refused"),
    ("seed", 1.5, "refused"),
    ("seed", float("nan"), "refused"),
    ("data.root", "no/such/folder", "refused"),
    ("data.root", "washer.yaml", "refused"),
    ("data.root", "a" * 5000, "refused"),
    ("data.root", "~nobody-of-this-name/data", "refused"),
    ("data.root", "${DEFECTFILL_UNSET}/data", "refused"),
    ("data.root", "s3://", "refused"),
    ("data.root", "s3://bucket/../other", "refused"),
    ("data.root", "data/../data", "accepted"),
    ("data.defects", [], "refused"),
    ("data.defects", "hole", "refused"),
    ("data.defects", ["hole", "hole"], "refused"),
    ("data.defects", ["good"], "refused"),
    ("data.defects", ["../good"], "refused"),
    ("data.defects", ["hole/../../train/good"], "refused"),
    ("data.defects", ["hole", "rust"], "refused"),
    ("data.defects", [None], "refused"),
    ("data.defects", ["hole"] * 5000, "refused"),
    ("data.references", {}, "refused"),
    ("data.references", {"count": 2, "fraction": 0.5}, "refused"),
    ("data.references.count", 0, "refused"),
    ("data.references.count", 99, "refused"),
    ("data.references", {"fraction": 1.5}, "refused"),
    ("data.group_column", "part", "refused"),
    ("base.model", "", "refused"),
    ("base.model", "no/such/base", "refused"),
    ("base.model", "./no-such-base", "refused"),
    ("base.model", "mini/../../../bases/mini", "refused"),
    ("base.model", "~nobody-of-this-name/base", "refused"),
    ("base.model", "m" * 5000, "refused"),
    ("base.model", "data", "refused"),
    ("base.model", "washer.yaml", "refused"),
    ("base.revision", "main", "either"),
    ("base.resolution", 0, "refused"),
    ("base.resolution", 65, "refused"),
    ("base.resolution", 2**40, "refused"),
    ("base.device", "gpu", "refused"),
    ("base.device", "cuda:99", "refused"),
    ("base.precision", "fp16", "refused"),
    ("window.mode", "half", "refused"),
    ("window.context", 0.5, "refused"),
    ("window.context", float("inf"), "refused"),
    ("window.min_side_px", 0, "refused"),
    ("train.steps", 0, "refused"),
    ("train.steps", 10**30, "refused"),
    ("train.rank", 10**12, "refused"),
    ("train.batch_size", 10**12, "refused"),
    ("train.learning_rate_unet", 0, "refused"),
    ("train.learning_rate_unet", float("inf"), "refused"),
    ("train.learning_rate_unet", 1e300, "refused"),
    ("train.dropout", 1.0, "refused"),
    ("train.warmup_steps", -1, "refused"),
    ("train.max_resize", 0.5, "refused"),
    ("train.boxes", {"min_side": 0.5, "max_side": 0.1}, "refused"),
    ("train.boxes.count", 10**12, "refused"),
    ("train.latent_cache", 10**12, "refused"),
    ("train.processes", 3, "refused"),
    ("train.select", "best", "refused"),
    ("train.validation_references", 2, "refused"),
    ("train.token", "", "refused"),
    ("train.token", "two words", "refused"),
    ("train.token", "ünïcödé", "refused"),
    ("train.token", "\U0001f600", "refused"),
    ("train.tokens", {"hole": "q"}, "accepted"),
    ("train.tokens", {"../hole": "q"}, "refused"),
    ("train.joint", True, "refused"),
    ("train.prompt_defect", "A photo", "refused"),
    ("train.prompt_object", "{token} {object_name.__class__}", "refused"),
    ("train.prompt_object", "{token} {0}", "refused"),
    ("masks.samplers", {}, "refused"),
    ("masks.samplers", {"spiral": 1}, "refused"),
    ("masks.samplers", {"reference": -1}, "refused"),
    ("masks.samplers", {"reference": 1e308, "morph": 1e308}, "refused"),
    ("masks.samplers", {"folder": 1, "reference": 1}, "refused"),
    ("masks.folder", "data", "refused"),
    ("masks.count", [2, 1], "refused"),
    ("masks.count", [0, 1], "refused"),
    ("masks.count", [1], "refused"),
    ("masks.zones", {}, "refused"),
    ("masks.zones", {"allowed": "no/such.png"}, "refused"),
    ("masks.zones", {"allowed": "washer.yaml"}, "refused"),
    ("masks.zones", {"allowed": "data"}, "refused"),
    ("masks.placement", "zones", "refused"),
    ("generate.count", 0, "refused"),
    ("generate.count", 10**12, "refused"),
    ("generate.max_attempts", 0.5, "refused"),
    ("generate.max_attempts", 1e300, "refused"),
    ("generate.candidates", 0, "refused"),
    ("generate.candidates", 10**9, "refused"),
    ("generate.steps", 501, "refused"),
    ("generate.solver", "euler", "refused"),
    ("generate.guidance_scale", 0.5, "refused"),
    ("generate.samples_per_batch", "many", "refused"),
    ("generate.samples_per_batch", 0, "refused"),
    ("generate.shard_size", 0, "refused"),
    ("generate.min_change", 1.0, "refused"),
    ("gates.tolerance", 21, "refused"),
    ("gates.min_drawn_fraction", -0.1, "refused"),
    ("dataset.real_share", 1, "refused"),
    ("dataset.label", "real", "refused"),
    ("output.root", "washer.yaml/out", "refused"),
    ("output.root", "o" * 5000, "refused"),
    ("output.root", "s3://Bucket", "refused"),
    ("output.root", "s3://bucket//out", "refused"),
    ("schedule", "0 2 * * 1", "refused"),
    ("schedule", {"cron": "every day"}, "refused"),
    ("schedule", {"cron": "0 2 * * 1", "timezone": "../../etc/passwd"}, "refused"),
    ("schedule", {"cron": "0 2 * * 1", "timezone": "Europe/Berlin"}, "accepted"),
    ("generate.kount", 1, "refused"),
    ("masks.zones.allowedd", "x.png", "refused"),
    ("extra", {"a": [1, 2]}, "refused"),
    ("1", "one", "refused"),
]

TEXTS: dict[str, tuple[bytes | str, Expected]] = {
    "empty": ("", "refused"),
    "only a comment": ("# nothing\n", "refused"),
    "a list": ("- category: washer\n", "refused"),
    "a number": ("42\n", "refused"),
    "not UTF-8": (b"category: w\xe4scher\n", "refused"),
    "UTF-16": ("category: washer\n".encode("utf-16"), "refused"),
    "binary": (bytes(range(256)) * 8, "refused"),
    "nested without end": ("[" * 100_000, "refused"),
    "nested keys without end": ("".join(f"{' ' * depth}a:\n" for depth in range(600)), "refused"),
    "an unfinished list": ("category: [washer\n", "refused"),
    "tabs": ("category:\n\twasher\n", "refused"),
}
ADDED: dict[str, tuple[str, Expected]] = {
    "a python object": ("extra: !!python/object/apply:os.mkdir [unpickled]", "refused"),
    "a python name": ("extra: !!python/name:os.system", "refused"),
    "a python module": ("extra: !!python/module:os", "refused"),
    "a python tuple": ("extra: !!python/tuple [1, 2]", "refused"),
    "a tag of its own": ("extra: !mine {a: 1}", "refused"),
    "a key twice": ("category: washer", "refused"),
    "an impossible date": ("extra: 2026-13-01", "refused"),
    "an unhashable key": ("? [a, b]\n: 1", "refused"),
    "a key that is a number": ("3: 4", "refused"),
    "a key that is nothing": ("null: 4", "refused"),
    "a key that is true": ("true: 4", "refused"),
    "an alias of nothing": ("extra: *nothing", "refused"),
    "an alias that holds itself": ("extra: &a [*a]", "refused"),
    "aliases of aliases": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)),
        "refused",
    ),
    "merged aliases": ("extra: &e {a: 1}\nmore: {<<: *e}", "refused"),
    "a second document": ("---\ncategory: nut", "refused"),
    "a number of 5000 digits": ("extra: " + "9" * 5000, "refused"),
    "a sexagesimal": ("extra: 190:20:30", "refused"),
    "a binary": ("extra: !!binary d2FzaGVy", "refused"),
    "a set": ("extra: !!set {a, b}", "refused"),
    "50000 keys": ("\n".join(f"k{n}: 1" for n in range(50_000)), "refused"),
}
REPLACED: dict[str, tuple[str, str, Expected]] = {
    "a NUL in data.root": ("root: data", 'root: "da\\0ta"', "refused"),
    "a NUL in output.root": ("root: out", 'root: "o\\0ut"', "refused"),
    "a NUL in base.model": ("model: mini", 'model: "./mi\\0ni"', "refused"),
    "a NUL in object_name": ("object_name: washer", 'object_name: "a\\0b"', "refused"),
    "half a character in object_name": ("object_name: washer", 'object_name: "\\ud800"', "refused"),
    "half a character in data.root": ("root: data", 'root: "\\ud800"', "refused"),
    "half a character in a key": ("object_name: washer", '"\\ud800": washer', "refused"),
    "an escape sequence in object_name": ("object_name: washer", 'object_name: "\\e[31mred"', "refused"),
    "a newline in object_name": ("object_name: washer", 'object_name: "a\\nb"', "accepted"),
    "a date as object_name": ("object_name: washer", "object_name: 2026-01-01", "refused"),
    "yes as category": ("category: washer", "category: yes", "refused"),
    "defects as a set": ("defects: [hole]", "defects: !!set {hole}", "refused"),
    "defects as keys": ("defects: [hole]", "defects: {hole: 1}", "refused"),
    "a byte order mark": ("\ncategory", "\ufeffcategory", "accepted"),
    "Windows line ends": ("\n", "\r\n", "accepted"),
    "a count in another base": ("count: 1,", "count: 0x1,", "accepted"),
    "a count in quotes": ("count: 1,", "count: '1',", "accepted"),
    "an infinite tolerance": ("tolerance: 20", "tolerance: .inf", "refused"),
}


def trials() -> Iterator[Trial]:
    from defectfill.config.run import RunConfig

    def trial(name: str, mutate: Callable[[Sandbox], Any], expected: Expected, *culprits: str) -> Trial:
        return Trial("config", name, "check", mutate, expected, culprits)

    for key_path in NEEDED:
        yield trial(f"without {key_path}", edit(key_path, DELETE), "refused", f"{key_path}: this key is missing")
        yield trial(f"{key_path} misspelt", edit(key_path, RENAME), "refused", f"{key_path}: this key is missing")
    for key_path in OPTIONAL:
        yield trial(f"without {key_path}", edit(key_path, DELETE), "accepted")
        yield trial(f"{key_path} misspelt", edit(key_path, RENAME), "refused", f"{key_path[:-1]}_: unknown key")
    for key_path in leaves(RunConfig):
        yield trial(f"{key_path} of another type", edit(key_path, {"a": {"b": 1}}), "refused", key_path)
    for key_path, value, expected in VALUES:
        shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}..."
        named = next(iter(value.items())) if isinstance(value, dict) and value else value
        named = named if isinstance(named, list | tuple) else [named] if named else []
        yield trial(
            f"{key_path}: {shown}", edit(key_path, value), expected, key_path.split(".")[-1], *map(str, named[:3])
        )
    for name, (content, expected) in TEXTS.items():
        yield trial(name, lambda sandbox, content=content: put(sandbox.config, content), expected)
    for name, (more, expected) in ADDED.items():
        yield trial(
            name, lambda sandbox, more=more: put(sandbox.config, f"{sandbox.config.read_text()}\n{more}\n"), expected
        )
    for name, (old, new, expected) in REPLACED.items():

        def replaced(sandbox: Sandbox, old: str = old, new: str = new) -> None:
            put(sandbox.config, sandbox.config.read_text().replace(old, new, 1 if old != "\n" else -1))

        yield trial(name, replaced, expected)
    yield trial("a folder in its place", lambda sandbox: (sandbox.config.unlink(), sandbox.config.mkdir()), "refused")
    yield trial("no file", lambda sandbox: sandbox.config.unlink(), "refused")
    yield trial("a link to itself", lambda sandbox: loop(sandbox.config), "refused")


def random_trial(rng: random.Random, number: int) -> Trial:
    """Return a trial of a config of which one byte is another; it may still be a good one."""
    share, byte = rng.random(), bytes([rng.randrange(256)])

    def change(sandbox: Sandbox) -> None:
        content = sandbox.config.read_bytes()
        at = int(len(content) * share)
        put(sandbox.config, content[:at] + byte + content[at + 1 :])

    culprits = ("washer", "category", "hole", "base.")
    return Trial(
        "config", f"random byte {number}: {byte!r} at {share:.3f}", "check", change, "either", culprits, listed=False
    )
