"""Finds the checkpoint to resume from: the newest one whose files all are as they were written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import VitaDataError
from vita_model.distributed import Ranks, all_names, first_says
from vita_model.training.checkpoint.run_folder import checkpoint_dirs
from vita_model.training.checkpoint.state import DamagedError, checked, read_state, without_advice

_ASIDE = ".damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest whole checkpoint of a run, if it has one, and newer ones that are damaged."""

    checkpoint: Path | None
    damaged: tuple[Path, ...] = ()
    told: tuple[str, ...] = ()
    """A sentence about each damaged one."""

    def set_aside(self) -> None:
        """Rename the damaged ones; they would count as the newest when old ones are removed."""
        for path in self.damaged:
            path.rename(path.with_name(path.name + _ASIDE))


def newest_whole(run: Path, ranks: Ranks) -> Newest:
    """Find the newest whole checkpoint; every rank must call this, because each verifies some of the files.

    Raises:
        VitaDataError: the run has checkpoints, but none is whole, or one is of another version.
    """
    damaged: list[Path] = []
    faults: list[str] = []
    for checkpoint in reversed(first_says(lambda: checkpoint_dirs(run))):
        fault = _fault(checkpoint, ranks)
        if fault is None:
            told = tuple(_sentence(path, why, checkpoint) for path, why in zip(damaged, faults, strict=True))
            return Newest(checkpoint=checkpoint, damaged=tuple(damaged), told=told)
        damaged.append(checkpoint)
        faults.append(fault)
    if damaged:
        raise VitaDataError(
            f"{run}: none of its {len(damaged)} checkpoints is whole, the newest because {faults[0]}; restore one from "
            "a copy, or start a new run"
        )
    return Newest(checkpoint=None)


def _sentence(path: Path, why: str, used: Path) -> str:
    return f"{path.name} is damaged and is kept as {path.name}{_ASIDE} ({why}); resuming from {used.name} before it"


def _fault(checkpoint: Path, ranks: Ranks) -> str | None:
    """Say what is damaged in a checkpoint, the same on all ranks; None if nothing is."""
    try:
        sha256 = first_says(lambda: read_state(checkpoint).sha256)
    except DamagedError as fault:
        return without_advice(fault, checkpoint)
    found = all_names(_damages(checkpoint, sha256, ranks))
    return found[0] if found else None


def _damages(checkpoint: Path, sha256: Mapping[str, str], ranks: Ranks) -> list[str]:
    """Verify this rank's share of the files, which are as large as the run's memory."""
    for file in sorted(sha256)[ranks.rank :: ranks.world_size]:
        try:
            checked(checkpoint, file, sha256)
        except DamagedError as fault:
            return [without_advice(fault, checkpoint)]
    return []
