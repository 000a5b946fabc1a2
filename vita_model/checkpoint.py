"""Checkpoints of a run: one safetensors file a component, the optimizer and random state, and a readable state.json.

    RUN/checkpoints/step-NNNNNNNN/{codebook,...,backbone}.safetensors, tokenizer.json, averages.safetensors,
                                  trainer.pt, state.json

A checkpoint appears under its name only when whole, and its files are checked against the sha256 in state.json.
The frozen DINOv2 weights are not stored; state.json says which they were.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Json
from vita_model.distributed import Ranks, first_says, wait_for_all
from vita_model.parallel import laid_like, whole
from vita_model.rebuild import from_json
from vita_model.recipe import first_difference
from vita_model.tokenizer import TOKENIZER, checkpoint_tokenizer
from vita_model.vita import Component, Vita, VitaConfig

SCHEMA_VERSION = 3
_PREFIX = "step-"
_NAME = re.compile(_PREFIX + r"[0-9]{8}")
_THOUGHT, _FREE = ("cot", "backbone"), ("weights", "max_text_tokens")
"""Configs that say how a backbone thinks, and fields of them that do not."""
_BEGINS = MappingProxyType({Component.ACTION_DECODER: "segments"})
"""A tensor that begins with a stage that cuts its chunks into segments where the stage before did not."""
_STATE, _TRAINER, _AVERAGES = "state.json", "trainer.pt", "averages.safetensors"


class ExportWeights(StrEnum):
    """Which of a run's weights an export takes."""

    TRAINED = "trained"
    AVERAGED = "averaged"
    """Their moving averages (`ema_decay`), where a weight has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands; everything in it is JSON."""

    step: int
    """Steps done."""
    stage: str
    recipe: Json
    sampler: Json
    """The loader's own state: the position in the data."""
    statistics: Json
    """Normalization statistics of the sources, which a policy needs to undo the normalization."""
    drawn: Mapping[str, Mapping[str, int]]
    """Samples seen, per modality and source."""
    features: str
    """Which frozen weights the run saw: `FrozenFeatures.identity`."""
    conventions: Json = field(default_factory=dict)
    """By source, the constants that turn canonical actions into its simulator's (`vita_data.convention`)."""
    resizes: Json = field(default_factory=dict)
    """By source, how its images became square (`vita_data.types.ResizeMode`), which a policy repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """What resumes a run exactly besides the weights."""

    optimizer: dict[str, object]
    torch_rng: Tensor
    draw_rng: Tensor
    """State of the generator behind the stages' own draws."""
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    """Moving averages of the weights, where the recipe keeps them."""


def checkpoint_dirs(run: Path) -> list[Path]:
    """List the whole checkpoints of a run, oldest first; a user's copies, under other names, are none of them."""
    folder = run / "checkpoints"
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if _NAME.fullmatch(path.name) and path.is_dir())


def latest(run: Path) -> Path | None:
    """Find the newest checkpoint of a run, if it has one."""
    found = checkpoint_dirs(run)
    return found[-1] if found else None


def find_checkpoint(folder: Path) -> Path:
    """Find the checkpoint that a path means: itself, or a run's newest.

    Raises:
        RequestError: there is none.
    """
    found = folder if (folder / _STATE).is_file() else latest(folder)
    if found is None:
        raise RequestError(f"{folder} holds neither a checkpoint ({_STATE}) nor a run with one (checkpoints/step-*)")
    return found


def step_name(step: int) -> str:
    """Name a step as files and folders do: `step-00000040`."""
    return f"{_PREFIX}{step:08d}"


