"""Take batches of a plan whose shards lie in a store, and compare them."""

from dataclasses import fields

import torch

from vita_data.loader import Damage, LoaderOptions, Plan, RemoteOptions, make_loader
from vita_data.types import Batch


def take(plan: Plan, count: int, *, rank: int = 0, world_size: int = 1, **options: object) -> list[Batch]:
    damage = options.pop("damage", Damage.RAISE)
    remote = RemoteOptions(**options)
    with make_loader(
        plan, rank=rank, world_size=world_size, options=LoaderOptions(threads=2, damage=damage, remote=remote)
    ) as loader:
        return [next(loader) for _ in range(count)]


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for field in fields(Batch):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            same = torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs
            assert same, field.name
