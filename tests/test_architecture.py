"""flows -> defectfill -> mask_sampling, never backwards; heavy libraries in their own corner."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("mask_sampling", "defectfill", "flows")
"""From the ground up: each may import itself and what stands before it."""

MODEL = "defectfill/model/"
HOMES = {
    "prefect": ("flows/",),
    "typer": ("defectfill/cli.py",),
    "torch": (MODEL,),
    "torchvision": (MODEL,),
    "lpips": (MODEL,),
    "diffusers": (MODEL,),
    "peft": (MODEL,),
    "accelerate": (MODEL,),
    "transformers": (MODEL, "defectfill/operations/check.py"),
    "s3fs": ("defectfill/io/s3.py",),
    "botocore": ("defectfill/io/s3.py",),
    "aiohttp": ("defectfill/io/s3.py",),
}
"""Library -> where it may be imported."""


class Import(NamedTuple):
    file: str
    line: int
    module: str
    in_function: bool

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


def imports_in(source: str, file: str) -> Iterator[Import]:
    """Every import of a module's source, inside functions too."""

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            own = ".".join(file.removesuffix(".py").split("/")[: -node.level]) if node.level else ""
            yield Import(file, node.lineno, ".".join(filter(None, [own, node.module])), in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(ast.parse(source), False)


@cache
def all_imports() -> list[Import]:
    files = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    assert len(files) > 20
    return [found for path in files for found in imports_in(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())]


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import os.path, torch\ndef f():\n    from a.b import c\nclass D:\n    from . import e\n    from ..g import h"
    )
    found = [(item.line, item.module, item.in_function) for item in imports_in(source, "top/low/x.py")]
    assert found == [
        (1, "os.path", False),
        (1, "torch", False),
        (3, "a.b", True),
        (5, "top.low", False),
        (6, "top.g", False),
    ]


def test_layers_import_only_downwards() -> None:
    """But for the public functions, of which some start a flow, inside a function."""
    upwards = [
        found
        for found in all_imports()
        if found.package in LAYERS and LAYERS.index(found.package) > LAYERS.index(found.file.split("/")[0])
    ]
    assert [found for found in upwards if not (found.file == "defectfill/api.py" and found.in_function)] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_stays_in_its_corner(library: str) -> None:
    astray = [
        found for found in all_imports() if found.package == library and not found.file.startswith(HOMES[library])
    ]
    assert astray == []


def test_the_check_loads_its_tokenizer_inside_a_function() -> None:
    early = [found for found in all_imports() if found.package == "transformers" and not found.in_function]
    assert [found for found in early if not found.file.startswith(MODEL)] == []


def test_mask_sampling_needs_arrays_and_nothing_else() -> None:
    allowed = {"mask_sampling", "numpy", "scipy", "skimage", *sys.stdlib_module_names}
    own = [found for found in all_imports() if found.file.startswith("mask_sampling/")]
    assert [found for found in own if found.package not in allowed] == []


def loaded_by(code: str) -> set[str]:
    """The packages that are loaded once a fresh Python has run `code`."""
    report = "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    child = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(child.stdout.splitlines()[-1].split())


HELP = """
from defectfill.cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert not end.code
"""
STEPS = """
import defectfill.dataset.verify, defectfill.dataset.writer, defectfill.operations.check
import defectfill.runs.planner, defectfill.synthesis.shards
"""


def test_the_help_loads_nothing_heavy() -> None:
    assert loaded_by(HELP) & {*HOMES, "numpy", "pandas", "pyarrow", "scipy"} == {"typer"}


def test_the_steps_load_neither_torch_nor_prefect_before_they_need_them() -> None:
    assert loaded_by(STEPS) & set(HOMES) == set()


def test_the_help_names_the_commands() -> None:
    command = [sys.executable, "-m", "defectfill.cli", "--help"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in ("run", "check", "verify", "demo"):
        assert f" {name} " in child.stdout
    assert child.stderr == ""
