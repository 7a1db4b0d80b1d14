"""YAML files into frozen models: every mistake at once, each with its key's path."""

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from defectfill.io.errors import ConfigError

MAX_BYTES = 100_000
"""A larger file is refused before it is parsed."""
INT = "tag:yaml.org,2002:int"
MAX_VALUES = 10_000
"""With every alias of YAML replaced by what it stands for, which may be much more than the file shows."""


class ConfigSection(BaseModel):
    """A block of the config: frozen, numbers are finite, and a key it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=ConfigSection)


@dataclass(frozen=True)
class Formerly:
    """Metadata of a field: the name that it had in earlier versions, by which a refused file is told the new one."""

    name: str


def renamed(kind: type[BaseModel]) -> dict[str, str]:
    """Return the new name of each field of a model that had another one, by its old name."""
    fields = kind.model_fields.items()
    return {each.name: name for name, field in fields for each in field.metadata if isinstance(each, Formerly)}


def section_of(annotation: Any) -> type[ConfigSection] | None:
    """Return the section that a field's type is, or may be beside None; None for a field that is no section."""
    options = (annotation, *get_args(annotation))
    return next((each for each in options if isinstance(each, type) and issubclass(each, ConfigSection)), None)


def is_set(section: BaseModel | None, path: str) -> bool:
    """Return whether a section has a key, such as `boxes.count`, of its own rather than by default."""
    name, _, rest = path.partition(".")
    if section is None or name not in section.model_fields_set:
        return False
    return is_set(getattr(section, name), rest) if rest else True


