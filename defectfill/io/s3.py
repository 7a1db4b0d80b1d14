"""S3-compatible storage, by s3fs (extra `s3`): what lies below a URL, and copies from and to this machine.

A root of a config is a folder or a URL `s3://bucket/prefix`. Of a URL there is a local copy in the cache, in which all
steps work; `defectfill.operations.storage` keeps the two in step.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from defectfill.io.errors import ConfigError, DataError, StorageError, is_full_disk
from defectfill.io.files import PARTIAL, check_inner_path
from defectfill.io.hashing import digest

S3 = "s3://"
AT_ONCE = 1000
"""Files that are copied by one call."""


def is_remote(root: str) -> bool:
    """Return whether a root or a location is a URL, not a folder of this machine."""
    return root.startswith(S3)


def check_url(url: str) -> str:
    """Return `url` without a slash at its end; ValueError where it is none of a bucket, or of a folder in one."""
    bucket, _, prefix = url.removeprefix(S3).rstrip("/").partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or re.search(r"[?#*\[\]\\]", prefix):
        raise ValueError("expected s3://bucket or s3://bucket/folder")
    check_inner_path(prefix)
    return url.rstrip("/")


def check_location(location: str) -> str:
    """Return a folder's path or a URL of S3; ValueError for a URL of another kind, which would be taken for a path."""
    if is_remote(location):
        return check_url(location)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", location):
        raise ValueError("expected a folder of this machine or s3://bucket/folder")
    return location


def local_folder(location: str) -> Path:
    """Return the folder that a location is, or its local copy below DEFECTFILL_CACHE or ~/.cache/defectfill."""
    if not is_remote(location):
        return Path(location)
    cache = Path(os.environ.get("DEFECTFILL_CACHE") or Path.home() / ".cache" / "defectfill")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return cache.absolute() / f"s3-{digest(endpoint)[:8]}" / location.removeprefix(S3)


@dataclass(frozen=True)
class Remote:
    """A folder on storage.

    Everything raises StorageError where storage cannot be reached, after several tries with growing pauses, and
    ConfigError where there is no such bucket, no access to it, or the extra is missing.
    """

    url: str

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    @cached_property
    def _files(self) -> Any:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise ConfigError(f"{self.url} needs an extra: pip install 'defectfill[s3]'") from error
        return S3FileSystem(use_listings_cache=False)

    @property
    def _key(self) -> str:
        return self.url.removeprefix(S3)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of storage into DefectFillErrors."""
        assert self._files  # or the extra is missing
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except (NoCredentialsError, PartialCredentialsError, PermissionError) as error:
            raise ConfigError(f"{self.url}: no access; are the AWS_ variables or ~/.aws set? {error}") from error
        except FileNotFoundError as error:
            raise ConfigError(f"{self.url}: expected to be there, found none: {error}") from error
        except OSError as error:
            if is_full_disk(error):
                raise
            raise StorageError(f"{self.url}: {error}") from error
        except (BotoCoreError, ClientError, TimeoutError) as error:
            raise StorageError(f"{self.url}: {error}") from error

    def files(self) -> dict[str, str]:
        """Return the ETag of every file below, by its path; DataError for a name that no folder can hold."""
        with self._told():
            found = self._files.find(self._key, detail=True)
        etags = {}
        for key, facts in found.items():
            path = key.removeprefix(f"{self._key}/")
            if key.endswith("/") and not facts["size"]:  # by which some clients mark an empty folder
                continue
            try:
                etags[check_inner_path(path)] = facts["ETag"].strip('"')
            except ValueError as error:
                raise DataError(f"{S3}{key}: {error}") from error
        return etags

    def folders(self) -> list[str]:
        """Return the names of the folders directly below, sorted."""
        with self._told():
            if not self._files.exists(self._key):
                return []
            found = self._files.ls(self._key, detail=True)
        return sorted(each["name"].rsplit("/", 1)[1] for each in found if each["type"] == "directory")

    def etag(self, name: str) -> str | None:
        """Return the ETag of a file, or None where there is none."""
        with self._told():
            try:
                return str(self._files.info(f"{self._key}/{name}")["ETag"]).strip('"')
            except FileNotFoundError:
                return None

    def modified(self, name: str) -> float:
        """Return when a file was written, in seconds since 1970; 0 where there is none."""
        with self._told():
            try:
                return float(self._files.info(f"{self._key}/{name}")["LastModified"].timestamp())
            except FileNotFoundError:
                return 0.0

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None where there is none."""
        with self._told():
            try:
                return bytes(self._files.cat_file(f"{self._key}/{name}"))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears whole."""
        with self._told():
            self._files.pipe_file(f"{self._key}/{name}", content)

    def write_if(self, name: str, content: bytes, etag: str | None) -> str | None:
        """Write a file only if it still has that ETag (None: is not there); return its new one, or None."""
        condition = {"IfMatch": f'"{etag}"'} if etag else {"IfNoneMatch": "*"}
        with self._told():
            try:
                answer = self._files.pipe_file(f"{self._key}/{name}", content, **condition)
            except FileExistsError:
                return None
            except OSError as error:
                if "PreconditionFailed" not in str(error.__cause__):
                    raise
                return None
        return str(answer["ETag"]).strip('"')

    def download(self, names: Iterable[str], folder: Path) -> None:
        """Copy files to the same paths below a local folder, where each appears whole."""
        for part in _parts(names):
            folder.mkdir(parents=True, exist_ok=True)
            prefix = f".fetched{PARTIAL}{os.getpid()}-"
            with TemporaryDirectory(prefix=prefix, dir=folder) as partial, self._told():
                copies = [Path(partial) / str(number) for number in range(len(part))]
                self._files.get([f"{self._key}/{name}" for name in part], [str(copy) for copy in copies])
                for copy, name in zip(copies, part, strict=True):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(copy, folder / name)

    def upload(self, names: Iterable[str], folder: Path) -> None:
        """Copy files from the same paths below a local folder."""
        for part in _parts(names):
            with self._told():
                self._files.put([str(folder / name) for name in part], [f"{self._key}/{name}" for name in part])

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        for part in _parts(names):
            with self._told():
                self._files.rm([f"{self._key}/{name}" for name in part])


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    listed = list(names)
    for start in range(0, len(listed), AT_ONCE):
        yield listed[start : start + AT_ONCE]


def is_copy(path: Path, etag: str | None) -> bool:
    """Return whether a local file certainly has the content of an ETag, which for most files is an MD5."""
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == etag
