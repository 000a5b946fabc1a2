"""A read-only S3 server on loopback that answers each request after a fixed time, as a distant store does.

    python -m pipelines.bench.store.server FOLDER LATENCY_S

Each folder in FOLDER is a bucket. It prints its port, and ends with its parent's end of stdin.
"""

import asyncio
import re
import sys
import threading
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One client; requests on a connection are answered in turn, each after the latency."""

    def __init__(self, folder: Path, latency_s: float) -> None:
        self._folder, self._latency_s, self._received = folder, latency_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, answer(self._folder, head))


def answer(folder: Path, head: bytes) -> bytes:
    """Answer a request for an object, a range of it, its size, or a listing."""
    method, target = head.split(b" ", 2)[:2]
    url = urlsplit(target.decode())
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    if "list-type" in (query := parse_qs(url.query)):
        prefix = query.get("prefix", [""])[0]
        return _message("200 OK", _listing(folder / bucket, prefix), "Content-Type: application/xml")
    path = folder / bucket / key
    if not key or not path.is_file():
        return _message("404 Not Found", b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
    data, asked = _content(path), _RANGE.search(head)
    if method == b"HEAD":
        return _message("200 OK", b"", size=len(data))
    if asked is None:
        return _message("200 OK", data)
    first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
    return _message("206 Partial Content", data[first : last + 1], f"Content-Range: bytes {first}-{last}/{len(data)}")


@cache
def _content(path: Path) -> bytes:
    """Read a file once: the disk is not what is measured."""
    return path.read_bytes()


def _message(status: str, body: bytes, *headers: str, size: int | None = None) -> bytes:
    fields = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if size is None else size}",
        'ETag: "0"',
        "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
        *headers,
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


def _listing(bucket: Path, prefix: str) -> bytes:
    """List the files and folders directly below a prefix."""
    folder = bucket / prefix
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    rows = [
        f"<CommonPrefixes><Prefix>{escape(prefix + path.name)}/</Prefix></CommonPrefixes>"
        if path.is_dir()
        else f"<Contents><Key>{escape(prefix + path.name)}</Key><Size>{path.stat().st_size}</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for path in names
    ]
    head = f"<Name>{bucket.name}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{head}{''.join(rows)}</ListBucketResult>".encode()


async def _serve(folder: Path, latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(folder, latency_s), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait, daemon=True).start()
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2])))
