"""Batches as torch tensors, read ahead by threads of the training process; the one file here that imports torch.

Threads, not worker processes: JPEG decoding and reading release the GIL, and a batch is decoded into the memory that
the model gets, without a copy. Nothing is forked, shared or restarted.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from vita_data.errors import RequestError
from vita_data.loader.plan import Plan
from vita_data.loader.read import BatchArrays, ReadOptions, SlotText, WindowReader, instruction_draw
from vita_data.loader.resume import PlanChange, resume_plan
from vita_data.loader.sampler import MixedModalitySampler, Picks
from vita_data.types import IMAGE_SIZE, STATE_DIM, Batch, Json, Modality

_ACTION14_DIM = 14
_TASKS_PER_THREAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensors:
    images: torch.Tensor | None
    image_mask: torch.Tensor | None
    future: torch.Tensor | None
    future_mask: torch.Tensor | None
    action: torch.Tensor | None
    action_mask: torch.Tensor | None
    state: torch.Tensor | None
    state_mask: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch under way: its memory, and the tasks that fill it."""

    modality: Modality
    tensors: _Tensors
    tasks: tuple[Future[list[SlotText]], ...]


class Loader(Iterator[Batch]):
    """An endless iterator of one rank's batches; the caller decides how many steps to train.

    `state_dict` names the first batch that the caller has not been given, whatever has been read ahead.
    """

    def __init__(
        self, plan: Plan, *, rank: int, world_size: int, threads: int, ahead: int, options: ReadOptions
    ) -> None:
        _check(plan, rank=rank, world_size=world_size, threads=threads, ahead=ahead)
        self.plan = plan
        self._rank, self._world_size = rank, world_size
        self._threads, self._ahead = threads, ahead
        self._options = options
        self._sampler = MixedModalitySampler(plan)
        self._reader = WindowReader(plan, options)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="vita-loader")
        self._pending: deque[_Pending] = deque()
        self._step = 0
        self._closed = False

    @property
    def substituted(self) -> dict[str, int]:
        """How many damaged windows were replaced, by source."""
        return dict(self._reader.substituted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __next__(self) -> Batch:
        """Give the next batch.

        Raises:
            ShardError: a member is damaged; names shard, clip and member.
        """
        if self._closed:
            raise StopIteration
        while len(self._pending) < self._ahead:
            self._pending.append(self._start(self._step + len(self._pending)))
        pending = self._pending.popleft()
        try:
            texts = [text for task in pending.tasks for text in task.result()]
        except BaseException:
            self.close()
            raise
        self._step += 1
        return _batch(pending, texts)

    def state_dict(self) -> Json:
        """Describe the position: the next batch the caller has not seen, and the plan (JSON-able)."""
        return self._sampler.state_dict(self._step)

    def load_state_dict(self, state: Json, *, plan_change: PlanChange = PlanChange.REFUSE) -> None:
        """Continue from a state, on any rank and world size.

        Raises:
            RequestError: another plan wrote the state, and that is not allowed; names what changed.
        """
        self.plan = resume_plan(self.plan, state, plan_change=plan_change)
        self._drop_pending()
        self._sampler = MixedModalitySampler(self.plan)
        self._step = int(str(state["step"]))

    def close(self) -> None:
        """Stop reading and close the shards."""
        if not self._closed:
            self._closed = True
            self._drop_pending()
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._reader.close()

    def _drop_pending(self) -> None:
        for pending in self._pending:
            for task in pending.tasks:
                task.cancel()
        self._pending.clear()

    def _start(self, step: int) -> _Pending:
        picks = self._sampler.picks(step, rank=self._rank, world_size=self._world_size)
        tensors = _allocate(self.plan, picks.modality, len(picks.pool))
        arrays = _arrays(tensors)
        groups = np.array_split(np.arange(len(picks.pool)), min(len(picks.pool), self._threads * _TASKS_PER_THREAD))
        tasks = tuple(self._executor.submit(self._fill, arrays, picks, group.tolist()) for group in groups)
        return _Pending(picks.modality, tensors, tasks)

    def _fill(self, arrays: BatchArrays, picks: Picks, slots: list[int]) -> list[SlotText]:
        pools, first = self.plan.pools[picks.modality], self._rank * len(picks.pool)
        return [
            self._reader.fill(
                arrays, slot, pool=pools[int(picks.pool[slot])].pool, window=int(picks.window[slot]),
                draw=instruction_draw(self.plan.seed, picks.step, first + slot),
            )
            for slot in slots
        ]  # fmt: skip


def _check(plan: Plan, *, rank: int, world_size: int, threads: int, ahead: int) -> None:
    if not 0 <= rank < world_size or threads < 1 or ahead < 1:
        raise RequestError(
            f"loader: need 0 <= rank < world size, threads >= 1, ahead >= 1; found rank {rank} of {world_size}, "
            f"{threads} threads, {ahead} ahead"
        )
    for modality, size in plan.batch_size.items():
        if size % world_size:
            raise RequestError(f"loader: world size {world_size} does not divide the {modality} batch of {size}")


def _allocate(plan: Plan, modality: Modality, size: int) -> _Tensors:
    spec, image = plan.windows, (IMAGE_SIZE, IMAGE_SIZE, 3)
    images, vectors = modality is not Modality.ACTION, modality is not Modality.VIDEO
    views, futures, chunk = (size, len(spec.views)), (size, spec.futures), (size, spec.horizon, _ACTION14_DIM)
    return _Tensors(
        images=_empty((*views, *image), torch.uint8) if images else None,
        image_mask=_empty(views, torch.bool) if images else None,
        future=_empty((*futures, *image), torch.uint8) if images else None,
        future_mask=_empty(futures, torch.bool) if images else None,
        action=_empty(chunk, torch.float32) if vectors else None,
        action_mask=_empty(chunk, torch.bool) if vectors else None,
        state=_empty((size, STATE_DIM), torch.float32) if vectors else None,
        state_mask=_empty((size, STATE_DIM), torch.bool) if vectors else None,
    )


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, pin_memory=torch.cuda.is_available())


def _arrays(tensors: _Tensors) -> BatchArrays:
    def view(tensor: torch.Tensor | None) -> Any:
        return None if tensor is None else tensor.numpy()

    return BatchArrays(
        images=view(tensors.images), image_mask=view(tensors.image_mask), future=view(tensors.future),
        future_mask=view(tensors.future_mask), action=view(tensors.action), action_mask=view(tensors.action_mask),
        state=view(tensors.state), state_mask=view(tensors.state_mask),
    )  # fmt: skip


def _batch(pending: _Pending, texts: list[SlotText]) -> Batch:
    tensors = pending.tensors
    return Batch(
        modality=pending.modality, source=[text.source for text in texts], key=[text.key for text in texts],
        instruction=[text.instruction for text in texts], images=tensors.images, image_mask=tensors.image_mask,
        future=tensors.future, future_mask=tensors.future_mask, action=tensors.action,
        action_mask=tensors.action_mask, state=tensors.state, state_mask=tensors.state_mask,
    )  # fmt: skip
