"""What a server is asked for; imports no torch and no aiohttp, so that a typo is reported at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What a server allows."""

    api_key: str | None = None
    """Wanted as `Authorization: Api-Key KEY`; None: everybody may ask."""
    max_message_bytes: int = 32 << 20
    max_clients: int = 64
    max_waiting: int = 32
    """Requests that wait for the one that is answered."""
    replan_steps: int = 5
    """Commands of a chunk that vla-eval's clients get before the policy is asked again; openpi's get whole chunks.

    Assumes: 5, as `vita-eval` does.
    """
    heartbeat_s: float = 30.0
    """A client that does not answer pings this long apart, or does not take an answer for as long, is gone."""
