"""The command that CI runs on a clone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"
MAKE = '#!/bin/sh\necho "make $*: ${DEFECTFILL_REAL_DATA-none}"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Make a folder with nothing but the script, and a `make` that says what it is called with."""
    (tmp_path / "clone" / ".ci").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(SCRIPT, tmp_path / "clone" / ".ci" / "run")
    (tmp_path / "bin" / "make").write_text(MAKE)
    (tmp_path / "bin" / "make").chmod(0o755)
    return tmp_path / "clone"


def lines_of(clone: Path, **more: str) -> list[str]:
    """Return what the script prints."""
    env = {name: value for name, value in os.environ.items() if name != "DEFECTFILL_REAL_DATA"}
    env["PATH"] = f"{clone.parent / 'bin'}:{env['PATH']}"
    done = subprocess.run([clone / ".ci" / "run"], env={**env, **more}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def commands(data: str | Path) -> list[str]:
    """Return what is made, with the folder of real images."""
    return [f"make test BESIDE=check test-browser test-server test-runs test-real: {data}"]


def test_a_clone_without_real_images_says_that_their_tests_are_skipped(clone: Path) -> None:
    said, *made = lines_of(clone)
    assert said.startswith("tests on real images are skipped")
    assert made == commands("none")


def test_real_images_beside_the_clone_are_tested_on(clone: Path) -> None:
    shared = clone.parent / "shared" / "data"
    shared.mkdir(parents=True)
    assert lines_of(clone) == commands(shared)


def test_a_folder_that_is_named_comes_first(clone: Path) -> None:
    (clone.parent / "shared" / "data").mkdir(parents=True)
    assert lines_of(clone, DEFECTFILL_REAL_DATA="/mine") == commands("/mine")