def save(
    run: Path,
    model: Vita,
    trainer: TrainerState,
    progress: Progress,
    *,
    keep_last: int | None,
    keep_steps: Collection[int] = (),
    ranks: Ranks | None = None,
) -> Path:
    """Write a checkpoint through a temporary folder, then remove those older than the last `keep_last` (None: none).

    Those of `keep_steps` stay.

    Every rank calls this, since weights that are cut are put together; the first one writes.

    Raises:
        VitaDataError: a parameter is not finite, or there is no room; nothing is left behind.
    """
    weights = {name: whole(model.component(name).state_dict()) for name in model.components}
    _check_finite(weights, progress.step)
    if ranks is None or ranks.is_first:
        tokenizer = None if model.backbone is None else model.backbone.tokenizer.stored
        with _or_nothing(run / "checkpoints" / step_name(progress.step)):
            _write(run, weights, tokenizer, trainer, progress)
        _remove_old(run, keep_last, keep_steps)
    wait_for_all()
    return run / "checkpoints" / step_name(progress.step)


Weights = Mapping[Component, Mapping[str, Tensor]]


def _write(
    run: Path,
    weights: Weights,
    tokenizer: bytes | None,
    trainer: TrainerState,
    progress: Progress,
) -> None:
    final = run / "checkpoints" / step_name(progress.step)
    for begun in final.parent.glob(f"{_PREFIX}*.tmp"):  # by a process that was killed
        if _NAME.fullmatch(begun.stem):
            shutil.rmtree(begun, ignore_errors=True)
    with _appearing(final) as folder:
        for name, tensors in weights.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
        if tokenizer is not None:
            (folder / TOKENIZER).write_bytes(tokenizer)
        if trainer.averages:
            save_file({key: value.contiguous() for key, value in trainer.averages.items()}, folder / _AVERAGES)
        torch.save(
            {"optimizer": trainer.optimizer, "torch_rng": trainer.torch_rng, "draw_rng": trainer.draw_rng},
            folder / _TRAINER,
        )
        sha256 = {path.name: _sha256(path) for path in folder.iterdir()}
        (folder / _STATE).write_text(_state_text(progress, sha256))


@contextmanager
def _appearing(final: Path) -> Iterator[Path]:
    """Give a temporary folder that takes its final name, durably, when what is written into it is whole."""
    temporary = _temporary_for(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def _temporary_for(final: Path) -> Path:
    return final.with_name(f"{final.name}.tmp")


@contextmanager
def _or_nothing(final: Path) -> Iterator[None]:
    """Say in one line that a checkpoint could not be written, and remove its beginning: a full disk stays usable."""
    try:
        yield
    # safetensors and torch do not raise an OSError where the system does.
    except (OSError, RuntimeError, SafetensorError) as fault:
        shutil.rmtree(_temporary_for(final), ignore_errors=True)
        raise VitaDataError(
            f"{final} could not be written ({' '.join(str(fault).split())}): make room on its disk, then "
            "--resume from the checkpoint before"
        ) from fault


def _remove_old(run: Path, keep_last: int | None, keep_steps: Collection[int]) -> None:
    kept = {step_name(step) for step in keep_steps}
    others = [path for path in checkpoint_dirs(run) if path.name not in kept]
    for old in others[:-keep_last] if keep_last else ():
        shutil.rmtree(old)


def load_progress(checkpoint: Path) -> Progress:
    """Read state.json of a checkpoint.

    Raises:
        VitaDataError: it is missing, damaged, or of another schema version.
    """
    return _read_state(checkpoint).progress


def load_trainer(checkpoint: Path) -> TrainerState:
    """Read trainer.pt of a checkpoint.

    Raises:
        VitaDataError: it is missing, damaged, or not what its sha256 says.
    """
    sha256 = _read_state(checkpoint).sha256
    path = _checked(checkpoint, _TRAINER, sha256)
    averages = load_file(_checked(checkpoint, _AVERAGES, sha256)) if (checkpoint / _AVERAGES).is_file() else {}
    try:
        return TrainerState(**torch.load(path, map_location="cpu", weights_only=True), averages=averages)
    except Exception as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}): remove {checkpoint} to use the one before") from fault


