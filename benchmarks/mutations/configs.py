"""Broken configs, which `check` reads."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from benchmarks.mutations.common import Expected, Sandbox, Trial, loop, put
from benchmarks.mutations.values import VALUES


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
