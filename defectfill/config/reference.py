"""The reference of every config key in Markdown, from the fields themselves.

`python -m defectfill.config.reference > docs/configuration.md`
"""

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from defectfill.config.affects import MEANINGS, Affects, Key, keys_of
from defectfill.config.run import RunConfig

HEAD = """\
# Configuration

Every key of a category's YAML file. `${NAME}` stands for an environment variable, relative paths start at the file's
folder, and a key that is not known is refused. `configs/hazelnut.yaml` spells all of them out. This page is generated:
`python -m defectfill.config.reference > docs/configuration.md`.

A key affects

"""
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}", "multiple_of": "a multiple of {}"}


def reference(kind: type[BaseModel] = RunConfig) -> str:
    """Return the page: the meaning of what keys affect, then a table for every section."""
    meanings = "".join(f"- {_words(each)}: {text}\n" for each, text in MEANINGS.items())
    return HEAD + meanings + "- nothing: where or how the work is done\n" + tables(kind)


def tables(kind: type[BaseModel]) -> str:
    """Return a Markdown table for the keys of every section of a config class."""
    sections: dict[str, list[Key]] = {}
    for key in keys_of(kind):
        sections.setdefault(key.path.rpartition(".")[0], []).append(key)
    return "".join(_table(path, keys) for path, keys in sections.items())


def _table(path: str, keys: list[Key]) -> str:
    """Return the heading, the class's docstring and the table of one section."""
    heading = f"\n## `{path}`\n" if path else "\n## Keys of no section\n"
    about = " ".join((keys[0].section.__doc__ or "").split()) if path else ""
    rows = "".join(f"{_row(key)}\n" for key in keys)
    columns = "\n| key | type | default | affects | meaning |\n| --- | --- | --- | --- | --- |\n"
    return heading + (f"\n{about}\n" if about else "") + columns + rows


def _row(key: Key) -> str:
    """Return a key's row of a table."""
    name = key.path.rpartition(".")[2]
    cells = [f"`{name}`", _type(key.field), _default(key.field), _words(key.affects), _docstring(key.section, name)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(affects: Affects | None) -> str:
    """Return what a key affects in words."""
    if affects is None:
        return ""
    return ", ".join(each.name.lower() for each in MEANINGS if each & affects and each.name) or "nothing"


def _default(field: FieldInfo) -> str:
    """Return the default of a key as YAML has it, or that there is none."""
    if field.is_required():
        return "required"
    value = field.default
    return f"`{json.dumps(value)}`" if not isinstance(value, float) else f"`{value:.4g}`"


def _type(field: FieldInfo) -> str:
    """Return the type and range of a key's values."""
    return _with_bounds(_type_words(field.annotation), field.metadata)


def _type_words(annotation: Any) -> str:
    """Return a Python type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _with_bounds(_type_words(arguments[0]), arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join("null" if each is NoneType else _type_words(each) for each in arguments)
    if origin is tuple:
        elements = arguments[:1] if arguments[-1] is Ellipsis else arguments
        return f"list of {_type_words(elements[0])}" + (f" ({len(elements)})" if len(elements) > 1 else "")
    if origin is dict:
        return f"{_type_words(arguments[0])} to {_type_words(arguments[1])}"
    return {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}[annotation]


def _with_bounds(words: str, metadata: Iterable[Any]) -> str:
    """Return the words of a type and the range that its metadata gives it."""
    found = dict(_bounds(metadata))
    bounds = [text.format(f"{found[name]:.10g}") for name, text in BOUNDS.items() if name in found]
    return f"{words}, {' '.join(bounds)}" if bounds else words


def _bounds(metadata: Iterable[Any]) -> Iterator[tuple[str, float]]:
    """Yield the bounds among the metadata of a field, by their names in BOUNDS."""
    for each in metadata:
        parts = each.metadata if isinstance(each, FieldInfo) else [each]
        for part in parts:
            yield from ((name, getattr(part, name)) for name in BOUNDS if getattr(part, name, None) is not None)


def _docstring(section: type[BaseModel], name: str) -> str:
    """Return the docstring that stands below a field, in one line."""
    [definition] = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        is_named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id == name
        if is_named and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return re.sub(r"\s+", " ", str(below.value.value))
    return ""


if __name__ == "__main__":
    print(reference(), end="")
