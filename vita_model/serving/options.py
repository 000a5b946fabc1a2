"""Options of a server. Imports neither torch nor websockets, so that errors are reported immediately."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Limits and settings of a server."""

    api_key: str | None = None
    """Key that clients must send as `Authorization: Api-Key KEY`; None: no key is required."""
    origins: tuple[str, ...] = ()
    """Web pages that may connect, as browsers name them in `Origin`; robots and simulators send no such header."""
    max_message_bytes: int = 32 << 20
    max_held_bytes: int = 128 << 20
    """Maximum number of bytes that are held for all clients together: messages that arrive, wait or are answered."""
    max_clients: int = 64
    max_waiting: int = 32
    """Maximum number of requests waiting for the current one."""
    num_threads: int = 1
    """Requests that are answered at the same time; a batching handler needs as many as its batch."""
    replan_steps: int = 5
    """Actions of a chunk sent to vla-eval clients before the policy is called again; openpi clients get whole chunks.

    Assumes: 5, as `vita-eval` does.
    """
    heartbeat_s: float = 10.0
    """Interval of pings. A client that does not answer one, or reads no answer, for twice as long is disconnected."""
    open_s: float = 5.0
    """Time for the opening handshake, and for the first request where a newcomer needs the place."""
    idle_s: float = 60.0
    """Time without a request after which a client loses its place if a newcomer needs it."""
