"""The websocket server: openpi's protocol on `/`, vla-eval's envelope on `/vla-eval`; invalid messages get an error.

Source of the protocol: openpi, `websocket_policy_server` (metadata frame, msgpack, errors as text, `/healthz`).
One thread answers all requests, or as many as a batch has (`batching`). Others wait in a queue of limited length; if it
is full, the client gets an error.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import WSCloseCode, WSMsgType, web

from vita_data.errors import VitaDataError
from vita_model.serving.connection import Connection, OpenpiConnection
from vita_model.serving.options import ServeOptions
from vita_model.serving.request_handler import RequestHandler
from vita_model.serving.vla_eval import EnvelopeConnection

_log = logging.getLogger(__name__)


class PolicyServer:
    """Serves one handler to many clients."""

    def __init__(self, handler: RequestHandler, options: ServeOptions) -> None:
        self._handler, self._options = handler, options
        self._thread = ThreadPoolExecutor(options.num_threads, thread_name_prefix="vita-act")
        self._num_waiting = 0
        self._sockets: set[web.WebSocketResponse] = set()

    def app(self) -> web.Application:
        """Make the application: a websocket per protocol, and `/healthz` and `/health` for health checks."""
        app = web.Application()
        for path in ("/healthz", "/health"):
            app.router.add_get(path, _healthy)
        app.router.add_get("/", self._openpi)
        app.router.add_get("/vla-eval", self._vla_eval)
        app.cleanup_ctx.append(self._closing)
        return app

    async def _closing(self, app: web.Application) -> AsyncIterator[None]:
        app.on_shutdown.append(self._close_sockets)
        yield
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _close_sockets(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is shutting down")

    async def _openpi(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, OpenpiConnection(self._handler))

    async def _vla_eval(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, EnvelopeConnection(self._handler, self._options.replan_steps))

    async def _serve(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        options = self._options
        given = request.headers.get("Authorization", "")
        if options.api_key is not None and not hmac.compare_digest(
            given.encode(errors="surrogateescape"), f"Api-Key {options.api_key}".encode()
        ):
            return web.Response(status=401, text="missing or wrong key; send `Authorization: Api-Key KEY`\n")
        if len(self._sockets) >= options.max_clients:
            return web.Response(status=503, text=f"{options.max_clients} clients are already connected\n")
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=options.max_message_bytes, heartbeat=options.heartbeat_s
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._send(socket, connection.greeting)
            await self._listen(socket, connection)
        except ConnectionError:
            # The client disconnected during the answer.
            pass
        except TimeoutError:
            # The client is connected but does not read; closing properly would wait for it again.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._sockets.discard(socket)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await self._send(socket, await self._answer(connection, message.data))
            elif message.type is WSMsgType.TEXT:
                await self._send(socket, connection.refusal("expected msgpack in a binary frame, got a text frame"))

    async def _answer(self, connection: Connection, data: bytes) -> bytes | str | None:
        if self._num_waiting > self._options.max_waiting:
            return connection.refusal(f"busy: {self._num_waiting} requests are waiting; try again")
        self._num_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, connection.answer, data)
        except VitaDataError as fault:
            return connection.refusal(str(fault))
        except Exception as fault:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("a request failed")
            return connection.refusal(
                f"the policy failed on this request ({type(fault).__name__}); see the server's log"
            )
        finally:
            self._num_waiting -= 1

    async def _send(self, socket: web.WebSocketResponse, message: bytes | str | None) -> None:
        async with asyncio.timeout(self._options.heartbeat_s):
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            elif message is not None:
                await socket.send_str(message)


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK\n")
