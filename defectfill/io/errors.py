"""The errors defectfill raises on purpose.

DefectFillError         anything below; carries one message per problem
├── ConfigError         edit the YAML file (or the base folder it names)
├── DataError           fix the file that is named
├── ModelError          weights or device failed; worth a retry
└── StorageError        shared storage cannot be reached; worth a retry
"""

import errno
from collections.abc import Sequence


class DefectFillError(Exception):
    """One or more problems, each a complete message of its own."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class ConfigError(DefectFillError):
    """The config file, or a folder it names, cannot be used as it stands."""


class DataError(DefectFillError):
    """An image, a mask or a dataset file is missing, broken or contradictory."""


class ModelError(DefectFillError):
    """Weights or device failed while working; a second try may succeed."""


class StorageError(DefectFillError):
    """Shared storage did not answer, or not as it should; a second try may succeed."""


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether an error says that the disk, or the share of it that may be used, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
