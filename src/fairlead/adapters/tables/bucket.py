"""Tables in S3: found, opened, put there. Credentials and region are the AWS environment's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs

from fairlead.contracts.errors import MalformedBody, SourceNotFound, Unavailable, UsageError
from fairlead.contracts.tables import Found

SCHEME: Final = "s3://"
_CONNECT_SECONDS, _REQUEST_SECONDS = 5, 60
_CHUNK: Final = 1 << 22


def inside(where: str) -> bool:
    return where.startswith(SCHEME)


def find(url: str, endings: tuple[str, ...]) -> list[Found]:
    """Objects at a URL, or below it those that end so unless a part of their path is hidden. Raises UsageError."""
    rest = url.removeprefix(SCHEME)
    if not inside(url) or not rest.strip("/"):
        raise UsageError(f"{url} is not read; give a file, a folder or s3://BUCKET/PREFIX")
    if "//" in rest.strip("/"):
        raise UsageError(f"{url} has an empty part in its path; write it without //")
    with told(url):
        one = files().get_file_info(rest.rstrip("/"))
        listed = [one]
        if one.type != pafs.FileType.File:
            listed = files().get_file_info(pafs.FileSelector(rest.strip("/"), recursive=True, allow_not_found=True))
    found = [
        Found(f"{SCHEME}{file.path}", file.size, file.mtime_ns or 0)
        for file in listed
        if file.type == pafs.FileType.File
        and file.base_name.lower().endswith(endings)
        and not any(part.startswith(("_", ".")) for part in file.path.removeprefix(one.path).split("/"))
    ]
    return sorted(found, key=lambda file: file.path)


@contextlib.contextmanager
def opened(file: Found) -> Iterator[Any]:
    """Its bytes from the first to the last, read ahead by some."""
    with (
        told(file.path),
        files().open_input_stream(file.path.removeprefix(SCHEME), compression=None, buffer_size=_CHUNK) as stream,
    ):
        yield stream


class Bucket:
    """Entry point ``s3`` of ``fairlead.object_stores``."""

    def read(self, url: str) -> bytes | None:
        try:
            with told(url), files().open_input_stream(url.removeprefix(SCHEME), compression=None) as stream:
                return bytes(stream.read())
        except SourceNotFound:
            return None

    def taken(self, url: str) -> bool:
        rest = url.removeprefix(SCHEME).rstrip("/")
        with told(url):
            if files().get_file_info(rest).type == pafs.FileType.File:
                return True
            return bool(files().get_file_info(pafs.FileSelector(rest, allow_not_found=True)))

    def put(self, path: Path, url: str) -> None:
        with (
            told(url),
            path.open("rb") as source,
            files().open_output_stream(url.removeprefix(SCHEME), compression=None) as target,
        ):
            while data := source.read(_CHUNK):
                target.write(data)


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """What Arrow raises, in a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise SourceNotFound(f"there is no file {where}") from None
    except pa.ArrowInvalid as error:
        raise MalformedBody(f"{where} is no Parquet file, or cut short: {first_line(error)}") from error
    except OSError as error:
        if inside(where):
            raise Unavailable(f"{where}: {first_line(error)}") from error
        if error.errno is None:  # pages that do not unpack
            raise MalformedBody(f"{where} is damaged: {first_line(error)}") from error
        raise


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def files() -> Any:
    """Arrow itself reads all but the endpoint from the AWS environment."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), None)  # environment: AWS's own
    return pafs.S3FileSystem(
        endpoint_override=endpoint, connect_timeout=_CONNECT_SECONDS, request_timeout=_REQUEST_SECONDS
    )