def load_yaml(path: Path, kind: type[AnySection]) -> AnySection:
    """Return the content of the YAML file `path` as a `kind`, with `${NAME}` replaced by the environment variable.

    Raises ConfigError with one message per mistake, each with the key's path.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes, found {path.stat().st_size}")
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
        values = list(islice(_values(raw), MAX_VALUES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: cannot be read: expected text in UTF-8, found another encoding ({error}); save it as UTF-8"
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that cannot be, as 2026-13-01
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply, or an alias holds itself") from error
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise ConfigError(f"{path}: expected keys and values, found {found}")
    if len(values) > MAX_VALUES:
        raise ConfigError(f"{path}: expected at most {MAX_VALUES} values, found more with its aliases replaced")
    problems: list[str] = []
    expanded = _expand(raw, "", problems)
    config: AnySection | None = None
    try:
        config = kind.model_validate(expanded)
    except ValidationError as error:
        told = {problem.partition(":")[0] for problem in problems}
        problems += [problem for problem in _described(kind, error) if problem.partition(":")[0] not in told]
    if problems or config is None:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


def absolute(path: Path, file: Path, key: str) -> Path:
    """Return a path in the config `file`, relative to that file's folder; ConfigError where nothing can have it."""
    try:
        found = (Path(file).resolve().parent / path.expanduser()).resolve()
        found.exists()
        str(found).encode()
    except (OSError, RuntimeError) as error:  # too long; an unknown user's home, links that lead in a circle
        raise ConfigError(f"{file}: {key}: {path} cannot be a path: {error.args[-1]}") from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{file}: {key}: expected a path in UTF-8, found {str(found)!a}") from error
    return found


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, and takes for whole numbers what YAML 1.2 does: 010 is no 8."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.YAMLError(f"the key '{key}' stands twice, again in line {key_node.start_mark.line + 1}")
            keys.append(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(INT, re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


def _values(value: Any) -> Iterator[Any]:
    """Yield `value` and everything in it, aliases replaced."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _values(item)


def _expand(value: Any, key_path: str, problems: list[str]) -> Any:
    """Return `value` with every `${NAME}` in its strings replaced.

    Names that are unset or empty, values of YAML's rarer types and strings that no file name or prompt can be are added
    to `problems`.
    """
    if isinstance(value, dict):
        return {key: _expand(item, f"{key_path}.{key}".lstrip("."), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{key_path}.{index}", problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        if value is not None and not isinstance(value, int | float):
            found = f"a {type(value).__name__}" + ("; put text in quotes" if isinstance(value, date) else "")
            problems.append(f"{key_path}: expected text, a number, a list or keys, found {found}")
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            problems.append(f"{key_path}: the environment variable {match[1]} is not set")
        elif not os.environ[match[1]]:  # `${DATA}/out` would be a folder at the root
            problems.append(f"{key_path}: the environment variable {match[1]} is empty")
        return os.environ.get(match[1], match[0])

    text = re.sub(r"\$\{(\w+)\}", replace, value)
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", text):
        problems.append(f"{key_path}: expected text without control characters, found {text!r}")
    return text


def _described(kind: type[ConfigSection], error: ValidationError) -> Iterator[str]:
    """Yield a line per mistake, as `_describe`; of a value that may have several types one, with all that it may be."""
    by_key: dict[tuple[int | str, ...], list[dict[str, Any]]] = {}
    for detail in error.errors():
        location = _location(kind, detail["loc"])
        by_key.setdefault(location, []).append({**detail, "loc": location})
    for details in by_key.values():
        messages = dict.fromkeys(str(detail["msg"]).removeprefix("Input should ") for detail in details)
        joined = f"Input should {', or '.join(messages)}" if len(messages) > 1 else details[0]["msg"]
        yield _describe(kind, {**details[0], "msg": joined})


def _location(kind: type[ConfigSection], location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return pydantic's location up to the key whose value may have several types; behind it stands which was tried."""
    section: type[ConfigSection] | None = kind
    for index, part in enumerate(location):
        if section is None or part not in section.model_fields:
            break
        annotation = section.model_fields[str(part)].annotation
        section = section_of(annotation)
        types = [each for each in get_args(annotation) if each is not NoneType]
        if section is None and get_origin(annotation) in (Union, UnionType) and len(types) > 1:
            return location[: index + 1]
    return location


def _describe(kind: type[ConfigSection], detail: dict[str, Any]) -> str:
    """Return one pydantic error as `key.path: what was expected, what was found`."""
    location = [str(part) for part in detail["loc"]]
    key_path = ".".join(location)
    if detail["type"] == "extra_forbidden":
        section = _section_at(kind, location[:-1])
        if new := renamed(section).get(location[-1]):
            return f"{key_path}: renamed, now {'.'.join([*location[:-1], new])}"
        known = list(section.model_fields)
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        return f"{key_path}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{key_path}: this key is missing"
    if detail["type"] in ("model_type", "dict_type"):
        return f"{key_path}: {_instead_of_keys(location[-1], detail['input'])}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not location:  # of keys in several blocks, which it names
        return message
    found = detail["input"]
    shown = "" if isinstance(found, dict | list | BaseModel) else f", found {found!r}"
    return f"{key_path}: {message[0].lower()}{message[1:]}{shown}{_spelling_hint(detail)}"


def _instead_of_keys(name: str, found: object) -> str:
    if found is None:  # as where all its keys are commented out
        return f"expected keys below it, found none; leave {name} out to have its defaults"
    return f"expected keys and values, found {found!r}"


def _spelling_hint(detail: dict[str, Any]) -> str:
    """Return what to do where a list is missing its brackets, or YAML has read text such as `01` or `no` otherwise."""
    found = detail["input"]
    if detail["type"] in ("tuple_type", "list_type"):
        return "; a list stands in brackets, also of one value"
    if detail["type"] != "string_type" or not isinstance(found, bool | int | float):
        return ""
    kind = "yes, no, on and off as true and false" if isinstance(found, bool) else "this as a number"
    return f"; YAML reads {kind} unless it stands in quotes"


def _section_at(kind: type[ConfigSection], location: list[str]) -> type[ConfigSection]:
    """Return the class of the section at `location`."""
    for name in location:
        section = section_of(kind.model_fields[name].annotation)
        assert section is not None
        kind = section
    return kind
