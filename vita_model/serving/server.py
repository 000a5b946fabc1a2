"""The websocket server: openpi's protocol on `/`, vla-eval's envelope on `/vla-eval`; invalid messages get an error.

Source of the protocol: openpi, `websocket_policy_server` (metadata frame, msgpack, errors as text, `/healthz`).
One thread answers all requests, or as many as a batch has (`turns`, `batching`). How many clients there are, and how
many bytes are held for them, is limited (`clients`).
"""

import asyncio
import hmac
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from vita_data.command.exits import one_line
from vita_data.errors import VitaDataError
from vita_model.serving.clients import CLOSE_S, Client, Clients
from vita_model.serving.connection import Connection, OpenpiConnection
from vita_model.serving.options import ServeOptions
from vita_model.serving.request_handler import RequestHandler
from vita_model.serving.turns import Turns
from vita_model.serving.vla_eval import EnvelopeConnection

_MAX_TOLD = 500
"""Characters of a refusal; it quotes what the client sent."""
_log = logging.getLogger(__name__)
# The library logs a traceback for each client that breaks the protocol.
_silent = logging.getLogger(f"{__name__}.websockets")
_silent.setLevel(logging.CRITICAL + 1)


class PolicyServer:
    """Serves one handler to many clients."""

    def __init__(self, handler: RequestHandler, options: ServeOptions) -> None:
        self._options = options
        self._turns, self._clients = Turns(options.max_waiting, options.num_threads), Clients(options)
        self._protocols: dict[str, Callable[[], Connection]] = {
            "/": partial(OpenpiConnection, handler),
            "/vla-eval": partial(EnvelopeConnection, handler, options.replan_steps),
        }

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[Server]:
        """Serve inside the context: a websocket for each protocol, and `/healthz` and `/health` for health checks.

        Raises:
            OSError: the address cannot be listened on.
        """
        options = self._options
        try:
            async with serve(
                self._welcome, host, port, process_request=self._refuse, process_response=self._give_place,
                create_connection=partial(Client, clients=self._clients),  # type: ignore[arg-type] # a factory will do
                compression=None, max_size=options.max_message_bytes, max_queue=1, open_timeout=options.open_s,
                ping_interval=options.heartbeat_s, ping_timeout=2 * options.heartbeat_s, close_timeout=CLOSE_S,
                logger=_silent, server_header=None,
            ) as server:  # fmt: skip
                try:
                    yield server
                finally:
                    self._clients.drop_unopened()  # the library would wait for them
        finally:
            self._turns.close()

    async def run(self, host: str, port: int, announce: Callable[[str], None], what: str = "a policy") -> None:
        """Serve until SIGTERM or Ctrl-C, and announce what is served and where; raises as `serving`."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self.serving(host, port) as server:
            for name, number, *_ in (socket.getsockname() for socket in server.sockets):
                shown = f"[{name}]" if ":" in name else name
                at = f"{shown}:{number}"
                announce(f"serving {what}: ws://{at} (http://{at}/healthz tells whether it is up; Ctrl-C ends)")
            await stop.wait()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is not a websocket of an allowed client; None: go on with the handshake."""
        path = request.path.partition("?")[0]
        if path in ("/healthz", "/health"):
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path not in self._protocols:
            return connection.respond(HTTPStatus.NOT_FOUND, "expected / (openpi) or /vla-eval\n")
        key = self._options.api_key
        given = "".join(request.headers.get_all("Authorization")).encode(errors="surrogateescape")
        if key is not None and not hmac.compare_digest(given, f"Api-Key {key}".encode()):
            told = "missing or wrong key; send `Authorization: Api-Key KEY`\n"
            return connection.respond(HTTPStatus.UNAUTHORIZED, told)
        if not set(request.headers.get_all("Origin")) <= set(self._options.origins):
            told = "web pages may not use this policy; allow one with vita-serve --allow-origin ORIGIN\n"
            return connection.respond(HTTPStatus.FORBIDDEN, told)
        return None

    def _give_place(self, connection: ServerConnection, request: Request, response: Response) -> Response | None:
        is_opening = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
        if not is_opening or not isinstance(connection, Client) or self._clients.give_place(connection):
            return None
        told = f"{self._options.max_clients} clients are already connected\n"
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, told)

    async def _welcome(self, client: ServerConnection) -> None:
        if not isinstance(client, Client) or client.request is None:
            raise TypeError("the server makes its own connections")
        protocol = self._protocols[client.request.path.partition("?")[0]]()
        client.talk = asyncio.current_task()
        try:
            with suppress(ConnectionClosed):
                await self._send(client, protocol.greeting)
                await self._talk(client, protocol)
        except TimeoutError:
            # The client is connected but does not read; closing properly would wait for it again.
            client.drop()

    async def _talk(self, client: Client, protocol: Connection) -> None:
        """Answer message by message; the next one is awaited early, to see whether a client waits for its answers."""
        coming = asyncio.ensure_future(client.recv())
        try:
            while True:
                message = await coming
                coming = asyncio.ensure_future(client.recv())
                await self._send(client, await self._answer(client, protocol, message))
                client.asker.is_eager = coming.done()
                client.settle(len(message))
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await coming

    async def _answer(self, client: Client, protocol: Connection, message: bytes | str) -> bytes | str | None:
        if isinstance(message, str):
            return protocol.refusal("expected msgpack in a binary frame, got a text frame")
        try:
            answer = await self._turns.run(client.asker, partial(protocol.answer, message))
        except VitaDataError as fault:
            return protocol.refusal(_shown(str(fault)))
        except Exception as fault:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("a request failed")
            return protocol.refusal(f"the policy failed on this request ({type(fault).__name__}); see the server's log")
        client.note_served()
        return answer

    async def _send(self, client: Client, message: bytes | str | None) -> None:
        if message is not None:
            async with asyncio.timeout(2 * self._options.heartbeat_s):
                await client.send(message)


def _shown(text: str) -> str:
    """Shorten a message to one line: it may quote megabytes that a client sent."""
    told = one_line(text[: 2 * _MAX_TOLD])
    is_whole = len(text) <= 2 * _MAX_TOLD and len(told) <= _MAX_TOLD
    return told if is_whole else f"{told[:_MAX_TOLD]}... ({len(text)} characters)"
