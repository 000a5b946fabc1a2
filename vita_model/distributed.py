"""The ranks of one run: joining torchrun's group, and sums over ranks through which gradients pass.

With one process everything here is the identity, so that nothing else asks how many ranks there are.

The rule of all losses: a mean over a batch is a mean over the global batch, the same number on every rank. Its gradient
through `all_sum` is that of the global loss times the world size, which the average over ranks (DDP, FSDP2) undoes.
"""

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from vita_data.errors import RequestError, VitaDataError

_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others: the first batch may come from cold storage."""
_LOST = re.compile(r"gloo.*(closed by peer|Connection reset|Read error|Broken pipe|Timed out)", re.IGNORECASE)
"""How gloo says that a rank has ended; it raises a plain RuntimeError."""


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those of the run."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this rank writes logs and checkpoints."""
        return self.rank == 0


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, or be the only one; leaves the group at the end.

    Each rank takes the GPU of its local rank; without CUDA all compute on the CPU, over gloo.

    Raises:
        RequestError: torchrun's environment is incomplete, or there are more ranks on a node than GPUs.
        VitaDataError: the other ranks do not answer, or one has ended.
    """
    device = _device()
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks(device=device)
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise RequestError(f"WORLD_SIZE is set but {', '.join(missing)} is not; start the ranks with torchrun")
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise VitaDataError(f"rank {os.environ['RANK']} could not join the run: {text}; restart all ranks") from error
    try:
        yield Ranks(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not isinstance(error, dist.DistError) and not _LOST.search(text):
            raise
        raise VitaDataError(f"rank {os.environ['RANK']} lost another rank; see its error: {text}") from error
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise RequestError(f"local rank {local} has no GPU: this node has {there}; start one rank per GPU")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def is_alone() -> bool:
    """Tell whether this process is the only rank."""
    return not dist.is_initialized() or dist.get_world_size() == 1


def all_sum(value: Tensor) -> Tensor:
    """Sum a tensor over the ranks, bit for bit the same on each; gradients are summed likewise."""
    if is_alone():
        return value
    summed: Tensor = _AllSum.apply(value)  # type: ignore[no-untyped-call]
    return summed


class _AllSum(torch.autograd.Function):
    """All-reduce forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _reduced(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _reduced(grad)


def _reduced(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


@torch.no_grad()
def all_rows(rows: Tensor) -> Tensor:
    """Join the rows [n, ...] of all ranks, in the order of ranks, of which each may have another n; no gradient."""
    if is_alone():
        return rows
    sizes: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(sizes, len(rows))
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def all_names(names: Iterable[str]) -> list[str]:
    """Collect the names that any rank has, sorted."""
    mine = sorted(set(names))
    if is_alone():
        return mine
    found: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, mine)
    return sorted({name for each in found for name in each})


def first_says(ask: Callable[[], Answer]) -> Answer:
    """Ask on the first rank alone and give each rank the answer; what is raised there is raised on all.

    For all that is read of files which a rank may write before another one has looked: ranks keep together only
    where they exchange tensors. Answers are values that pickle.
    """
    if is_alone():
        return ask()
    said: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            said[0] = ask()
        except Exception as fault:  # noqa: BLE001 - raised below, on every rank
            said[1] = _that_pickles(fault)
    dist.broadcast_object_list(said, src=0)
    answer, refusal = said
    if refusal is not None:
        dist.barrier()  # A rank that leaves tears down what the others still hear it by.
        raise refusal
    return cast("Answer", answer)


def _that_pickles(fault: Exception) -> Exception:
    try:
        pickle.dumps(fault)
    except Exception:  # noqa: BLE001 - whatever a fault holds
        return VitaDataError(repr(fault))
    return fault


def wait_for_all() -> None:
    """Wait until every rank has come here."""
    if not is_alone():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:  # noqa: FBT001 - the one thing it is about
    """Tell every rank whether any of them says yes."""
    if is_alone():
        return flag
    found = torch.tensor(float(flag), device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found)


def whole(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put cut tensors together on the CPU; every rank must call this."""
    return {name: whole_tensor(value) for name, value in values.items()}


def whole_tensor(value: Tensor) -> Tensor:
    """Put a tensor together if it is cut, on the CPU; every rank must call this."""
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.detach().cpu()


def laid_like(value: Tensor, like: Tensor) -> Tensor:
    """Lay a whole tensor as another one lies: its device, its cut."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)
