"""How a run loads its batches: threads, read-ahead, object stores. Most of it may change on `--resume`."""

from dataclasses import dataclass, field
from pathlib import Path

from vita_data.config.checks import require, require_positive, require_whole
from vita_data.loader import Damage, InstructionChoice, RemoteOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """Settings for shards on an object store (`--shards s3://...`)."""

    prefetch: int = 8
    """Number of batches whose bytes are fetched before they are decoded."""
    connections: int = 32
    """Number of concurrent requests."""
    cache: str | None = None
    """Folder for fetched bytes, shared with later epochs, later runs and other ranks; None: no cache."""
    cache_bytes: int = 100 << 30

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "prefetch", least=0)
        require_whole(self, "connections", "cache_bytes")
        require(self, "cache", fits=self.cache is None or isinstance(self.cache, str), wanted="a path or None")

    @property
    def options(self) -> RemoteOptions:
        """The same settings, as `make_loader` takes them."""
        return RemoteOptions(
            prefetch=self.prefetch, connections=self.connections, cache_bytes=self.cache_bytes,
            cache=None if self.cache is None else Path(self.cache),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """How batches are loaded; only `damage` and `instruction` affect their content."""

    threads: int = 8
    """Number of threads that read and decode."""
    ahead: int = 2
    """Number of batches in progress, including the next one; each uses memory."""
    damage: Damage = Damage.RAISE
    """On damaged data, raise an error, or substitute the source's next window and count it."""
    instruction: InstructionChoice = InstructionChoice.MAIN
    read_timeout_s: float = 120.0
    """Longest time that a read may take before the run stops with an error."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "threads", "ahead")
        require_positive(self, "read_timeout_s")
        for name, kind in (("damage", Damage), ("instruction", InstructionChoice)):
            require(self, name, fits=isinstance(getattr(self, name), kind), wanted=f"one of {', '.join(kind)}")


FREE_ON_RESUME = tuple(f"loader.{name}" for name in ("threads", "ahead", "read_timeout_s", "remote"))
"""Recipe fields that do not affect the content of batches."""
