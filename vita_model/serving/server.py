"""The websocket: metadata first, then a message for a message; what does not fit is answered by a text.

Source of the protocol: openpi, `websocket_policy_server` (metadata frame, msgpack, errors as text, `/healthz`).
One thread answers; requests wait in a queue of bounded length, and a client that finds it full is told so.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from vita_data.errors import VitaDataError
from vita_model.openpi import pack, read_request
from vita_model.serving.actor import Actor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What a server allows."""

    api_key: str | None = None
    """Wanted as `Authorization: Api-Key KEY`; None: everybody may ask."""
    max_message_bytes: int = 32 << 20
    max_clients: int = 64
    max_waiting: int = 32
    """Requests that wait for the one that is answered."""
    heartbeat_s: float = 30.0
    """A client that does not answer pings this long apart is gone."""


class PolicyServer:
    """Serves one actor to many clients."""

    def __init__(self, actor: Actor, options: ServeOptions) -> None:
        self._actor, self._options = actor, options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vita-act")
        self._num_waiting = 0
        self._sockets: set[web.WebSocketResponse] = set()

    def app(self) -> web.Application:
        """Make the application: `/` is the websocket, `/healthz` says that the server lives."""
        app = web.Application()
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/", self._serve)
        app.cleanup_ctx.append(self._closing)
        return app

    async def _closing(self, app: web.Application) -> AsyncIterator[None]:
        app.on_shutdown.append(self._hang_up)
        yield
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _hang_up(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server ends")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        options = self._options
        given = request.headers.get("Authorization", "")
        if options.api_key is not None and not hmac.compare_digest(
            given.encode(), f"Api-Key {options.api_key}".encode()
        ):
            return web.Response(status=401, text="Authorization: Api-Key KEY is wanted\n")
        if len(self._sockets) >= options.max_clients:
            return web.Response(status=503, text=f"{options.max_clients} clients are served already\n")
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=options.max_message_bytes, heartbeat=options.heartbeat_s
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await socket.send_bytes(pack(self._actor.metadata))
            await self._talk(socket)
        except ConnectionError:
            # The client went while it was being answered.
            pass
        finally:
            self._sockets.discard(socket)
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await self._answer(socket, message.data)
            elif message.type is WSMsgType.TEXT:
                await socket.send_str("send msgpack in a binary frame")

    async def _answer(self, socket: web.WebSocketResponse, data: bytes) -> None:
        if self._num_waiting > self._options.max_waiting:
            await socket.send_str(f"busy: {self._num_waiting} requests wait; ask again")
            return
        self._num_waiting += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._act, data)
        except VitaDataError as fault:
            await socket.send_str(str(fault))
        except Exception as fault:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("a request failed")
            await socket.send_str(f"the policy failed on this request ({type(fault).__name__}); see the server's log")
        else:
            await socket.send_bytes(answer)
        finally:
            self._num_waiting -= 1

    def _act(self, data: bytes) -> bytes:
        return pack(self._actor.act(read_request(data)))


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK\n")
