"""A proxy before the loopback S3 server: reads of ranges are counted, delayed, and answered as a test wants."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.object_store import ObjectStore, environment


@dataclass(frozen=True)
class RangeRead:
    """A part of an object that a client asks for."""

    key: str
    first: int
    stop: int


class StoreProxy:
    """Stands before a store: counts, delays and answers reads of ranges; passes on the rest."""

    def __init__(self, store: ObjectStore, *, latency_s: float = 0.0) -> None:
        self._store, self.latency_s = store, latency_s
        self._objects: dict[str, bytes] = {}
        self.reads: list[RangeRead] = []
        self.most_at_once = self._at_once = 0
        self.answer: Callable[[RangeRead], bytes | None] | None = self.whole
        """What to send, head and all: less than it promises to hang up in the middle, None to say nothing.

        Where it is None itself, the store is asked, slowly.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def whole(self, read: RangeRead) -> bytes:
        """Answer as the store would have when the object was first read."""
        if read.key not in self._objects:
            self._objects[read.key] = self._store.get(f"s3://{read.key}")
        data = self._objects[read.key]
        part = data[read.first : read.stop]
        head = f"HTTP/1.1 206 Partial\r\nContent-Length: {len(part)}\r\n"
        return (
            f"{head}Content-Range: bytes {read.first}-{read.first + len(part) - 1}/{len(data)}\r\n\r\n".encode() + part
        )

    def close(self) -> None:
        """Hang up on everybody."""

        async def stop() -> None:
            self._server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve_one(await reader.readuntil(b"\r\n\r\n"), reader, writer):
                    await writer.drain()
        finally:
            writer.close()

    async def _serve_one(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = re.match(rb"GET /([^ ?]+) .*\r\nRange: bytes=(\d+)-(\d+)\r\n", head, re.DOTALL | re.IGNORECASE)
        if asked is None:
            await self._pass_on(head, reader, writer)
            return False
        read = RangeRead(asked[1].decode(), int(asked[2]), int(asked[3]) + 1)
        self.reads.append(read)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(self.latency_s)
        self._at_once -= 1
        if self.answer is None:
            await self._pass_on(head, reader, writer)
            return False
        if (data := self.answer(read)) is None:
            await asyncio.sleep(3600)
            return False
        writer.write(data)
        start = data.index(b"\r\n\r\n") + 4
        return re.search(rb"Content-Length: (\d+)", data[:start])[1] == str(len(data) - start).encode()  # type: ignore[index]

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, store = await asyncio.open_connection(*self._store.endpoint.removeprefix("http://").split(":"))
        store.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        store.write(await reader.readexactly(int(length[1]) if length else 0))
        writer.write(await answers.read())
        await writer.drain()
        store.close()


@contextmanager
def proxy_before(store: ObjectStore, *, latency_s: float = 0.0) -> Iterator[StoreProxy]:
    """Send clients that are made within to a proxy."""
    proxy = StoreProxy(store, latency_s=latency_s)
    try:
        with environment(AWS_ENDPOINT_URL=proxy.endpoint):
            yield proxy
    finally:
        proxy.close()
