"""Options of a server. Imports neither torch nor aiohttp, so that errors are reported immediately."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Limits and settings of a server."""

    api_key: str | None = None
    """Key that clients must send as `Authorization: Api-Key KEY`; None: no key is required."""
    max_message_bytes: int = 32 << 20
    max_clients: int = 64
    max_waiting: int = 32
    """Maximum number of requests waiting for the current one."""
    num_threads: int = 1
    """Requests that are answered at the same time; a batching handler needs as many as its batch."""
    replan_steps: int = 5
    """Actions of a chunk sent to vla-eval clients before the policy is called again; openpi clients get whole chunks.

    Assumes: 5, as `vita-eval` does.
    """
    heartbeat_s: float = 30.0
    """Interval of pings. A client that does not answer them, or reads no answer for as long, is disconnected."""
