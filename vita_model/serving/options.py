"""What a server and its measurement are asked for; imports no torch and no aiohttp, so that a typo is told at once."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from vita_data.action_convention import CANONICAL
from vita_data.errors import RequestError
from vita_model.training.recipes.presets import PRESETS

API_KEY = "VITA_API_KEY"
"""Name in the environment of the key that a server wants and `vita-eval` sends."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What is measured."""

    preset: str = "tiny"
    policy: Path | None = None
    """A run, a checkpoint or an exported policy; None: drawn weights of the preset."""
    clients: tuple[int, ...] = (1, 4, 16)
    num_requests: int = 400
    """Answers that are timed, of each number of clients and in process."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be measured; raises RequestError."""
        most = ServeOptions().max_waiting
        if self.preset not in PRESETS:
            raise RequestError(f"--preset {self.preset}: there are {', '.join(PRESETS)}")
        if not self.clients or not all(1 <= number <= most for number in self.clients):
            raise RequestError(f"--clients {' '.join(map(str, self.clients))}: 1 to {most} may wait for an answer")
        if self.num_requests < max(self.clients):
            raise RequestError(f"--requests {self.num_requests}: fewer than the {max(self.clients)} clients")
        if self.device.startswith("cuda"):
            import torch

            if not torch.cuda.is_available():
                raise RequestError(f"--device {self.device}: this machine has no CUDA device")


def require_convention(asked: str, known: Collection[str]) -> None:
    """Refuse a convention that is neither canonical nor one of a checkpoint's sources.

    Raises:
        RequestError: it is neither; names those that there are.
    """
    if asked != CANONICAL and asked not in known:
        raise RequestError(f"--convention {asked}: this checkpoint has: {', '.join((CANONICAL, *known))}")
