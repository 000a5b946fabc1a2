"""`vita-train export`: copy the parts of a checkpoint that inference needs to a folder for `VitaPolicy`."""

import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vita_data.command.progress import SILENT, Progress
from vita_data.errors import RequestError
from vita_data.storage.whole_folder import appearing
from vita_model.network.configs import Component
from vita_model.network.weights.tokenizer import TOKENIZER
from vita_model.policy.policy import CONTROL
from vita_model.training.checkpoint.components import read_tensors
from vita_model.training.checkpoint.run_folder import find_checkpoint
from vita_model.training.checkpoint.state import AVERAGES, STATE, checked, read_state, sha256_of, state_text


class ExportWeights(StrEnum):
    """Which of a run's weights to export."""

    TRAINED = "trained"
    AVERAGED = "averaged"
    """Moving averages (`ema_decay`) of weights that have one."""


def export(
    folder: Path,
    out: Path,
    *,
    imagine: bool,
    weights: ExportWeights = ExportWeights.TRAINED,
    progress: Progress = SILENT,
) -> Path:
    """Write the newest checkpoint of a run, without optimizer and encoders, to a new folder; progress counts bytes.

    Raises:
        RequestError: the run has no checkpoint, the checkpoint lacks a part or averages, or `out` exists already.
        VitaDataError: the checkpoint is damaged.
    """
    wanted = (*CONTROL, Component.VISUAL_DECODER) if imagine else CONTROL
    export_components(find_checkpoint(folder), out, wanted, weights, progress)
    return out


def export_components(
    checkpoint: Path,
    out: Path,
    names: Sequence[Component],
    weights: ExportWeights = ExportWeights.TRAINED,
    progress: Progress = SILENT,
) -> None:
    """Copy components, tokenizer and state.json to a new folder, which appears under its name only when complete.

    Raises:
        RequestError: the checkpoint lacks a component or the averages, or `out` exists already.
        VitaDataError: a file is damaged.
    """
    if out.exists():
        raise RequestError(f"{out} already exists; choose a new folder")
    state, files = read_state(checkpoint), [f"{name}.safetensors" for name in names]
    if absent := [file for file in files if not (checkpoint / file).is_file()]:
        raise RequestError(f"{checkpoint} has no {', '.join(absent)}; export a run of stage cotrain or finetune")
    files += [TOKENIZER] if TOKENIZER in state.sha256 else []
    averages = _averages(checkpoint, state.sha256) if weights is ExportWeights.AVERAGED else {}
    sizes = {file: (checkpoint / file).stat().st_size for file in files}
    progress.start(sum(sizes.values()))
    with appearing(out) as folder:
        for file in files:
            shutil.copyfile(checked(checkpoint, file, state.sha256), folder / file)
            progress.update(sizes[file], file)
        sha256 = {file: state.sha256[file] for file in files}
        for name in names:
            sha256 |= _averaged(folder / f"{name}.safetensors", averages)
        (folder / STATE).write_text(state_text(state.progress, sha256))


def _averages(checkpoint: Path, sha256: Mapping[str, str]) -> Mapping[str, Tensor]:
    if not (checkpoint / AVERAGES).is_file():
        raise RequestError(f"{checkpoint} has no averaged weights; train with --set ema_decay=0.999 to keep them")
    return read_tensors(checked(checkpoint, AVERAGES, sha256))


def _averaged(path: Path, averages: Mapping[str, Tensor]) -> dict[str, str]:
    """Replace a component's weights by their averages, if they have any; returns the file's new sha256."""
    own = {
        key.removeprefix(f"{path.stem}."): value for key, value in averages.items() if key.startswith(f"{path.stem}.")
    }
    if not own:
        return {}
    save_file({**read_tensors(path), **own}, path)
    return {path.name: sha256_of(path)}
