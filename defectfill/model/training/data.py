"""The data that an adapter learns from, as windows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from defectfill.painting.window import Window
from defectfill.records.snapshot import ImageRecord

Prompts = tuple[str, str]
"""Of the defect branch and of the object branch."""


@dataclass(frozen=True)
class Reference:
    """A real defect and the prompts that it is learnt under."""

    window: Window
    prompts: Prompts
    token: str
    """[V*], a word of both prompts."""


@dataclass(frozen=True)
class Scene:
    """A window of a normal with the mask of a reference, moved there, for a preview to be painted in."""

    window: Window
    prompt: str


@dataclass(frozen=True)
class TrainingData:
    """Everything that an adapter learns from or is evaluated on."""

    references: Sequence[Reference]
    """As many of every defect: those of a defect that has fewer come again."""
    validation: Sequence[Reference] = ()
    """Kept from the training."""
    scenes: Sequence[Scene] = ()
    records: Sequence[ImageRecord] = field(default=(), repr=False)
    """The files of the references."""
    validation_records: Sequence[ImageRecord] = field(default=(), repr=False)
