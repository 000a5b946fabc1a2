"""Loads shards as batches: plan, sampler and loader.

Only `make_loader` and `read_windows` import torch, when they are called.
"""

from typing import TYPE_CHECKING

from vita_data.config.checks import whole
from vita_data.installation import naming_extra
from vita_data.loader.action_conventions import conventions
from vita_data.loader.mixture.report import MixReport, mix
from vita_data.loader.options import Damage, InstructionChoice, LoaderOptions, RemoteOptions
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.resume import PlanChange, resume_plan
from vita_data.loader.order.sampler import MixedModalitySampler
from vita_data.loader.order.subset import held_out, only_paired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vita_data.loader.loader import Loader
    from vita_data.types import Batch, Modality

__all__ = [
    "Damage",
    "InstructionChoice",
    "LoaderOptions",
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


def make_loader(plan: Plan, *, rank: int = 0, world_size: int = 1, options: LoaderOptions | None = None) -> "Loader":
    """Make the loader of one rank.

    Args:
        plan: the plan of the whole run, the same on every rank.
        rank: which slice of each global batch to read.
        world_size: how many ranks share a batch; must divide every batch size.
        options: how batches are read; None: the defaults.

    Raises:
        MissingExtraError: torch is not installed.
        RequestError: the rank is not below the world size, or a batch cannot be divided.
    """
    with naming_extra():
        from vita_data.loader.loader import Loader

    options = options or LoaderOptions()
    return Loader(plan, rank=whole("rank", rank), world_size=whole("world_size", world_size), options=options)


def read_windows(plan: Plan, modality: "Modality", windows: "Sequence[int]") -> "Batch":
    """Read windows of a plan's first source, by their numbers, without a loader; local shards only.

    Raises:
        MissingExtraError: torch is not installed.
        ShardError: a member is damaged.
        StorageError: a disk or mount cannot read a member.
    """
    with naming_extra():
        from vita_data.loader import loader

    return loader.read_windows(plan, modality, windows)
