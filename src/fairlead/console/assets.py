"""Styles, scripts and icons: read once, compressed once, named by their content so that browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "assets"
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """``mark``: the beginning of its SHA-256."""

    body: bytes
    packed: bytes
    kind: str
    mark: str


class Assets:
    """Files of ``FOLDER`` that browsers get; licences and notes beside them are not among these."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._assets = {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES}

    def url(self, name: str) -> str:
        """Where a page finds it: another content is another address."""
        return f"/console/assets/{name}?{self._assets[name].mark}"

    async def serve(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["file"])
        if found is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, media_type=found.kind, headers={**headers, "content-encoding": "gzip"})
        return Response(found.body, media_type=found.kind, headers=headers)


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, gzip.compress(body, 9, mtime=0), _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])
