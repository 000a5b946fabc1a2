"""How a connection is spoken on: what is said first, how a message is answered, how it is refused."""

from typing import Protocol

from vita_model.policy.openpi import pack, read_request
from vita_model.serving.request_handler import RequestHandler


class Connection(Protocol):
    """One client's connection; bytes go out as a binary frame, a text as a text frame."""

    @property
    def greeting(self) -> bytes | None:
        """What is said before the client asks, if anything."""

    def answer(self, data: bytes) -> bytes | None:
        """Answer a message, if it is one that is answered; called on the thread of the policy.

        Raises:
            VitaDataError: it does not fit.
        """

    def refusal(self, told: str) -> bytes | str:
        """Say in a line why the message at hand is not answered."""


class OpenpiConnection:
    """openpi's: metadata first, then a message for a message; what does not fit is answered by a text."""

    def __init__(self, handler: RequestHandler) -> None:
        """Take who answers."""
        self._handler = handler

    @property
    def greeting(self) -> bytes:
        """Metadata."""
        return pack(self._handler.metadata)

    def answer(self, data: bytes) -> bytes:
        """Answer a request; raises as `Connection.answer`."""
        return pack(self._handler.act(read_request(data)))

    def refusal(self, told: str) -> str:
        """Give the line as it is."""
        return told
