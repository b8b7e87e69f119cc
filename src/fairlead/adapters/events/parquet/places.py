"""Where the files are: a folder, or a prefix in S3. A file is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from fairlead.adapters.events.parquet.names import Listed
from fairlead.contracts.errors import FairleadError, StorageFull, Unavailable, UsageError
from fairlead.kit.files import locked, unwritable

_NO_RIGHT = (errno.EACCES, errno.EPERM)
_CONNECT_SECONDS = 5
_REQUEST_SECONDS = 30

Put = tuple[str, Any]
"""A path below the root, and its bytes."""


class Place(Protocol):
    """Paths are below the root. ``root`` and ``filesystem`` are what pyarrow reads from."""

    root: str

    @property
    def filesystem(self) -> Any: ...

    def endpoints(self) -> list[str]:
        """Names of the folders ``endpoint=...``."""

    def files(self, endpoint: str, wanted: Callable[[str], bool]) -> list[Listed]:
        """Files in the folders ``date=...`` of an endpoint's folder that are wanted."""

    def put(self, files: Sequence[Put]) -> None:
        """All of them, durably, in this order; or none. Raises StorageFull, Unavailable."""

    def remove(self, path: str) -> bool:
        """False when it was gone."""

    def tidy(self, endpoint: str, before_ms: int) -> None:
        """Remove what broken writers left behind before that time, and empty folders."""

    def alone(self, endpoint: str) -> contextlib.AbstractContextManager[None]:
        """Held while files of an endpoint are merged or pruned."""


def place(location: str) -> Place:
    """The folder or ``s3://bucket/prefix``. Raises UsageError for another URL, StorageFull, Unavailable."""
    scheme, found, rest = location.partition("://")
    if not found:
        return Folder(Path(location))
    if scheme == "file":
        return Folder(Path(rest))
    if scheme == "s3" and rest.strip("/"):
        return Bucket(rest.strip("/"))
    raise UsageError(f"events: {location!r} is no place for events; give a folder or s3://BUCKET/PREFIX")


