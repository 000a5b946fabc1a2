"""Checkpoints of a run: one safetensors file per component, optimizer and random state, and a readable state.json.

    RUN/checkpoints/step-NNNNNNNN/{codebook,...,backbone}.safetensors, tokenizer.json, averages.safetensors,
                                  trainer.pt, state.json

A checkpoint appears under its name only when it is complete, and its files are verified against the sha256 in
state.json. The frozen DINOv2 weights are not stored; state.json identifies them.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vita_data.errors import RequestError, VitaDataError
from vita_data.storage.whole_folder import appearing, temporary_for
from vita_model.distributed import Ranks, laid_like, wait_for_all, whole
from vita_model.network.configs import Component
from vita_model.network.vita import Vita
from vita_model.network.weights.tokenizer import TOKENIZER, checkpoint_tokenizer
from vita_model.training.checkpoint.run_folder import PREFIX, checkpoint_dirs, is_step_name, step_name
from vita_model.training.checkpoint.state import STATE, Progress, checked, read_state, sha256_of, state_text

_TRAINER, AVERAGES = "trainer.pt", "averages.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """State that is needed, besides the weights, to resume a run exactly."""

    optimizer: dict[str, object]
    torch_rng: Tensor
    draw_rng: Tensor
    """State of the generator for the stages' random choices."""
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    """Moving averages of the weights, if the recipe keeps them."""


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
    """Write a checkpoint through a temporary folder, then remove all but the last `keep_last` (None: keep all).

    Checkpoints of `keep_steps` are never removed.

    Every rank must call this, because sharded weights are gathered; only the first rank writes.

    Raises:
        VitaDataError: a parameter is not finite, or the disk is full; no partial checkpoint remains.
    """
    weights = {name: whole(model.component(name).state_dict()) for name in model.components}
    _check_finite(weights, progress.step)
    if ranks is None or ranks.is_first:
        tokenizer = None if model.backbone is None else model.backbone.tokenizer.stored
        with _removed_on_failure(run / "checkpoints" / step_name(progress.step)):
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
    for begun in final.parent.glob(f"{PREFIX}*.tmp"):  # left by a process that was killed
        if is_step_name(begun.stem):
            shutil.rmtree(begun, ignore_errors=True)
    with appearing(final) as folder:
        for name, tensors in weights.items():
            save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
        if tokenizer is not None:
            (folder / TOKENIZER).write_bytes(tokenizer)
        if trainer.averages:
            save_file({key: value.contiguous() for key, value in trainer.averages.items()}, folder / AVERAGES)
        torch.save(
            {"optimizer": trainer.optimizer, "torch_rng": trainer.torch_rng, "draw_rng": trainer.draw_rng},
            folder / _TRAINER,
        )
        sha256 = {path.name: sha256_of(path) for path in folder.iterdir()}
        (folder / STATE).write_text(state_text(progress, sha256))


@contextmanager
def _removed_on_failure(final: Path) -> Iterator[None]:
    """Report a failed write in one line, and remove the partial checkpoint to free its disk space."""
    try:
        yield
    # safetensors and torch do not raise OSError for errors of the system.
    except (OSError, RuntimeError, SafetensorError) as fault:
        shutil.rmtree(temporary_for(final), ignore_errors=True)
        raise VitaDataError(
            f"{final} could not be written ({' '.join(str(fault).split())}); free space on its disk, then "
            "--resume from the previous checkpoint"
        ) from fault


def _remove_old(run: Path, keep_last: int | None, keep_steps: Collection[int]) -> None:
    kept = {step_name(step) for step in keep_steps}
    others = [path for path in checkpoint_dirs(run) if path.name not in kept]
    for old in others[:-keep_last] if keep_last else ():
        shutil.rmtree(old)


def load_trainer(checkpoint: Path) -> TrainerState:
    """Read trainer.pt of a checkpoint.

    Raises:
        VitaDataError: it is missing or damaged.
    """
    sha256 = read_state(checkpoint).sha256
    path = checked(checkpoint, _TRAINER, sha256)
    averages = load_file(checked(checkpoint, AVERAGES, sha256)) if (checkpoint / AVERAGES).is_file() else {}
    try:
        return TrainerState(**torch.load(path, map_location="cpu", weights_only=True), averages=averages)
    except Exception as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}); remove {checkpoint} to use the previous one") from fault


def load_components(
    checkpoint: Path,
    model: Vita,
    parts: Collection[Component] = tuple(Component),
    *,
    may_begin: Mapping[Component, tuple[str, ...]] = MappingProxyType({}),
) -> frozenset[Component]:
    """Load those components of `parts` that both checkpoint and model have; returns their names.

    A backbone is loaded with its tokenizer. `may_begin` gives patterns of names of tensors that a checkpoint need not
    have: if it has none that matches, the model's tensors keep their values.

    Raises:
        VitaDataError: a file is damaged.
        RequestError: a component has shapes that differ from the recipe's.
    """
    loaded, sha256 = set(), read_state(checkpoint).sha256
    for name in model.components:
        file = f"{name}.safetensors"
        if name in parts and (checkpoint / file).is_file():
            _load_into(model.component(name), checked(checkpoint, file, sha256), may_begin.get(name, ()))
            loaded.add(name)
    if model.backbone is not None and Component.BACKBONE in loaded:
        if TOKENIZER in sha256:
            checked(checkpoint, TOKENIZER, sha256)
        room = model.config.backbone.max_text_tokens
        model.backbone.tokenizer = checkpoint_tokenizer(checkpoint, max_tokens=room)
    return frozenset(loaded)


def _check_finite(weights: Weights, step: int) -> None:
    for name, tensors in weights.items():
        for key, value in tensors.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise VitaDataError(
                    f"step {step}: {name}.{key} is not finite, so no checkpoint was written; lower the learning rate: "
                    "--resume --change optimizer.lr=RATE"
                )


def without_new(own: Iterable[str], given: Iterable[str], may_begin: Iterable[str]) -> list[str]:
    """List a model's tensors but those of patterns in `may_begin` of which a checkpoint has none."""
    held = list(given)
    new = [names for names in may_begin if not any(fnmatchcase(key, names) for key in held)]
    return [key for key in own if not any(fnmatchcase(key, names) for names in new)]


def _load_into(module: nn.Module, path: Path, may_begin: tuple[str, ...]) -> None:
    try:
        tensors = load_file(path)
    except Exception as fault:
        raise VitaDataError(f"{path} cannot be read ({fault})") from fault
    own = module.state_dict()
    own = {key: own[key] for key in without_new(own, tensors, may_begin)}
    for key in sorted(own.keys() | tensors.keys()):
        found, wanted = (tuple(t[key].shape) if key in t else "absent" for t in (tensors, own))
        if found != wanted:
            raise RequestError(
                f"{path}: {key} is {found}, but the recipe's model has {wanted}; use the same model config"
            )
    # The comparison above already was strict.
    module.load_state_dict({key: laid_like(value, own[key]) for key, value in tensors.items()}, strict=False)
