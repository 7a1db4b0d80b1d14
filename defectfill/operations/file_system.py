"""Whether the file system of the output can hold what a run writes, found out before anything is trained."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from defectfill.io.errors import ConfigError, is_full_disk
from defectfill.io.files import PARTIAL


def check_file_system(folder: Path, names: Sequence[str]) -> None:
    """Raise ConfigError unless folders of these names can lie side by side in `folder` and be renamed when filled.

    File systems differ in the characters that names may have, in their length, and in whether `Hole` is `hole` or
    one Unicode form of a name another one. What is tried is removed again.
    """
    made: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix=f".names{PARTIAL}", dir=folder) as place:
            for name in names:
                unfinished = Path(place, f".{name}{PARTIAL}{os.getpid()}")
                unfinished.mkdir()
                (unfinished / "file").write_bytes(b"x")
                if Path(place, name).exists():
                    other = next((each for each in made if each.casefold() == name.casefold()), made[-1])
                    raise ConfigError(f"output.root: in {folder} the names {other!a} and {name!a} are one and the same")
                os.replace(unfinished, Path(place, name))
                made.append(name)
    except OSError as error:
        if is_full_disk(error):
            raise
        raise ConfigError(
            f"output.root: {folder} cannot hold a folder called {names[len(made)]}: {error.strerror}"
        ) from error