class Folder:
    """On a file system: a temporary name, fsync, rename, fsync of the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.root = str(self._root)
        self.filesystem = pafs.LocalFileSystem()
        with self._told():
            self._root.mkdir(parents=True, exist_ok=True)

    def endpoints(self) -> list[str]:
        with self._told():
            return sorted(one.name for one in os.scandir(self._root) if one.name.startswith("endpoint="))

    def files(self, endpoint: str, wanted: Callable[[str], bool]) -> list[Listed]:
        found = []
        with self._told():
            for date in self._dates(endpoint):
                if wanted(date):
                    for name, status in _scan(self._root / endpoint / date):
                        path = f"{endpoint}/{date}/{name}"
                        found.append(Listed(path, status.st_size, status.st_mtime_ns // 1_000_000))
        return found

    def put(self, files: Sequence[Put]) -> None:
        temporary: list[tuple[Path, Path]] = []
        done: list[Path] = []
        try:
            with self._told():
                for path, data in files:
                    target = self._root / path
                    temporary.append((target.with_name(f".{target.name}.part"), target))
                    self._write(*temporary[-1], data)
                for source, target in temporary:
                    source.rename(target)
                    done.append(target)
                for folder in dict.fromkeys(target.parent for target in done):
                    _sync(folder)
        except BaseException:
            for left in (*done, *(source for source, _ in temporary)):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise

    def remove(self, path: str) -> bool:
        with self._told():
            try:
                (self._root / path).unlink()
            except FileNotFoundError:
                self._there()
                return False
        return True

    def tidy(self, endpoint: str, before_ms: int) -> None:
        with self._told():
            for date in self._dates(endpoint):
                folder = self._root / endpoint / date
                for name, status in _scan(folder):
                    if name.endswith(".part") and status.st_mtime_ns < before_ms * 1_000_000:
                        (folder / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty, or gone
                    folder.rmdir()

    @contextlib.contextmanager
    def alone(self, endpoint: str) -> Iterator[None]:
        with self._told():
            self._there()
            if not (self._root / endpoint).is_dir():
                yield
                return
            with locked(self._root / endpoint / ".lock"):
                yield

    def _dates(self, endpoint: str) -> list[str]:
        self._there()
        return sorted(name for name, _ in _scan(self._root / endpoint) if name.startswith("date="))

    def _there(self) -> None:
        if not self._root.is_dir():
            raise Unavailable(f"events: the folder {self.root} is gone; mount or make it again")

    def _write(self, temporary: Path, target: Path, data: Any) -> None:
        for attempt in range(3):  # a folder that was empty may be pruned under us
            self._there()
            for folder in (target.parent.parent, target.parent):
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    folder.mkdir()
                    _sync(folder.parent)
            try:
                handle = temporary.open("wb")
                break
            except FileNotFoundError:
                if attempt == 2:
                    raise
        with handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> FairleadError:
        said = unwritable(error) or (error.strerror if error.errno in _NO_RIGHT else "")
        if said:
            return StorageFull(f"events: {self.root}: {said}; free some space, or keep events for fewer days")
        return Unavailable(f"events: {self.root}: {error.strerror or error}")


class Bucket:
    """In S3: an upload is seen when it is complete. Credentials, region and endpoint are the AWS environment's.

    ``alone`` locks nothing here: other writers' files are merged only when their day is over, by whoever prunes.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._opened: tuple[int, Any] | None = None

    @property
    def filesystem(self) -> Any:
        """Connections do not survive a fork: each process has its own."""
        if self._opened is None or self._opened[0] != os.getpid():
            s3 = pafs.S3FileSystem(
                endpoint_override=_endpoint(), connect_timeout=_CONNECT_SECONDS, request_timeout=_REQUEST_SECONDS
            )
            self._opened = (os.getpid(), s3)
        return self._opened[1]

    def endpoints(self) -> list[str]:
        return sorted(one.base_name for one in self._list("") if one.base_name.startswith("endpoint="))

    def files(self, endpoint: str, wanted: Callable[[str], bool]) -> list[Listed]:
        found = []
        for one in self._list(endpoint, recursive=True):
            path = one.path.removeprefix(f"{self.root}/")
            if one.type == pafs.FileType.File and wanted(path.removeprefix(f"{endpoint}/").partition("/")[0]):
                found.append(Listed(path, one.size, (one.mtime_ns or time.time_ns()) // 1_000_000))
        return found

    def put(self, files: Sequence[Put]) -> None:
        begun: list[str] = []
        try:
            with self._told():
                for path, data in files:
                    begun.append(path)
                    with self.filesystem.open_output_stream(f"{self.root}/{path}") as stream:
                        stream.write(data)
        except BaseException:
            for path in begun:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(f"{self.root}/{path}")
            raise

    def remove(self, path: str) -> bool:
        with self._told():
            try:
                self.filesystem.delete_file(f"{self.root}/{path}")
            except FileNotFoundError:
                return False
        return True

    def tidy(self, endpoint: str, before_ms: int) -> None:
        """Nothing is left behind: S3 has no folders, and half an upload is no object."""

    def alone(self, endpoint: str) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - see the class
        return contextlib.nullcontext()

    def _list(self, path: str, *, recursive: bool = False) -> list[Any]:
        with self._told():
            base = f"{self.root}/{path}".rstrip("/")
            found: list[Any] = self.filesystem.get_file_info(
                pafs.FileSelector(base, recursive=recursive, allow_not_found=True)
            )
            return found

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise Unavailable(f"events: s3://{self.root}: {str(error).partition(chr(10))[0]}") from error


def _endpoint() -> str | None:
    """Arrow reads the rest of the AWS environment itself, and this only in URLs."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)  # environment: AWS's own


def _scan(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Names with their status; files that vanish meanwhile, and a folder that is not there, are left out."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found.append((entry.name, entry.stat()))
    return found


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
