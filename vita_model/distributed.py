"""The ranks of a run: joining torchrun's process group, and differentiable sums over ranks.

With one process, all functions here are the identity, so that other modules need no special case.

Rule for all losses: a mean over a batch is the mean over the global batch, with the same value on every rank. Its
gradient through `all_sum` is the gradient of the global loss times the world size; averaging over ranks (DDP, FSDP2)
cancels that factor.
"""

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from vita_data.errors import RequestError, VitaDataError
from vita_model.stopped_ranks import RankProcess, watching

_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others; the first batch may come from slow storage."""
_LOST = re.compile(r"gloo.*(closed by peer|Connection reset|Read error|Broken pipe|Timed out)", re.IGNORECASE)
"""Messages of gloo when another rank has ended; it raises a plain RuntimeError."""


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process, as one of the run's ranks."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this rank writes logs and checkpoints."""
        return self.rank == 0


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, or run as a single rank; leaves the group at the end.

    Each rank uses the GPU of its local rank. Without CUDA, all ranks use the CPU and gloo.

    Raises:
        RequestError: torchrun's environment is incomplete, or a node has fewer GPUs than ranks.
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
        with _watched():
            yield Ranks(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not isinstance(error, dist.DistError) and not _LOST.search(text):
            raise
        raise VitaDataError(f"rank {os.environ['RANK']} lost another rank; see its error: {text}") from error
    finally:
        dist.destroy_process_group()


def _watched() -> AbstractContextManager[None]:
    own = RankProcess.own(dist.get_rank())
    found: list[RankProcess | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return watching(own, {one.rank: one for one in found if one is not None})


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
    """Sum a tensor over the ranks, with bitwise equal results on all; gradients are summed in the same way."""
    if is_alone():
        return value
    summed: Tensor = _AllSum.apply(value)  # type: ignore[no-untyped-call]
    return summed


class _AllSum(torch.autograd.Function):
    """All-reduce in the forward and backward pass."""

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
    """Concatenate the rows [n, ...] of all ranks, in rank order; n may differ between ranks; no gradient."""
    if is_alone():
        return rows
    sizes: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(sizes, len(rows))
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


@torch.no_grad()
def previous_rows(rows: Tensor) -> Tensor:
    """Replace each row [n, ...] by the one before it in all ranks' rows, the first by the last; no gradient.

    Each rank has the same number of rows, and at least one, as batches have.
    """
    if is_alone():
        return rows.roll(1, dims=0)
    last = all_rows(rows[-1:])
    return torch.cat([last[dist.get_rank() - 1][None], rows[:-1]])


@torch.no_grad()
def mean_row(rows: Tensor) -> Tensor:
    """Average the rows [n, ...] of all ranks as [1, ...]; no gradient."""
    total = all_sum(rows.float().sum(dim=0, keepdim=True))
    return (total / all_sum(torch.tensor(float(len(rows)), device=rows.device))).to(rows.dtype)


def all_names(names: Iterable[str]) -> list[str]:
    """Give the sorted union of all ranks' names."""
    mine = sorted(set(names))
    if is_alone():
        return mine
    found: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, mine)
    return sorted({name for each in found for name in each})


def first_says(ask: Callable[[], Answer]) -> Answer:
    """Call a function only on the first rank, and give all ranks its result or raise its exception.

    Use it to read files that a rank may change before the others have read them, because ranks are synchronized only
    when they exchange tensors. The result must be picklable.
    """
    if is_alone():
        return ask()
    said: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            said[0] = ask()
        except Exception as fault:  # noqa: BLE001 - raised again below, on every rank
            said[1] = _picklable(fault)
    dist.broadcast_object_list(said, src=0)
    answer, refusal = said
    if refusal is not None:
        dist.barrier()  # Wait: if this rank exits early, the others lose the connection before they get the result.
        raise refusal
    return cast("Answer", answer)


def _picklable(fault: Exception) -> Exception:
    try:
        pickle.dumps(fault)
    except Exception:  # noqa: BLE001 - a fault may hold any object
        return VitaDataError(repr(fault))
    return fault


def highest(number: int, device: torch.device) -> int:
    """Give every rank the highest of all ranks' small whole numbers."""
    if is_alone():
        return number
    found = torch.tensor(float(number), device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def whole_tensor(value: Tensor) -> Tensor:
    """Gather a tensor on the CPU if it is sharded; every rank must call this."""
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.detach().cpu()


def laid_like(value: Tensor, like: Tensor) -> Tensor:
    """Place a whole tensor like another one: on its device, with its sharding."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)
