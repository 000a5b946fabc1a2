"""How a run reads its batches: threads, what is read ahead, stores; nearly all of it free to change on `--resume`."""

from dataclasses import dataclass, field
from pathlib import Path

from vita_data.config.checks import require, require_positive, require_whole
from vita_data.loader import Damage, InstructionChoice, RemoteOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """For shards on an object store (`--shards s3://...`)."""

    prefetch: int = 8
    """Batches whose bytes are fetched ahead of those that are decoded."""
    connections: int = 32
    """Requests side by side."""
    cache: str | None = None
    """Folder that keeps what was fetched, for later passes, later runs and the other ranks; None keeps nothing."""
    cache_bytes: int = 100 << 30

    def __post_init__(self) -> None:
        """Refuse numbers that no reading can have; raises RequestError."""
        require_whole(self, "prefetch", least=0)
        require_whole(self, "connections", "cache_bytes")
        require(self, "cache", fits=self.cache is None or isinstance(self.cache, str), wanted="a path or None")

    @property
    def options(self) -> RemoteOptions:
        """The same for `make_loader`."""
        return RemoteOptions(
            prefetch=self.prefetch, connections=self.connections, cache_bytes=self.cache_bytes,
            cache=None if self.cache is None else Path(self.cache),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """How batches are read; only `damage` and `instruction` decide what is in them."""

    threads: int = 8
    """Threads that read and decode."""
    ahead: int = 2
    """Batches under way, the one that is waited for included; each takes its memory."""
    damage: Damage = Damage.RAISE
    """A damaged member ends the run, or the source's next window takes its place and is counted."""
    instruction: InstructionChoice = InstructionChoice.MAIN
    read_timeout_s: float = 120.0
    """A read that takes longer ends the run."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)

    def __post_init__(self) -> None:
        """Refuse numbers that no reading can have; raises RequestError."""
        require_whole(self, "threads", "ahead")
        require_positive(self, "read_timeout_s")
        for name, kind in (("damage", Damage), ("instruction", InstructionChoice)):
            require(self, name, fits=isinstance(getattr(self, name), kind), wanted=f"one of {', '.join(kind)}")


FREE_ON_RESUME = tuple(f"loader.{name}" for name in ("threads", "ahead", "read_timeout_s", "remote"))
"""Recipe fields that change nothing in a batch."""
