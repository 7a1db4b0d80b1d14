"""flows -> defectfill -> mask_sampling, rooms on floors, never backwards; heavy libraries in their own corner."""

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

FLOORS = (
    {"io"},
    {"config", "toy"},
    {"records", "painting"},
    {"ingest"},
    {"masks", "model"},
    {"runs"},
    {"adapters", "dataset"},
    {"synthesis"},
    {"operations"},
    {"top"},
)
"""The rooms of defectfill, its sub-packages, from the ground up: each imports from rooms on floors below it only. `top`
is what lies directly in defectfill: the command line, the demo, the public API."""

MOST_ROOMS, MOST_FLOORS = 14, 10
MOST_MODULE_LINES, MOST_FUNCTION_LINES = 300, 60
MEDIAN_LINES, NINETIETH_LINES = 8, 21
"""Of functions, with their docstrings."""

VAGUE = ("What", "How", "Whether", "Why", "Where", "The", "A", "An", "Every")
"""Words that no docstring of a function begins with."""

MODEL = "defectfill/model/"
HOMES = {
    "prefect": ("flows/",),
    "typer": ("defectfill/cli.py", "defectfill/cli_options.py", "defectfill/cli_results.py"),
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


def files() -> list[Path]:
    found = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    assert len(found) > 100
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room of a module of defectfill."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "defectfill" / parts[1]).is_dir() else "top"


def imports_in(source: str, file: str) -> Iterator[Import]:
    """Every import of a module's source, inside functions too."""

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            own = ".".join(file.removesuffix(".py").split("/")[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [own, node.module]))
            yield from (Import(file, node.lineno, each, in_function) for each in _modules_named(module, node.names))
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(ast.parse(source), False)


def _modules_named(module: str, names: list[ast.alias]) -> list[str]:
    """The modules that `from module import names` imports: sub-modules of ours by their own name."""
    folder = ROOT.joinpath(*module.split("."))
    return list(
        dict.fromkeys(
            f"{module}.{each.name}"
            if (folder / f"{each.name}.py").is_file() or (folder / each.name).is_dir()
            else module
            for each in names
        )
    )


@cache
def all_imports() -> list[Import]:
    return [
        found for path in files() for found in imports_in(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
    ]


@cache
def arrows() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, inside functions too."""
    own = {module_of(path) for path in files()}
    found: dict[str, set[str]] = {module: set() for module in own}
    for each in all_imports():
        module = module_of(ROOT / each.file)
        found[module] |= {each.module} & own - {module}
    return found


@cache
def room_arrows() -> dict[str, set[str]]:
    """Room of defectfill -> the rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for module, imported in arrows().items():
        if module.startswith("defectfill"):
            rooms = {room_of(each) for each in imported if each.startswith("defectfill")}
            found.setdefault(room_of(module), set()).update(rooms - {room_of(module)})
    return found


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Names that lead in a circle, the first one again at the end; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next(filter(None, (visit(each, [*path, name]) for each in sorted(graph.get(name, ())))), [])
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def floors_of(graph: dict[str, set[str]]) -> dict[str, int]:
    """Name -> the longest way down from it, in a graph without circles."""

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(each) for each in graph.get(name, ())), default=-1)

    return {name: floor(name) for name in graph}


@cache
def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with `file:line`."""
    found = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
    return found


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


def test_circles_are_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_no_module_imports_itself_by_a_detour() -> None:
    """Inside functions neither."""
    assert circle_in(arrows()) == []


def test_rooms_import_from_lower_floors_only() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert set(room_arrows()) == set(floor)
    upwards = [
        (room, other) for room, others in room_arrows().items() for other in others if floor[other] >= floor[room]
    ]
    assert upwards == []


def test_there_are_few_rooms_on_few_floors() -> None:
    assert circle_in(room_arrows()) == []
    floors = floors_of(room_arrows())
    assert len(floors) <= MOST_ROOMS
    assert max(floors.values()) < MOST_FLOORS


def test_modules_and_functions_are_short() -> None:
    long = [path for path in files() if len(path.read_text("utf-8").splitlines()) > MOST_MODULE_LINES]
    lines = {where: node.end_lineno - node.lineno + 1 for where, node in functions() if node.end_lineno}
    assert long == []
    assert [where for where, count in lines.items() if count > MOST_FUNCTION_LINES] == []
    ordered = sorted(lines.values())
    assert ordered[len(ordered) // 2] <= MEDIAN_LINES
    assert ordered[len(ordered) * 9 // 10] <= NINETIETH_LINES


def test_a_docstring_says_what_its_function_returns_or_does() -> None:
    """In the imperative: "Return ...", "Write ..."."""
    vague = []
    for where, node in functions():
        words = (ast.get_docstring(node) or "Nothing").split()
        is_property = any(ast.unparse(each).endswith("property") for each in node.decorator_list)
        if words[0] in VAGUE and not is_property:
            vague.append(f"{where}: {' '.join(words[:4])}")
    assert vague == []


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


def test_a_deployment_loads_no_torch() -> None:
    assert "torch" not in loaded_by("import flows.deploy")


def test_the_help_names_the_commands() -> None:
    command = [sys.executable, "-m", "defectfill.cli", "--help"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in ("run", "check", "verify", "demo"):
        assert f" {name} " in child.stdout
    assert child.stderr == ""
