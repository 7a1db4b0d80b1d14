"""YAML files into frozen models: every mistake at once, each with its key's path."""

import difflib
import os
import re
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from defectfill.errors import ConfigError


class Part(BaseModel):
    """A block of the config: frozen, numbers are finite, and a key it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnyPart = TypeVar("AnyPart", bound=Part)


def load_yaml(path: Path, kind: type[AnyPart]) -> AnyPart:
    """The content of the YAML file `path` as a `kind`, with `${NAME}` replaced by the environment variable.

    Raises ConfigError with one message per mistake, each with the key's path.
    """
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that cannot be, as 2026-13-01
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    problems: list[str] = []
    try:
        values = _expand(raw, "", problems)
    except RecursionError as error:
        raise ConfigError(f"{path}: an alias holds itself") from error
    config: AnyPart | None = None
    try:
        config = kind.model_validate(values)
    except ValidationError as error:
        problems += [_describe(kind, dict(detail)) for detail in error.errors()]
    if problems or config is None:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.YAMLError(f"the key '{key}' stands twice, again in line {key_node.start_mark.line + 1}")
            keys.append(key)
        return super().construct_mapping(node, deep)


def _expand(value: Any, key_path: str, problems: list[str]) -> Any:
    """`value` with every `${NAME}` in its strings replaced; unset names are added to `problems`."""
    if isinstance(value, dict):
        return {key: _expand(item, f"{key_path}.{key}".lstrip("."), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{key_path}.{index}", problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            problems.append(f"{key_path}: the environment variable {match[1]} is not set")
        return os.environ.get(match[1], match[0])

    return re.sub(r"\$\{(\w+)\}", replace, value)


def _describe(kind: type[Part], detail: dict[str, Any]) -> str:
    """One pydantic error as `key.path: what was expected, what was found`."""
    location = [str(part) for part in detail["loc"]]
    key_path = ".".join(location)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(kind, location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        return f"{key_path}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{key_path}: this key is missing"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not location:  # of keys in several blocks, which it names
        return message
    found = detail["input"]
    shown = "" if isinstance(found, dict | list | BaseModel) else f", found {found!r}"
    return f"{key_path}: {message[0].lower()}{message[1:]}{shown}"


def _fields_at(kind: type[Part], location: list[str]) -> list[str]:
    """The keys that may stand in the block at `location`."""
    part: Any = kind
    for name in location:
        part = part.model_fields[name].annotation
        part = next((option for option in get_args(part) if isinstance(option, type)), part)
    return list(part.model_fields)
