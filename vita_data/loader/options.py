"""How batches are read: threads, read-ahead, damaged members, object stores; recipes hold the same values."""

from dataclasses import dataclass, field
from enum import StrEnum

from vita_data.config.checks import require, require_positive, require_whole
from vita_data.storage.files import MAX_CONNECTIONS


class Damage(StrEnum):
    """What to do about a damaged member: end the run, or take the source's next window and count it."""

    RAISE = "raise"
    SUBSTITUTE = "substitute"


class InstructionChoice(StrEnum):
    """Which of a clip's instructions a sample carries: the main one, or any, drawn by seed, step and slot."""

    MAIN = "main"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """How shards on an object store (`--shards s3://...`) are read."""

    prefetch: int = 8
    """Batches whose bytes are fetched ahead of those that are decoded; 0 fetches when a slot is read."""
    connections: int = 128
    """Number of concurrent requests."""
    cache: str | None = None
    """Folder for fetched bytes, shared with later epochs, later runs and other ranks; None: no cache."""
    cache_bytes: int = 100 << 30

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work; raises RequestError."""
        require_whole(self, "prefetch", least=0)
        require_whole(self, "connections", most=MAX_CONNECTIONS)
        require_whole(self, "cache_bytes")
        require(self, "cache", fits=self.cache is None or isinstance(self.cache, str), wanted="a path as text, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """How batches are read; only `damage` and `instruction` can change what is in them."""

    threads: int = 8
    """Number of threads that read and decode."""
    ahead: int = 2
    """Number of batches in progress, including the next one; each uses memory."""
    damage: Damage = Damage.RAISE
    """On damaged data, raise an error, or substitute the source's next window and count it."""
    instruction: InstructionChoice = InstructionChoice.MAIN
    read_timeout_s: float = 120.0
    """A read that takes longer ends the run, naming shard, clip, member and offset."""
    remote: RemoteOptions = field(default_factory=RemoteOptions)

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work; raises RequestError."""
        require_whole(self, "threads", "ahead")
        require_positive(self, "read_timeout_s")
        for name, kind in (("damage", Damage), ("instruction", InstructionChoice)):
            require(self, name, fits=isinstance(getattr(self, name), kind), wanted=f"one of {', '.join(kind)}")
