"""Writes a run's checkpoints while training goes on: each rank its own part, from a copy on the host.

A checkpoint appears under its name when all ranks have written their part, so that a process that is killed leaves the
checkpoint before it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from vita_data.errors import VitaDataError
from vita_data.storage.whole_folder import begin_folder, complete_folder, temporary_for
from vita_model.distributed import Ranks, all_names, is_alone
from vita_model.network.weights.tokenizer import TOKENIZER
from vita_model.training.checkpoint.run_folder import Kept, remove_begun, remove_old, step_name
from vita_model.training.checkpoint.shards import Chunk, ChunkPlanner, ChunkWriter
from vita_model.training.checkpoint.staging import Staging
from vita_model.training.checkpoint.state import OPTIMIZER, STATE, TRAINER, Progress, sha256_of, state_text

_TIMEOUT = timedelta(hours=4)
"""How long a rank waits for the first one, which joins the parts of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a checkpoint stores; tensors have names `FILE/NAME` and may be sharded."""

    weights: Mapping[str, Tensor]
    """Components and averages, which must be finite."""
    optimizer: Mapping[str, Tensor]
    torch_rng: Tensor
    draw_rng: Tensor
    """State of the generator for the stages' random choices."""
    tokenizer: bytes | None
    progress: Progress


class Saver:
    """Writes the checkpoints of a run, one at a time; every rank has one and calls it alike."""

    def __init__(self, run: Path, *, kept: Kept, ranks: Ranks) -> None:
        self._folder, self._run, self._kept, self._ranks = run / "checkpoints", run, kept, ranks
        # An own group: a checkpoint's messages must not come between those of training.
        self._group = None if is_alone() else dist.new_group(backend="gloo", timeout=_TIMEOUT)
        self._staging = Staging(ranks)
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None

    def save(self, snapshot: Snapshot) -> Path:
        """Copy a snapshot and begin to write it; waits first for the checkpoint before it.

        Raises:
            VitaDataError: a weight is not finite, or the checkpoint before could not be written.
        """
        self.wait()
        final = self._folder / step_name(snapshot.progress.step)
        _check_finite(snapshot)
        chunks = self._staging.copy({**snapshot.weights, **snapshot.optimizer})
        # A daemon, because a process that loses the other ranks must be able to end.
        self._thread = threading.Thread(target=self._write, args=(final, chunks, snapshot), daemon=True)
        self._thread.start()
        return final

    @property
    def has_failed(self) -> bool:
        """Tell whether the checkpoint could not be written; only this rank may know so far."""
        return self._fault is not None

    def wait(self) -> None:
        """Wait until the checkpoint is written.

        Raises:
            VitaDataError: it could not be written; no partial checkpoint remains.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        """Finish the checkpoint, also if training fails; its own failure must not hide the other one."""
        try:
            self.wait()
        except VitaDataError:
            if fault is None:
                raise

    def _write(self, final: Path, chunks: dict[str, Chunk], snapshot: Snapshot) -> None:
        def begin() -> Path:
            remove_begun(self._run)
            return begin_folder(final)

        def finish(sha256: Mapping[str, str]) -> None:
            _write_rest(final, snapshot, sha256)
            remove_old(self._run, self._kept)

        writer = ChunkWriter(begin, finish, sharded={OPTIMIZER})
        try:
            if self._group is None:
                _save_alone(chunks, writer)
            else:
                save(chunks, storage_writer=writer, planner=ChunkPlanner(), process_group=self._group)
        except Exception as fault:  # noqa: BLE001 - raised by `wait`
            if self._ranks.is_first:
                remove_begun(self._run)
            self._fault = VitaDataError(
                f"{final} could not be written ({_told(fault)}); free space on its disk, then --resume from the "
                "previous checkpoint"
            )


def _save_alone(chunks: dict[str, Chunk], writer: ChunkWriter) -> None:
    """Do what torch's `save` does, which warns if there is no process group."""
    planner = ChunkPlanner()
    planner.set_up_planner(chunks, is_coordinator=True)
    plans, metadata = planner.create_global_plan([writer.prepare_local_plan(planner.create_local_plan())])
    (plan,) = writer.prepare_global_plan(plans)
    writer.finish(metadata, [writer.write_data(planner.finish_plan(plan), planner).wait()])


def _write_rest(final: Path, snapshot: Snapshot, sha256: Mapping[str, str]) -> None:
    """Write the small files and state.json, and give the folder its name."""
    folder, small = temporary_for(final), [TRAINER]
    torch.save({"torch_rng": snapshot.torch_rng, "draw_rng": snapshot.draw_rng}, folder / TRAINER)
    if snapshot.tokenizer is not None:
        (folder / TOKENIZER).write_bytes(snapshot.tokenizer)
        small.append(TOKENIZER)
    own = {name: sha256_of(folder / name) for name in small}
    (folder / STATE).write_text(state_text(snapshot.progress, {**sha256, **own}))
    complete_folder(final)


def _told(fault: BaseException) -> str:
    """Give the reason of the first rank that failed, in one line."""
    if isinstance(fault, CheckpointException) and fault.failures:
        fault = next(iter(fault.failures.values()))[0]
    return " ".join(str(fault).split()) or type(fault).__name__


def _check_finite(snapshot: Snapshot) -> None:
    bad = []
    for name, value in snapshot.weights.items():
        local: Tensor = value.to_local() if hasattr(value, "to_local") else value
        # The extremes are not finite if any value is not, and need no memory.
        if local.is_floating_point() and local.numel() and not bool(torch.stack(local.aminmax()).isfinite().all()):
            bad.append(name.replace("/", ".", 1))
    if names := all_names(bad):
        raise VitaDataError(
            f"step {snapshot.progress.step}: {names[0]} is not finite, so no checkpoint was written; lower the "
            "learning rate: --resume --change optimizer.lr=RATE"
        )
