"""The effect of each config key, said at its field; every digest and every list of differences comes from here.

`steps: Annotated[int, Affects.ADAPTER]` says it of a key, `runner: Annotated[RunnerConfig, Affects.NOTHING]` of all
keys of a section that do not say otherwise themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from defectfill.config.loading import section_of


class Affects(Flag):
    """The things that come out differently when a key has another value; MEANINGS has them in words."""

    NOTHING = 0
    SNAPSHOT = auto()
    PLAN = auto()
    ADAPTER = auto()
    SHARDS = auto()
    DATASET = auto()
    RESOLVED = auto()
    DIFFUSION = auto()

    RUN = SNAPSHOT | PLAN | ADAPTER | SHARDS
    """What a run's key counts; a key of DATASET only extends a run, or puts its dataset together anew."""


MEANINGS = {
    Affects.SNAPSHOT: "which real images are learnt from; adapters and shards count these by their content",
    Affects.PLAN: "what is asked for: masks, seeds, prompts; shards count it by the rows of the plan",
    Affects.ADAPTER: "what training learns",
    Affects.SHARDS: "what is painted, chosen and rejected",
    Affects.DATASET: "how many samples are wanted, or how the dataset is put together; nothing is painted again for it",
    Affects.RESOLVED: "by itself nothing: it counts as what it resolves to, such as the content of the folder it names",
    Affects.DIFFUSION: "all this with `generate.painter: diffusion` alone; so does what affects the adapter alone",
}


@dataclass(frozen=True)
class Key:
    """One key of a config, such as `train.boxes.count`."""

    path: str
    field: FieldInfo
    section: type[BaseModel]
    affects: Affects | None
    """None where neither its field nor a section around it says."""

    @property
    def is_for_diffusion(self) -> bool:
        """Whether it decides nothing with a painter that needs no base."""
        return self.affects is not None and (bool(self.affects & Affects.DIFFUSION) or self.affects == Affects.ADAPTER)


def keys_of(kind: type[BaseModel], path: str = "", affects: Affects | None = None) -> Iterator[Key]:
    """Yield every key of a config class that is no section, in the order of the fields."""
    for name, field in kind.model_fields.items():
        here = f"{path}.{name}" if path else name
        said = next((each for each in field.metadata if isinstance(each, Affects)), affects)
        section = section_of(field.annotation)
        if section is None:
            yield Key(here, field, kind, said)
        else:
            yield from keys_of(section, here, said)


def settings_that_affect(config: BaseModel, what: Affects) -> dict[str, Any]:
    """Return the value of every key that affects any of `what`, in JSON types, by the key's path.

    Keys of a section that is not there are left out.
    """
    values = config.model_dump(mode="json")
    chosen = [key.path for key in keys_of(type(config)) if key.affects is not None and key.affects & what]
    found = ((path, _value_at(values, path.split("."))) for path in chosen)
    return {path: value for path, (there, value) in found if there}


def _value_at(values: Any, names: list[str]) -> tuple[bool, Any]:
    """Return whether the sections around a key are there, and its value."""
    for name in names:
        if values is None:
            return False, None
        values = values[name]
    return True, values