def load_components(
    checkpoint: Path,
    model: Vita,
    parts: Collection[Component] = tuple(Component),
    *,
    may_begin: Mapping[Component, str] = MappingProxyType({}),
) -> frozenset[Component]:
    """Load every one of some components that both checkpoint and model have; tell which.

    A backbone brings its tokenizer. `may_begin` names a tensor of a component that stays as it is where the checkpoint
    has none.

    Raises:
        VitaDataError: a file is damaged, or not what its sha256 says.
        RequestError: a component has other shapes than the recipe says.
    """
    loaded, sha256 = set(), _read_state(checkpoint).sha256
    for name in model.components:
        file = f"{name}.safetensors"
        if name in parts and (checkpoint / file).is_file():
            _load_into(model.component(name), _checked(checkpoint, file, sha256), may_begin.get(name))
            loaded.add(name)
    if model.backbone is not None and Component.BACKBONE in loaded:
        if TOKENIZER in sha256:
            _checked(checkpoint, TOKENIZER, sha256)
        room = model.config.backbone.max_text_tokens
        model.backbone.tokenizer = checkpoint_tokenizer(checkpoint, max_tokens=room)
    return frozenset(loaded)


def export_components(
    checkpoint: Path, out: Path, names: Sequence[Component], weights: ExportWeights = ExportWeights.TRAINED
) -> None:
    """Copy components, tokenizer and state.json to a new folder, which appears under its name only when whole.

    Raises:
        RequestError: the checkpoint lacks a component or the averages, or `out` is there already.
        VitaDataError: a file is damaged.
    """
    if out.exists():
        raise RequestError(f"{out} is there already; name a new folder")
    state, files = _read_state(checkpoint), [f"{name}.safetensors" for name in names]
    if absent := [file for file in files if not (checkpoint / file).is_file()]:
        raise RequestError(f"{checkpoint} has no {', '.join(absent)}; export a run of stage cotrain or finetune")
    files += [TOKENIZER] if TOKENIZER in state.sha256 else []
    averages = _averages(checkpoint, state.sha256) if weights is ExportWeights.AVERAGED else {}
    with _appearing(out) as folder:
        for file in files:
            shutil.copyfile(_checked(checkpoint, file, state.sha256), folder / file)
        sha256 = {file: state.sha256[file] for file in files}
        for name in names:
            sha256 |= _averaged(folder / f"{name}.safetensors", averages)
        (folder / _STATE).write_text(_state_text(state.progress, sha256))


def _averages(checkpoint: Path, sha256: Mapping[str, str]) -> Mapping[str, Tensor]:
    if not (checkpoint / _AVERAGES).is_file():
        raise RequestError(f"{checkpoint} has no averaged weights: a run keeps them with --set ema_decay=0.999")
    return load_file(_checked(checkpoint, _AVERAGES, sha256))


def _averaged(path: Path, averages: Mapping[str, Tensor]) -> dict[str, str]:
    """Put averages in the places of a component's weights that have one; gives the file's new sum."""
    own = {
        key.removeprefix(f"{path.stem}."): value for key, value in averages.items() if key.startswith(f"{path.stem}.")
    }
    if not own:
        return {}
    save_file({**load_file(path), **own}, path)
    return {path.name: _sha256(path)}


def hand_over(
    run: Path, model: Vita, needs: frozenset[Component], parts: Collection[Component] = tuple(Component)
) -> frozenset[Component]:
    """Load components of an earlier run's newest checkpoint, those of `parts` that it has; tell which.

    Raises:
        RequestError: the run has no checkpoint, lacks what the stage needs, or differs in shape, frozen features or
            the way a frozen backbone thinks.
    """
    checkpoint = first_says(lambda: latest(run))
    if checkpoint is None:
        raise RequestError(f"--set init={run}: no checkpoint in {run / 'checkpoints'}; name a run that has one")
    progress = load_progress(checkpoint)
    model.features.check_same(progress.features, f"--set init={run}")
    if Component.BACKBONE in needs:
        _check_same_thought(progress.recipe, model.config, f"--set init={run}")
    loaded = load_components(checkpoint, model, parts, may_begin=_BEGINS)
    if left_out := sorted(needs - set(parts)):
        raise RequestError(f"init_parts leaves out {', '.join(left_out)}, which this stage needs of --set init={run}")
    if missing := sorted(needs - loaded):
        raise RequestError(f"--set init={run}: {checkpoint.name} has no {', '.join(missing)}, which this stage needs")
    if Component.CODEBOOK in needs and not model.codebook.is_filled:
        filled, wanted = int(model.codebook.num_filled), model.config.codebook.num_codes
        raise RequestError(f"--set init={run}: its codebook holds {filled} of {wanted} codes; train that run longer")
    return loaded


