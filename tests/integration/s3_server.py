"""As much of S3 as an Arrow file system uses, in one process: objects, listings, uploads in parts. No signatures."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

WHEN = "2024-01-02T03:04:05.000Z"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    parts: dict[str, dict[int, bytes]]
    down = False

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        data = self.body()
        url = urlsplit(self.path)
        key, asked = unquote(url.path).strip("/"), parse_qs(url.query, keep_blank_values=True)
        if self.down:
            self.answer(400, b"<Error><Code>InvalidRequest</Code><Message>told to be down</Message></Error>")
        elif self.command == "PUT" and "uploadId" in asked:
            self.parts[asked["uploadId"][0]][int(asked["partNumber"][0])] = data
            self.answer(200, ETag='"part"')
        elif self.command == "PUT":
            self.objects[key] = data
            self.answer(200, ETag='"whole"')
        elif self.command == "POST":
            self.post(key, asked, data)
        elif self.command == "DELETE":
            self.objects.pop(key, None)
            self.answer(204)
        elif "list-type" in asked:
            self.answer(200, self.listing(key, asked), Content_Type="application/xml")
        elif "/" not in key:
            self.answer(200)
        else:
            self.get(key)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names that http.server looks for

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        else:
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        whole = b""
        while data:
            size = int(re.split(rb"[;\r]", data, maxsplit=1)[0], 16)
            start = data.index(b"\r\n") + 2
            if not size:
                break
            whole, data = whole + data[start : start + size], data[start + size + 2 :]
        return whole

    def post(self, key: str, asked: dict[str, list[str]], data: bytes) -> None:
        if "uploads" in asked:
            number = str(len(self.parts))
            self.parts[number] = {}
            self.answer(
                200,
                f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
        elif "uploadId" in asked:
            parts = self.parts[asked["uploadId"][0]]
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        else:
            for name in re.findall(rb"<Key>(.*?)</Key>", data):
                self.objects.pop(f"{key}/{name.decode()}", None)
            self.answer(200, b"<DeleteResult></DeleteResult>")

    def listing(self, bucket: str, asked: dict[str, list[str]]) -> bytes:
        prefix, delimiter = asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]
        most = int(asked.get("max-keys", ["1000"])[0])
        keys = sorted(key.removeprefix(f"{bucket}/") for key in list(self.objects) if key.startswith(f"{bucket}/"))
        entries: dict[str, str] = {}
        for key in keys:
            if key.startswith(prefix):
                rest = key.removeprefix(prefix)
                if delimiter and delimiter in rest:
                    folder = escape(prefix + rest.partition(delimiter)[0] + delimiter)
                    entries[folder] = f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
                else:
                    size = len(self.objects.get(f"{bucket}/{key}", b""))
                    shown = f"<Key>{escape(key)}</Key><LastModified>{WHEN}</LastModified><Size>{size}</Size>"
                    entries[key] = f"<Contents>{shown}<ETag>x</ETag></Contents>"
        start = int(asked.get("continuation-token", ["0"])[0])
        page = list(entries.values())[start : start + most]
        more = start + most < len(entries)
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>"
        told += f"<NextContinuationToken>{start + most}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult><Name>{bucket}</Name>{told}{''.join(page)}</ListBucketResult>".encode()

    def get(self, key: str) -> None:
        data = self.objects.get(key)
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>")
            return
        headers = {"Last_Modified": "Tue, 02 Jan 2024 03:04:05 GMT", "ETag": '"whole"'}
        if self.command == "HEAD":
            self.answer(200, Content_Length=str(len(data)), **headers)
        elif found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
            self.answer(206, data[first : last + 1], **headers)
        else:
            self.answer(200, data, **headers)


@contextmanager
def running() -> Iterator[tuple[str, type[Handler]]]:
    """Its URL, and the handler, whose ``objects`` can be seen and which can be ``down``."""
    handler = type("Fresh", (Handler,), {"objects": {}, "parts": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
