"""Who is connected: places for a limited number of clients, and a limit of the bytes that are held for all of them."""

import asyncio
import time
from typing import Any

from websockets.asyncio.server import ServerConnection

from vita_model.serving.options import ServeOptions
from vita_model.serving.turns import Asker

CLOSE_S = 1.0
"""Time that a client has to close its end."""
_MAX_UNOPENED = 128
"""Connections that have not finished their handshake."""
_REST_BYTES = 4096
"""What may remain of frame headers and pings after a message; it is not counted on."""


class Client(ServerConnection):
    """A connection that knows how many bytes are held for it, and when it was last served."""

    def __init__(self, *given: Any, clients: "Clients", **options: Any) -> None:
        super().__init__(*given, **options)
        self._clients = clients
        self._unread_bytes = 0
        self._closing: asyncio.TimerHandle | None = None
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
        """Remember that a request was answered now."""
        self.since_s, self.is_served = time.monotonic(), True

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
        """Count the bytes."""
        self._unread_bytes += len(data)
        super().data_received(data)
        self._clients.limit_held_bytes()
        if self.protocol.close_expected() and self._closing is None:
            self._closing = self.loop.call_later(CLOSE_S, self.drop)  # a client may leave its end open

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
