"""A websocket to a policy server, with errors as one-line messages."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from vita_data.errors import RequestError, VitaDataError
from vita_model.policy.interfaces import API_KEY

MAX_MESSAGE_BYTES = 1 << 28
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One complete message."""

    data: bytes
    is_text: bool


class WebSocket:
    """One connection, without compression, because servers are usually close and images do not compress."""

    def __init__(self, address: str, *, timeout_s: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Connect.

        Raises:
            RequestError: the address is not a valid ws:// address.
            VitaDataError: nothing listens there, or it is not a websocket server.
        """
        target = _target(address)
        self.address, self._timeout_s, self._open = address, timeout_s, ExitStack()
        try:
            self._connection = self._open.enter_context(connect(
                target, additional_headers=headers, open_timeout=timeout_s, max_size=MAX_MESSAGE_BYTES,
                close_timeout=_CLOSE_TIMEOUT_S, compression=None, proxy=None,
                ping_interval=None,  # openpi's server does not answer pings while it computes
            ))  # fmt: skip
        except OSError as fault:  # includes timeouts
            raise VitaDataError(f"{address}: no server answers ({fault}); start one with `vita-serve`") from fault
        except InvalidStatus as fault:
            status = f"{fault.response.status_code} {fault.response.reason_phrase}"
            if fault.response.status_code == HTTPStatus.UNAUTHORIZED:
                told = f"{address} requires a key ({status}); set {API_KEY} to the server's key"
                raise VitaDataError(told) from fault
            raise VitaDataError(f"{address} is not a policy server: it answered {status}") from fault
        except WebSocketException as fault:
            raise VitaDataError(f"{address} is not a policy server: {fault}") from fault

    def send(self, data: bytes) -> None:
        """Send one binary message.

        Raises:
            VitaDataError: the connection is lost.
        """
        with self._telling():
            self._connection.send(data)

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            VitaDataError: the connection is lost or closed, or no message came in time.
        """
        with self._telling():
            data = self._connection.recv(self._timeout_s)
        return Message(data=data.encode(), is_text=True) if isinstance(data, str) else Message(data=data, is_text=False)

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Convert the library's errors to one-line messages that name the server."""
        try:
            yield
        except TimeoutError as fault:
            raise VitaDataError(f"{self.address}: no answer within {self._timeout_s:g} s") from fault
        except ConnectionClosed as fault:
            raise VitaDataError(f"{self.address} closed the connection ({_reason(fault)})") from fault
        except (OSError, WebSocketException) as fault:
            raise VitaDataError(f"{self.address}: connection lost ({fault})") from fault


def _target(address: str) -> str:
    """Add openpi's default port to an address; raises RequestError if the address is invalid."""
    try:
        parts = urlsplit(address)
        port = 8000 if parts.port is None else parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as fault:
        raise RequestError(f"expected an address ws://HOST:PORT, got {address} ({fault})") from fault
    if parts.scheme != "ws" or not parts.hostname or not port:
        raise RequestError(f"expected an address ws://HOST:PORT, got {address}")
    return address if parts.port else parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def _reason(fault: ConnectionClosed) -> str:
    said = fault.rcvd or fault.sent
    return f"code {said.code} {said.reason}".strip() if said else "no reason given"
