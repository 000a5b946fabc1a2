"""The protocol of a connection: its greeting, its answers and its errors."""

from typing import Protocol

from vita_model.policy.openpi import pack, read_request
from vita_model.serving.request_handler import RequestHandler


class Connection(Protocol):
    """One client's connection; bytes are sent as a binary frame, strings as a text frame."""

    @property
    def greeting(self) -> bytes | None:
        """First message to the client, if any."""

    def answer(self, data: bytes) -> bytes | None:
        """Answer a message, or return None if it needs no answer; called on the policy's thread.

        Raises:
            VitaDataError: the message is invalid.
        """

    def refusal(self, told: str) -> bytes | str:
        """Make an error message for the current request."""


class OpenpiConnection:
    """openpi's protocol: first metadata, then one answer per request; errors are sent as text."""

    def __init__(self, handler: RequestHandler) -> None:
        """Create a connection for a request handler."""
        self._handler = handler

    @property
    def greeting(self) -> bytes:
        """The policy's metadata."""
        return pack(self._handler.metadata)

    def answer(self, data: bytes) -> bytes:
        """Answer a request; raises as `Connection.answer`."""
        return pack(self._handler.act(read_request(data)))

    def refusal(self, told: str) -> str:
        """Give the line unchanged."""
        return told