def _check_same_thought(recipe: Json, config: VitaConfig, where: str) -> None:
    """Refuse to freeze a backbone that was trained to think otherwise; what shapes do not show."""
    stored: Any = recipe.get("model", {})
    known = {name: stored[name] for name in _THOUGHT if name in stored}
    before = from_json(VitaConfig, known)
    for name in known:
        saved, asked = (
            {key: value for key, value in asdict(getattr(one, name)).items() if key not in _FREE}
            for one in (before, config)
        )
        if difference := first_difference(saved, asked, name):
            raise RequestError(f"{where}: its backbone was trained otherwise: {difference}; --set it as it was")


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What state.json says: the progress, and the sha256 of each file beside it, by name."""

    progress: Progress
    sha256: Mapping[str, str]


def _read_state(checkpoint: Path) -> _State:
    path = checkpoint / _STATE
    try:
        state = json.loads(path.read_text())
        version = state.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise VitaDataError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}")
        sha256 = {str(file): str(digest) for file, digest in state.pop("sha256").items()}
        return _State(progress=Progress(**state), sha256=sha256)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}): remove {checkpoint} to use the one before") from fault


def _checked(checkpoint: Path, file: str, sha256: Mapping[str, str]) -> Path:
    """Give the path of a file whose bytes are those that were written."""
    path = checkpoint / file
    try:
        found = _sha256(path)
    except OSError as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}): remove {checkpoint} to use the one before") from fault
    if found != sha256.get(file):
        wanted = sha256.get(file, "none")
        raise VitaDataError(
            f"{path} is damaged: sha256 {found[:12]}, {_STATE} says {wanted[:12]}; remove {checkpoint} to use the one "
            "before"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_finite(weights: Weights, step: int) -> None:
    for name, tensors in weights.items():
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise VitaDataError(
                    f"step {step}: {name}.{key} is not finite, so no checkpoint was written; lower optimizer.lr and "
                    "--resume from the last one"
                )


def _load_into(module: nn.Module, path: Path, may_begin: str | None) -> None:
    try:
        tensors = load_file(path)
    except Exception as fault:
        raise VitaDataError(f"{path} cannot be read: {fault}") from fault
    own = module.state_dict()
    if may_begin is not None and may_begin not in tensors:
        own.pop(may_begin, None)
    for key in sorted(own.keys() | tensors.keys()):
        found, wanted = (tuple(t[key].shape) if key in t else "absent" for t in (tensors, own))
        if found != wanted:
            raise RequestError(f"{path}: {key} is {found}, the recipe's model has {wanted}; use the same model config")
    # Strict by the comparison above.
    module.load_state_dict({key: laid_like(value, own[key]) for key, value in tensors.items()}, strict=False)


def _state_text(progress: Progress, sha256: Mapping[str, str]) -> str:
    return json.dumps({**_progress_json(progress), "sha256": dict(sha256)}, indent=1, sort_keys=True) + "\n"


def _progress_json(progress: Progress) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "step": progress.step,
        "stage": progress.stage,
        "recipe": dict(progress.recipe),
        "sampler": dict(progress.sampler),
        "statistics": dict(progress.statistics),
        "drawn": {modality: dict(counts) for modality, counts in progress.drawn.items()},
        "features": progress.features,
        "conventions": dict(progress.conventions),
        "resizes": dict(progress.resizes),
    }


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
