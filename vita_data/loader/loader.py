"""Batches as torch tensors, read ahead by threads of the training process; one of the few modules that import torch.

Threads, not worker processes: JPEG decoding and reading release the GIL, and a batch is decoded without a copy into the
memory that the model uses. Nothing is forked, shared or restarted.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from vita_data.errors import RequestError
from vita_data.loader.options import Damage, InstructionChoice, LoaderOptions
from vita_data.loader.order.members import BatchMembers, locate_batch, locate_batches
from vita_data.loader.order.plan import Plan
from vita_data.loader.order.resume import PlanChange, resume_plan
from vita_data.loader.order.sampler import MixedModalitySampler, Picks
from vita_data.loader.read.decode import ARRAYS, WindowReader
from vita_data.loader.read.fill import BatchFill
from vita_data.loader.read.tensors import BatchMemory, arrays_of
from vita_data.loader.store.daemon_pool import DaemonPool, StallDetector
from vita_data.loader.store.prefetch import LocalMembers, MemberSource, Prefetcher
from vita_data.loader.store.remote import RemoteMembers
from vita_data.types import Batch, Json, Modality

_Result = TypeVar("_Result")

_SLOTS_PER_TASK = 32
"""Few enough that threads finish a batch together; many, since Python code runs with cold caches after each decode."""
_SLOTS_PER_CUT = 1024
"""The cost of cutting depends on the number of calls far more than on their size; this many slots take about 10 ms."""
_POLL_S = 0.5
"""How often a thread that waits for a batch checks whether a read hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A batch whose members are known and are being prefetched."""

    located: BatchMembers
    members: MemberSource


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """A batch being filled: its memory, and the tasks that fill it."""

    modality: Modality
    tensors: Mapping[str, torch.Tensor]
    fill: BatchFill
    tasks: tuple[Future[None], ...]


@dataclass(slots=True)
class _UnderWay:
    """A batch that has not been returned yet."""

    planned: Future[_Planned]
    filling: Future[_Filling] | None = None


class Loader(IterableDataset[Batch], Iterator[Batch]):
    """An endless iterator of one rank's batches; the caller decides how many steps to train.

    `state_dict` names the first batch that the caller has not received, no matter how many were read ahead.

    It works alone and as the dataset of `DataLoader(loader, batch_size=None)`, which adds nothing but pinning.
    """

    def __init__(self, plan: Plan, *, rank: int, world_size: int, options: LoaderOptions) -> None:
        _check(plan, rank=rank, world_size=world_size)
        self._rank, self._world_size, self._options = rank, world_size, options
        self._stalls = StallDetector(options.read_timeout_s)
        self._memory = BatchMemory()
        self._prefetcher, self._depth = _prefetcher_of(plan, options, self._stalls)
        self._planner = DaemonPool(1, name="vita-plan")
        self._pool = DaemonPool(options.threads, name="vita-read")
        self._under_way: deque[_UnderWay] = deque()
        self._closed = False
        self._pid = os.getpid()
        self._substituted: Counter[str] = Counter()
        # Used only by the planner's thread.
        self._located: dict[int, BatchMembers] = {}
        self._located_by: MixedModalitySampler | None = None
        self._use(plan, step=0)

    def _use(self, plan: Plan, *, step: int) -> None:
        self.plan, self._step = plan, step
        # The planner's thread has its own sampler, so that neither thread waits for the other.
        self._sampler, self._ahead_sampler = MixedModalitySampler(plan), MixedModalitySampler(plan)
        options = self._options
        self._reader = WindowReader(self._ahead_sampler, damage=options.damage, instruction=options.instruction)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that its batches can have."""
        return tuple(modality for modality, share in self.plan.modality_steps.items() if share > 0)

    @property
    def substituted(self) -> dict[str, int]:
        """How many damaged windows were replaced in the batches returned so far, by source."""
        return dict(self._substituted)

    def __enter__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        """Return itself: a second loop over it goes on where the first one stopped.

        Raises:
            RequestError: it is closed, or a worker process of a DataLoader asks; each would give the same batches.
        """
        if self._closed:
            raise RequestError("the loader is closed: open a new one, and load_state_dict to go on")
        if get_worker_info() is not None:
            raise RequestError("the loader reads with its own threads: expected DataLoader(num_workers=0), got workers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            ShardError: a member is damaged; names shard, clip and member.
            StorageError: a disk, mount or store cannot read a member, or does not answer; names the member too.
            RequestError: the loader was carried into a forked process.
        """
        if self._closed:
            raise StopIteration
        self._require_own_process()
        try:
            batch = self._take()
        except BaseException:
            self.close()
            raise
        self._step += 1
        return batch

    def __repr__(self) -> str:
        plan = self.plan
        sizes = ", ".join(f"{modality} {size}" for modality, size in plan.batch_size.items())
        return f"Loader({plan.manifest.name}, {plan.stage}, step {self._step}, batches of {sizes})"

    def state_dict(self) -> Json:
        """Describe the position: the next batch that the caller has not received, and the plan; JSON-able."""
        return self._sampler.state_dict(self._step)

    def load_state_dict(self, state: Json, *, plan_change: PlanChange = PlanChange.REFUSE) -> None:
        """Continue from a state, on any rank and world size.

        Raises:
            RequestError: another plan wrote the state, which is not allowed; names what changed. Or the loader was
                carried into a forked process.
        """
        self._require_own_process()
        plan = resume_plan(self.plan, state, plan_change=plan_change)
        self._drop()
        self._use(plan, step=int(str(state["step"])))

    def close(self) -> None:
        """Stop reading and close the shards; in a forked process there are no threads to stop."""
        if not self._closed:
            self._closed = True
            if self._pid != os.getpid():
                return
            self._drop()
            # The prefetcher is closed first, so that no thread waits for members.
            for part in (self._prefetcher, self._planner, self._pool):
                part.close()

    def _require_own_process(self) -> None:
        """Refuse to wait in a forked process for threads that stayed in its parent; raises RequestError."""
        if self._pid != os.getpid():
            raise RequestError(
                f"the loader was opened in process {self._pid}, and its threads are not in this forked one "
                f"({os.getpid()}): open a loader in each process, or start processes by spawn"
            )

    def _drop(self) -> None:
        for batch in self._under_way:
            batch.planned.cancel()
            if batch.filling is None or batch.filling.cancel() or not batch.filling.done():
                continue
            if batch.filling.exception() is None:
                for task in batch.filling.result().tasks:
                    task.cancel()
        self._under_way.clear()
        self._prefetcher.drop()

    def _take(self) -> Batch:
        self._keep_under_way()
        first = self._under_way[0]
        if first.filling is None:
            raise RuntimeError("the first pending batch is not being filled")
        filling = self._wait(first.filling)
        for task in filling.tasks:
            self._wait(task)
        self._under_way.popleft()
        self._substituted += filling.fill.substituted
        return _batch(filling.modality, filling.tensors, filling.fill)

    def _keep_under_way(self) -> None:
        for number in range(self._depth):
            if number == len(self._under_way):
                plan = partial(self._plan, self._ahead_sampler, self._step + number)
                self._under_way.append(_UnderWay(self._planner.submit(plan)))
            batch = self._under_way[number]
            if number < self._options.ahead and batch.filling is None:
                # The planner works in order, so that the plan of a batch is ready when filling begins.
                batch.filling = self._planner.submit(partial(self._fill, self._reader, batch.planned))

    def _wait(self, future: Future[_Result]) -> _Result:
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except TimeoutError:
                if future.done():
                    # The future has just finished, or its task raised this kind of error.
                    return future.result()
                self._stalls.check()

    def _plan(self, sampler: MixedModalitySampler, step: int) -> _Planned:
        located = self._locate(sampler, step)
        return _Planned(located=located, members=self._prefetcher.begin(located))

    def _locate(self, sampler: MixedModalitySampler, step: int) -> BatchMembers:
        """Cut a batch; small ones are cut together with the next few, since the cost hardly depends on the size."""
        if sampler is not self._located_by or step not in self._located:
            largest = max(sampler.plan.batch_size.values()) // self._world_size
            stop = step + max(_SLOTS_PER_CUT // largest, 1)
            batches = sampler.picks_of(step, stop, rank=self._rank, world_size=self._world_size)
            self._located_by, self._located = sampler, {}
            for modality in {one.modality for one in batches}:
                same = [one for one in batches if one.modality is modality]
                self._located |= {located.picks.step: located for located in locate_batches(sampler, same)}
        return self._located.pop(step)

    def _fill(self, reader: WindowReader, planned: Future[_Planned]) -> _Filling:
        batch = planned.result()
        located, size, first = batch.located, len(batch.located), self._rank * len(batch.located)
        tensors = self._memory.lend(self.plan, located.picks.modality, size)
        arrays = arrays_of(tensors)
        groups = [range(slot, min(slot + _SLOTS_PER_TASK, size)) for slot in range(0, size, _SLOTS_PER_TASK)]
        fill = BatchFill(reader, arrays, located, batch.members, first=first)
        tasks = tuple(self._pool.submit(partial(fill.fill, slots)) for slots in groups)
        return _Filling(modality=located.picks.modality, tensors=tensors, fill=fill, tasks=tasks)


def _check(plan: Plan, *, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise RequestError(f"loader: expected 0 <= rank < world size, got rank {rank} of {world_size}")
    for modality, size in plan.batch_size.items():
        if size % world_size:
            raise RequestError(f"loader: world size {world_size} does not divide the {modality} batch of {size}")


def _prefetcher_of(plan: Plan, options: LoaderOptions, stalls: StallDetector) -> tuple[Prefetcher, int]:
    """Make the prefetcher; also return how many batches are in preparation at once."""
    shards = [shard for pools in plan.pools.values() for one in pools for shard in one.pool.opened.index.shards]
    if all(isinstance(shard, Path) for shard in shards):
        return LocalMembers(stalls), options.ahead
    return RemoteMembers(options.remote, plan=plan, stalls=stalls), options.ahead + options.remote.prefetch


def read_windows(plan: Plan, modality: Modality, windows: Sequence[int]) -> Batch:
    """Read windows of a plan's first source, by their numbers, without a loader; local shards only.

    Raises:
        ShardError: a member is damaged.
        StorageError: a disk or mount cannot read a member.
    """
    sampler = MixedModalitySampler(plan)
    reader = WindowReader(sampler, damage=Damage.RAISE, instruction=InstructionChoice.MAIN)
    numbers = np.array(windows, np.int64)
    located = locate_batch(sampler, Picks(step=0, modality=modality, pool=np.zeros_like(numbers), window=numbers))
    tensors, members = (
        BatchMemory().lend(plan, modality, len(numbers)),
        LocalMembers(StallDetector(LoaderOptions().read_timeout_s)),
    )
    fill = BatchFill(reader, arrays_of(tensors), located, members, first=0)
    fill.fill(range(len(numbers)))
    members.close()
    return _batch(modality, tensors, fill)


def _batch(modality: Modality, tensors: Mapping[str, torch.Tensor], fill: BatchFill) -> Batch:
    found: dict[str, torch.Tensor | None] = {name: tensors.get(name) for name in ARRAYS}
    return Batch(modality=modality, source=fill.sources, key=fill.keys, instruction=fill.instructions, **found)
