"""Who is connected: places for a limited number of clients, and a limit of the bytes that are held for all of them."""

import asyncio
import time
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame

from vita_model.serving.options import ServeOptions
from vita_model.serving.turns import Asker

CLOSE_S = 1.0
"""Time that a client has to close its end."""
_MAX_UNOPENED = 128
"""Connections that have not finished their handshake."""
_REST_BYTES = 4096
"""What may remain of frame headers and pings after a message; it is not counted on."""
_SMALL_BYTES = 1024
_MAX_SMALL_FRAMES = 500
"""Small frames in a second and between two answers: a flood of pings or of empty parts would take all of the time."""
_SLICE_BYTES = 4096
"""Bytes that are parsed at once; they hold up to 682 frames."""


class Client(ServerConnection):
    """A connection that knows how many bytes are held for it, and when it was last served."""

    def __init__(self, *given: Any, clients: "Clients", **options: Any) -> None:
        super().__init__(*given, **options)
        self._clients = clients
        self._unread_bytes = 0
        self._closing: asyncio.TimerHandle | None = None
        self._num_small, self._second_s = 0, time.monotonic()
        self.asker = Asker()
        self.since_s = time.monotonic()
        """When it connected, or when its last request was answered."""
        self.has_place = self.is_served = False
        self.talk: asyncio.Task[None] | None = None
        """What answers it; ends with the connection."""

    @property
    def held_bytes(self) -> int:
        """Bytes that were received and are not answered yet, or that the client has not read."""
        return self._unread_bytes + self.transport.get_write_buffer_size()

    def settle(self, num_bytes: int) -> None:
        """Forget a message that was answered."""
        rest = self._unread_bytes - num_bytes
        self._unread_bytes = rest if rest > _REST_BYTES else 0

    def note_served(self) -> None:
        """Remember that a request was answered now; its own small frames no longer count."""
        self.since_s, self.is_served = time.monotonic(), True
        self._num_small = 0

    def drop(self) -> None:
        """Disconnect at once; may be called again."""
        self._clients.leave(self)
        if self.talk is not None:
            self.talk.cancel()
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it among those that connect."""
        super().connection_made(transport)
        self._clients.enter(self)

    def data_received(self, data: bytes) -> None:
        """Count the bytes; a client that was dropped because of them is not read on."""
        self._unread_bytes += len(data)
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                break
            super().data_received(data[start : start + _SLICE_BYTES])
        self._clients.limit_held_bytes()
        if self.protocol.close_expected() and self._closing is None:
            self._closing = self.loop.call_later(CLOSE_S, self.drop)  # a client may leave its end open

    def send_data(self) -> None:
        """Send what waits; where the client is gone, asyncio would log a line for each piece."""
        if self.transport.is_closing():
            self.protocol.data_to_send()
        else:
            super().send_data()

    def process_event(self, event: Any) -> None:
        """Count small frames, each of which takes as long as many bytes of a large one."""
        super().process_event(event)
        if isinstance(event, Frame) and len(event.data) < _SMALL_BYTES:
            self._count_small()

    def _count_small(self) -> None:
        now_s = time.monotonic()
        if now_s - self._second_s > 1:
            self._num_small, self._second_s = 0, now_s
        self._num_small += 1
        if self._num_small > _MAX_SMALL_FRAMES:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is being computed for it."""
        super().connection_lost(exc)
        if self._closing is not None:
            self._closing.cancel()
        self.drop()


class Clients:
    """All connections of a server."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._all: dict[Client, None] = {}  # in the order in which they came

    def enter(self, client: Client) -> None:
        """Add a connection; if too many do not finish their handshakes, the oldest of them is dropped."""
        self._all[client] = None
        self.drop_unopened(_MAX_UNOPENED)

    def drop_unopened(self, num_kept: int = 0) -> None:
        """Drop connections that have not finished their handshakes, all but the latest."""
        unopened = [one for one in self._all if not one.has_place]
        for one in unopened[: len(unopened) - num_kept] if len(unopened) > num_kept else ():
            one.drop()

    def leave(self, client: Client) -> None:
        """Remove a connection."""
        self._all.pop(client, None)

    def give_place(self, client: Client) -> bool:
        """Give a place, if need be that of the client that has been without a request for the longest.

        A client keeps its place for `idle_s` after a request, and for `open_s` before its first one.
        """
        placed = [one for one in self._all if one.has_place]
        if len(placed) >= self._options.max_clients:
            silent = [one for one in placed if self._overdue_s(one) > 0]
            if not silent:
                return False
            max(silent, key=self._overdue_s).drop()
        client.has_place = True
        return True

    def limit_held_bytes(self) -> None:
        """Drop the client that holds the most, if all together hold too much."""
        if sum(one.held_bytes for one in self._all) > self._options.max_held_bytes:
            max(self._all, key=lambda one: one.held_bytes).drop()

    def _overdue_s(self, client: Client) -> float:
        kept_s = self._options.idle_s if client.is_served else self._options.open_s
        return time.monotonic() - client.since_s - kept_s
