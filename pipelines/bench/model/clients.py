"""Clients for a policy server: openpi's own client if it is installed, otherwise that of `vita-eval`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vita_data.errors import VitaDataError
from vita_model.policy.openpi import Message, pack, unpack
from vita_model.policy.websocket import WebSocket

Ask = Callable[[Message], Mapping[str, Any]]
"""Sends a request and waits for the answer; raises VitaDataError if there is none."""

_PACKAGE = "openpi-client"
_PATIENCE_S = 600.0


def client_name() -> str:
    """Give the name of the client that `connected` uses."""
    try:
        return f"{_PACKAGE} {version(_PACKAGE)}"
    except PackageNotFoundError:
        return "vita-eval's client"


@contextmanager
def connected(port: int) -> Iterator[Ask]:
    """Connect to a local server inside the context.

    Raises:
        VitaDataError: the server does not answer.
    """
    if client_name().startswith(_PACKAGE):
        # This client cannot disconnect; the connection ends with the server.
        yield _openpi(port)
        return
    socket = WebSocket(f"ws://127.0.0.1:{port}", timeout_s=_PATIENCE_S)
    with closing(socket):
        socket.receive()  # the metadata
        yield partial(_ask, socket)


def _openpi(port: int) -> Ask:
    from openpi_client.websocket_client_policy import WebsocketClientPolicy
    from websockets.exceptions import WebSocketException

    def telling(call: Callable[..., Any], *given: object) -> Any:
        try:
            return call(*given)
        except (RuntimeError, OSError, WebSocketException) as fault:
            told = " ".join(str(fault).split())
            raise VitaDataError(f"the server on port {port} failed to answer: {told}") from fault

    policy = telling(WebsocketClientPolicy, "127.0.0.1", port)
    return lambda request: telling(policy.infer, request)


def _ask(socket: WebSocket, request: Message) -> Mapping[str, Any]:
    socket.send(pack(request))
    answer = socket.receive()
    if answer.is_text:
        told = " ".join(answer.data.decode(errors="replace").split())
        raise VitaDataError(f"{socket.address} reports an error: {told}")
    read: Mapping[str, Any] = unpack(answer.data)
    return read
