"""Find the checkpoints of a run, and suggest the right folder if a wrong one was given. Does not import torch."""

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from vita_data.errors import RequestError
from vita_data.nearby import meant, near_name
from vita_data.storage.files import AnyPath, require_no_file
from vita_data.storage.lock import is_held
from vita_data.storage.whole_folder import temporary_for
from vita_data.types import Stage
from vita_model.training.checkpoint.state import STATE, Progress, load_progress

PREFIX = "step-"
_NAME = re.compile(PREFIX + r"[0-9]{8}")


def step_name(step: int) -> str:
    """Give a step's name in files and folders: `step-00000040`."""
    return f"{PREFIX}{step:08d}"


def is_step_name(name: str) -> bool:
    """Tell whether a folder has the name of a checkpoint."""
    return _NAME.fullmatch(name) is not None


def checkpoint_dirs(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first; copies under other names are ignored."""
    folder = run / "checkpoints"
    return sorted(path for path in folder.glob(f"{PREFIX}*") if is_step_name(path.name) and path.is_dir())


def latest(run: Path) -> Path | None:
    """Find the newest checkpoint of a run, if it has one."""
    found = checkpoint_dirs(run)
    return found[-1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Which checkpoints of a run are kept: the newest ones, and some for good."""

    last: int | None
    """Number of newest checkpoints; None: all."""
    every: int | None = None
    """Checkpoints of steps that this number divides are kept for good."""
    steps: Collection[int] = ()
    """Steps whose checkpoints are kept for good."""

    def for_good(self, step: int) -> bool:
        """Tell whether the checkpoint of a step is never removed."""
        return step in self.steps or (self.every is not None and step % self.every == 0)


def remove_old(run: Path, kept: Kept) -> None:
    """Remove the checkpoints that are not kept; each first loses its name, so that none is found half removed."""
    others = [path for path in checkpoint_dirs(run) if not kept.for_good(_step(path))]
    for old in others[: -kept.last] if kept.last else ():
        shutil.rmtree(old.rename(temporary_for(old)))


def remove_begun(run: Path) -> None:
    """Remove what a process that was killed began to write or to remove."""
    for begun in (run / "checkpoints").glob(f"{PREFIX}*.tmp"):
        if is_step_name(begun.stem):
            shutil.rmtree(begun, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(PREFIX))


def find_checkpoint(folder: Path) -> Path:
    """Find the checkpoint of a path: the path itself, or the newest checkpoint of a run.

    Raises:
        RequestError: no checkpoint was found; the message suggests a run or checkpoint nearby.
    """
    found = folder if (folder / STATE).is_file() else latest(folder)
    if found is None:
        hint = near_name(folder) or meant(folder, lambda one: (one / STATE).is_file() or _is_run(one))
        raise RequestError(
            f"{folder}: expected a checkpoint ({STATE}) or a run that has one (checkpoints/{PREFIX}*){hint}"
        )
    return found


def find_policy(folder: Path) -> tuple[Path, Progress]:
    """Find the checkpoint of a path and read its progress; its stage must predict actions.

    Raises:
        RequestError: no checkpoint was found, or it has no backbone (warmup).
        VitaDataError: its state.json is damaged.
    """
    checkpoint = find_checkpoint(folder)
    progress = load_progress(checkpoint)
    if progress.stage == Stage.WARMUP:
        raise RequestError(f"{folder} is a run of stage warmup, which has no backbone; use a co-trained run")
    return checkpoint, progress


def latest_of(run: Path, option: str) -> Path:
    """Find the newest checkpoint of the run that `option` names.

    Raises:
        RequestError: the run has no checkpoint; the message suggests a run nearby, or to wait if it is in training.
    """
    found = latest(run)
    if found is None and is_held(run):
        raise RequestError(f"{option}: that run is in training and has no checkpoint yet; wait until it has ended")
    if found is None:
        hint = near_name(run) or meant(run, _is_run) or "; use a run that has one"
        raise RequestError(f"{option}: no checkpoint in {run / 'checkpoints'}{hint}")
    return found


def how_far(run: Path, progress: Progress) -> str:
    """Say at which step a run's checkpoint is, and whether later ones will come: `step 20 of 60, still in training`."""
    total = progress.recipe.get("num_steps")
    if not isinstance(total, int) or progress.step >= total:
        return f"step {progress.step}"
    state = "still in training" if is_held(run) else "not trained to its end"
    return f"step {progress.step} of {total}, {state}"


def require_startable(run: Path) -> None:
    """Refuse a path that cannot be a run folder.

    Raises:
        RequestError: the path is a file or an address.
    """
    require_no_file(run, "--out")
    if str(run).partition("/")[0].endswith(":"):
        raise RequestError(f"--out {run}: expected a local folder, got an address")


def require_new(run: Path) -> None:
    """Refuse a folder that is not empty.

    Raises:
        RequestError: the folder is not empty.
    """
    if run.exists() and any(run.iterdir()):
        raise RequestError(f"--out {run} is not empty; choose a new folder, or add --resume to continue that run")


def _is_run(folder: AnyPath) -> bool:
    return isinstance(folder, Path) and latest(folder) is not None
