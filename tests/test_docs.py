"""README and docs name only what there is."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer.main

from defectfill.cli import app
from defectfill.config.loading import ConfigSection
from defectfill.config.run import RunConfig

if TYPE_CHECKING:
    from defectfill.runs.run import Run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE_BY_RUNS = ("out/", "demo/", "models/")


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text)
    assert [link for pair in links for link in pair if link and not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:defectfill|flows|mask_sampling|configs|benchmarks|tests|docs)/[\w./*-]+)`", text)
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
    modules = re.findall(r"python -m ((?:benchmarks|defectfill|flows)\.[\w.]*\w)", text)
    assert [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_are_there(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for line in console_lines(page.read_text("utf-8")):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line
        if words[:1] == ["defectfill"]:
            command = group.commands[words[1]]
            command = command.commands[words[2]] if hasattr(command, "commands") else command
            options = {name for each in command.params for name in each.opts}
            assert {word for word in words[2:] if word.startswith("--")} <= options, line


def console_lines(text: str) -> list[str]:
    """The lines of all console blocks, and commands in the running text."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    running = re.findall(r"(?<!`)`((?:defectfill|make) [^`]+)`(?!`)", text)
    return [line.strip() for block in blocks for line in block.splitlines()] + running


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_of_the_config_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:data|base|window|train|masks|generate|gates|dataset|output|runner|schedule)\.\w+)",
        page.read_text("utf-8"),
    )
    assert [key for key in named if key not in keys_of(RunConfig)] == []


def keys_of(section: type[ConfigSection], path: str = "") -> set[str]:
    """Every key of a section and of those in it, dotted."""
    keys = set()
    for name, field in section.model_fields.items():
        keys.add(path + name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, ConfigSection):
                keys |= keys_of(kind, f"{path}{name}.")
    return keys


def test_the_readmes_program_runs(finished: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(re.sub(r'"out/.*?"', repr(str(finished.dataset)), re.sub(r"^   ", "", program, flags=re.M)), names)
    assert {row.split for row in names["train"].rows} == {"train"}
    assert names["batch"]["image"].shape == (8, 3, 256, 256)
