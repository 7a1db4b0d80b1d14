"""File systems that are not ext4: without hard links or locks, with other ideas of names; the faults are theirs."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import config_for, contents

from defectfill.config.run import load_config
from defectfill.ingest.ingest import ingest
from defectfill.io.errors import ConfigError, DataError
from defectfill.io.files import new_folder, write_bytes, write_once
from defectfill.io.gpu_lock import gpu_lock
from defectfill.io.locks import locked_file
from defectfill.io.names import folder_named
from defectfill.operations import lock
from defectfill.operations.file_system import check_file_system
from defectfill.operations.lock import is_held, locked, output_of


def refuse(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.fixture
def no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose files cannot be locked; those elsewhere can."""
    folder, flock = tmp_path / "share", fcntl.flock
    folder.mkdir()

    def failing(file: object, how: int) -> None:
        number = file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined]
        if Path(f"/proc/self/fd/{number}").resolve().is_relative_to(folder):
            raise refuse(errno.ENOLCK)
        flock(number, how)

    monkeypatch.setattr(fcntl, "flock", failing)
    return folder


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_the_first_of_many_wins_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(*_: object) -> None:
        raise refuse(code)

    monkeypatch.setattr(os, "link", failing)
    assert write_once(tmp_path / "batch", b"4\n") == b"4\n"
    assert write_once(tmp_path / "batch", b"8\n") == b"4\n"
    assert contents(tmp_path) == {"batch": b"4\n"}
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(refuse(errno.EIO)))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_once(tmp_path / "other", b"4\n")


def test_where_the_output_cannot_be_locked_runs_of_this_machine_are_kept_apart(
    no_locks: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(no_locks)
    with caplog.at_level(logging.WARNING), locked(config):
        assert f"{config.category_output / '.lock'}: no locks there" in caplog.text
        with pytest.raises(ConfigError, match="another run is working in"), locked(config):
            pass
    with locked(config):
        pass
    with locked_file(no_locks / "a", wait=False), locked_file(no_locks / "b", wait=True):
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(no_locks))
    with pytest.raises(ConfigError, match="knows locks; name a folder of a local disk"), locked(config):
        pass


def test_whether_a_run_works_in_an_output_is_found_out_without_writing(
    no_locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [config_for(tmp_path), config_for(no_locks)]
    assert not any(is_held(output_of(config)) for config in configs)
    for config in configs:
        with locked(config):
            assert is_held(output_of(config))
    opened = os.open

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise refuse(errno.EROFS)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(Path, "open", lambda path, mode: read_only(str(path), os.O_RDWR))
    assert not any(is_held(output_of(config)) for config in configs)


def test_an_error_of_locking_that_is_none_of_the_file_system_is_not_taken_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(refuse(errno.EIO)))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(config_for(tmp_path)):
        pass


def test_a_gpu_is_used_where_no_lock_can_be_had(
    no_locks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(no_locks))
    with caplog.at_level(logging.WARNING), gpu_lock("cuda bf16"):
        assert "processes on one GPU are not kept apart" in caplog.text


def test_an_output_that_is_another_users_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def failing(path: Path, *, wait: bool) -> Iterator[None]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
        yield

    monkeypatch.setattr(lock, "locked_file", failing)  # the tests may run as root, who may open anything
    with (
        pytest.raises(ConfigError, match=r"out/nut/\.lock is another user's; share a group"),
        locked(config_for(tmp_path)),
    ):
        pass


def test_names_that_the_output_cannot_hold_are_named_before_anything_is_trained(tmp_path: Path) -> None:
    check_file_system(tmp_path, ["hole", "Loch ü", "a:b"])
    with pytest.raises(ConfigError, match=f"in {tmp_path} the names 'hole' and 'hole' are one and the same"):
        check_file_system(tmp_path, ["hole", "scratch", "hole"])  # as `hole` and `Hole` are where case does not count
    with pytest.raises(
        ConfigError, match=f"output.root: {tmp_path} cannot hold a folder called x+: File name too long"
    ):
        check_file_system(tmp_path, ["hole", "x" * 250])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_removed_of_a_replaced_folder_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "old").touch()
    unlink = os.unlink

    def failing(path: str, **more: int) -> None:
        if path == "old":  # as a file that is open elsewhere, on NFS or CIFS
            raise refuse(errno.EBUSY)
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", failing)
    with new_folder(tmp_path / "dataset", replace=True) as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == ["new"]


def test_a_file_system_that_cannot_sync_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(refuse(errno.EINVAL)))
    write_bytes(tmp_path / "file", b"x", sync=True)
    assert contents(tmp_path) == {"file": b"x"}


def test_names_in_another_unicode_form_are_found_and_twins_are_told_apart(toy_config: Path) -> None:
    folder = toy_config.parent / "data" / "washer"
    nfc, nfd = (unicodedata.normalize(form, "Löcher") for form in ("NFC", "NFD"))
    (folder / nfd).mkdir()
    assert folder_named(folder, nfc) == folder / nfd
    assert folder_named(folder, "none ü") == folder / "none ü"
    (folder / nfc).mkdir()
    assert folder_named(folder, nfc) == folder / nfc
    image, *_ = sorted((folder / "test" / "hole").iterdir())
    image = image.rename(image.with_name(f"{nfc}.png"))
    mask, *_ = sorted((folder / "ground_truth" / "hole").iterdir())
    mask.rename(mask.with_name(f"{nfd}_mask.png"))
    (record,) = (each for each in ingest(load_config(toy_config)) if each.path == f"test/hole/{nfc}.png")
    assert record.mask_path == f"ground_truth/hole/{nfd}_mask.png"
    shutil.copy(image, image.with_name(f"{nfd}.png"))
    with pytest.raises(DataError, match=r"one file of this stem .*L.*cher\.png', in another Unicode form\) too"):
        ingest(load_config(toy_config))
