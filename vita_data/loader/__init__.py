"""Loads shards as batches: plan, sampler and loader. Only `make_loader` imports torch, when it is called."""

from typing import TYPE_CHECKING

from vita_data.loader.action_conventions import conventions
from vita_data.loader.mixture.report import MixReport, mix
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.resume import PlanChange, resume_plan
from vita_data.loader.order.sampler import MixedModalitySampler
from vita_data.loader.order.subset import held_out, only_paired
from vita_data.loader.read.decode import Damage, InstructionChoice
from vita_data.loader.store.remote import RemoteOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vita_data.loader.loader import Loader
    from vita_data.types import Batch, Modality

__all__ = [
    "Damage",
    "InstructionChoice",
    "MixReport",
    "MixedModalitySampler",
    "Plan",
    "PlanChange",
    "RemoteOptions",
    "conventions",
    "held_out",
    "make_loader",
    "mix",
    "only_paired",
    "read_windows",
    "resume_plan",
]


def make_loader(
    plan: Plan,
    *,
    rank: int = 0,
    world_size: int = 1,
    threads: int = 8,
    ahead: int = 2,
    damage: Damage = Damage.RAISE,
    instruction: InstructionChoice = InstructionChoice.MAIN,
    read_timeout_s: float = 120.0,
    remote: RemoteOptions | None = None,
) -> "Loader":
    """Make the loader of one rank.

    Args:
        plan: the plan of the whole run, the same on every rank.
        rank: which slice of each global batch to read.
        world_size: how many ranks share a batch; must divide every batch size.
        threads: threads that read and decode.
        ahead: batches in preparation, including the one that is waited for; each takes its memory.
        damage: what to do about a damaged member.
        instruction: which of a clip's instructions a sample carries.
        read_timeout_s: a read that takes longer ends the run, naming shard, clip, member and offset.
        remote: for shards on an object store: connections, prefetched batches, cache.

    Raises:
        RequestError: the rank does not exist, the batch cannot be divided, or a number is out of range.
    """
    from vita_data.loader.loader import Loader, LoaderOptions

    options = LoaderOptions(
        threads=threads, ahead=ahead, damage=damage, instruction=instruction, read_timeout_s=read_timeout_s,
        remote=remote or RemoteOptions(),
    )  # fmt: skip
    return Loader(plan, rank=rank, world_size=world_size, options=options)


def read_windows(plan: Plan, modality: "Modality", windows: "Sequence[int]") -> "Batch":
    """Read windows of a plan's first source, by their numbers, without a loader; local shards only.

    Raises:
        ShardError: a member is damaged.
        StorageError: a disk or mount cannot read a member.
    """
    from vita_data.loader import loader

    return loader.read_windows(plan, modality, windows)
