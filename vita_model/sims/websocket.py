"""A WebSocket client over a plain socket (RFC 6455): binary messages, no compression, no TLS."""

import base64
import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from hashlib import sha1
from urllib.parse import urlsplit

import numpy as np

from vita_data.errors import RequestError, VitaDataError

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUE, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
MAX_MESSAGE_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One whole message."""

    data: bytes
    is_text: bool


class WebSocket:
    """One connection."""

    def __init__(self, address: str, *, timeout_s: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Connect and shake hands.

        Raises:
            RequestError: the address is no ws:// address.
            VitaDataError: nobody listens there, or it is no WebSocket server.
        """
        parts = urlsplit(address)
        if parts.scheme != "ws" or not parts.hostname:
            raise RequestError(f"{address} is no address of a policy server: ws://HOST:PORT")
        self.address = address
        try:
            self._socket = socket.create_connection((parts.hostname, parts.port or 8000), timeout=timeout_s)
        except OSError as fault:
            raise VitaDataError(f"{address}: no server answers ({fault}); start one with `vita-serve`") from fault
        self._buffer = b""
        try:
            self._shake_hands(parts.netloc, parts.path or "/", headers)
        except VitaDataError:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send one binary message.

        Raises:
            VitaDataError: the connection is lost.
        """
        self._send(_BINARY, data)

    def receive(self) -> Message:
        """Wait for the next message; pings are answered on the way.

        Raises:
            VitaDataError: the connection is lost or closed, or nothing came in time.
        """
        parts, kind = [], _BINARY
        while True:
            final, code, data = self._frame()
            if code == _PING:
                self._send(_PONG, data)
            elif code == _CLOSE:
                raise VitaDataError(f"{self.address} closed the connection{_reason(data)}")
            elif code != _PONG:
                kind = kind if code == _CONTINUE else code
                parts.append(data)
                if final:
                    return Message(data=b"".join(parts), is_text=kind == _TEXT)

    def close(self) -> None:
        """Say goodbye and let go."""
        with contextlib.suppress(VitaDataError):
            self._send(_CLOSE, struct.pack(">H", 1000))
        self._socket.close()

    def _shake_hands(self, host: str, path: str, headers: tuple[tuple[str, str], ...]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self._write("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._read_some()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        answer = base64.b64encode(sha1((key + _GUID).encode(), usedforsecurity=False).digest())
        first = head.split(b"\r\n")[0].decode(errors="replace")
        if b" 101 " not in head.split(b"\r\n")[0] + b" " or answer not in head:
            raise VitaDataError(f"{self.address} is no policy server: it answered {first!r}")

    def _send(self, code: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 0x80 | code, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | code, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | code, 0x80 | 127, size)
        mask = os.urandom(4)
        self._write(head + mask + _masked(data, mask))

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._exactly(2)
        size = second & 0x7F
        if size >= 126:
            form = ">H" if size == 126 else ">Q"
            size = struct.unpack(form, self._exactly(struct.calcsize(form)))[0]
        if size > MAX_MESSAGE_BYTES:
            raise VitaDataError(
                f"{self.address} sends a message of {size} bytes; {MAX_MESSAGE_BYTES} are taken at most"
            )
        return bool(first & 0x80), first & 0x0F, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            parts.append(self._read_some())
            have += len(parts[-1])
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size]

    def _read_some(self) -> bytes:
        try:
            data = self._socket.recv(1 << 18)
        except OSError as fault:
            raise VitaDataError(f"{self.address}: no answer ({fault})") from fault
        if not data:
            raise VitaDataError(f"{self.address} ended the connection")
        return data

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as fault:
            raise VitaDataError(f"{self.address}: the connection is lost ({fault})") from fault


def _masked(data: bytes, mask: bytes) -> bytes:
    repeated = np.frombuffer((mask * (len(data) // 4 + 1))[: len(data)], np.uint8)
    return bytes(np.frombuffer(data, np.uint8) ^ repeated)


def _reason(data: bytes) -> str:
    if len(data) < 2:
        return ""
    return f" (code {struct.unpack('>H', data[:2])[0]} {data[2:].decode(errors='replace')})"
