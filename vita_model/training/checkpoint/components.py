"""What a checkpoint holds of a model and its training, and how it gets back into them.

    RUN/checkpoints/step-NNNNNNNN/{codebook,...,backbone}.safetensors, tokenizer.json, averages.safetensors,
                                  optimizer-RRRRR-of-NNNNN.safetensors, trainer.pt, state.json

The files are verified against the sha256 in state.json. The frozen DINOv2 weights are not stored; state.json identifies
them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from vita_data.errors import RequestError, VitaDataError
from vita_model.distributed import Ranks
from vita_model.network.configs import Component
from vita_model.network.vita import Vita
from vita_model.network.weights.tokenizer import TOKENIZER, checkpoint_tokenizer
from vita_model.training.checkpoint.run_folder import Kept
from vita_model.training.checkpoint.saver import Saver, Snapshot
from vita_model.training.checkpoint.shards import names_in, read_into
from vita_model.training.checkpoint.state import (
    AVERAGES,
    OPTIMIZER,
    TRAINER,
    DamagedError,
    Progress,
    checked,
    read_state,
)
from vita_model.training.optim import empty_moments


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """State that is needed, besides the weights, to resume a run exactly."""

    torch_rng: Tensor
    draw_rng: Tensor
    """State of the generator for the stages' random choices."""
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    """The optimizer's state by names of `optim.moments_of`; tensors may be sharded."""
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    """Moving averages of the weights, if the recipe keeps them; tensors may be sharded."""


def snapshot_of(model: Vita, trainer: TrainerState, progress: Progress) -> Snapshot:
    """Name all tensors of a checkpoint by the files that they are stored in."""
    weights = {
        f"{part}/{name}": value for part in model.components for name, value in _own(model.component(part)).items()
    }
    averages = {f"{Path(AVERAGES).stem}/{name}": value for name, value in trainer.averages.items()}
    return Snapshot(
        weights={**weights, **averages},
        optimizer={f"{OPTIMIZER}/{name}": value for name, value in trainer.optimizer.items()},
        torch_rng=trainer.torch_rng,
        draw_rng=trainer.draw_rng,
        tokenizer=None if model.backbone is None else model.backbone.tokenizer.stored,
        progress=progress,
    )


def save(run: Path, model: Vita, trainer: TrainerState, progress: Progress, *, keep_last: int | None) -> Path:
    """Write a checkpoint of one process and wait for it, then remove all but the last `keep_last` (None: keep all).

    Raises:
        VitaDataError: a parameter is not finite, or the disk is full; no partial checkpoint remains.
    """
    with Saver(run, kept=Kept(last=keep_last), ranks=Ranks()) as saver:
        return saver.save(snapshot_of(model, trainer, progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomState:
    """State of the random generators of a run."""

    torch_rng: Tensor
    draw_rng: Tensor
    optimizer: Mapping[str, object] | None = None
    """The optimizer's unsharded state, which earlier versions stored here."""


def load_trainer(checkpoint: Path) -> RandomState:
    """Read trainer.pt of a checkpoint.

    Raises:
        DamagedError: it is missing or damaged.
    """
    path = checked(checkpoint, TRAINER, read_state(checkpoint).sha256)
    with _reading(path, _use_previous(checkpoint)):
        state = RandomState(**torch.load(path, map_location="cpu", weights_only=True))
        optimizer: object = state.optimizer  # of a file, so of any type
        if not isinstance(optimizer, dict | None) or not all(map(_is_rng, (state.torch_rng, state.draw_rng))):
            raise TypeError("expected the state of two random generators, and of an optimizer in older checkpoints")
    return state


def load_moments(checkpoint: Path, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Load the optimizer's state of a verified checkpoint of any number of ranks; each rank reads its own part.

    Raises:
        DamagedError: a file has another form, or is of another model.
    """
    names = [name for name in read_state(checkpoint).sha256 if name.startswith(f"{OPTIMIZER}-")]
    files = [checkpoint / name for name in sorted(names)]
    with _reading(checkpoint / f"{OPTIMIZER}-*.safetensors", _use_previous(checkpoint)):
        moments = empty_moments(optimizer, model, names_in(files))
        read_into({f"{OPTIMIZER}/{name}": value for name, value in moments.items()}, {OPTIMIZER: files})


def load_averages(checkpoint: Path, averages: Mapping[str, Tensor]) -> None:
    """Fill moving averages, whole or sharded, from a verified checkpoint; raises DamagedError."""
    stem = Path(AVERAGES).stem
    with _reading(checkpoint / AVERAGES):
        read_into({f"{stem}/{name}": value for name, value in averages.items()}, {stem: [checkpoint / AVERAGES]})


@contextmanager
def _reading(path: Path, advice: str = "") -> Iterator[None]:
    """Turn whatever a library raises about a file's content into a DamagedError."""
    try:
        yield
    except VitaDataError:
        raise
    except Exception as fault:
        raise DamagedError(f"{path} cannot be read ({type(fault).__name__}: {fault}){advice}") from fault


def _use_previous(checkpoint: Path) -> str:
    return f"; remove {checkpoint} to use the previous one"


def _is_rng(state: object) -> bool:
    return isinstance(state, Tensor) and state.dtype == torch.uint8 and state.shape == torch.get_rng_state().shape


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises DamagedError."""
    with _reading(path):
        found: dict[str, Tensor] = load_file(path)
    return found


def load_components(
    checkpoint: Path,
    model: Vita,
    parts: Collection[Component] = tuple(Component),
    *,
    may_begin: Mapping[Component, tuple[str, ...]] = MappingProxyType({}),
    is_verified: bool = False,
) -> frozenset[Component]:
    """Load those components of `parts` that both checkpoint and model have; returns their names.

    A backbone is loaded with its tokenizer. `may_begin` gives patterns of names of tensors that a checkpoint need not
    have: if it has none that matches, the model's tensors keep their values. `is_verified` tells that the files have
    been compared with their sha256.

    Raises:
        DamagedError: a file is damaged.
        RequestError: a component has shapes that differ from the recipe's.
    """
    loaded, sha256 = set(), read_state(checkpoint).sha256
    for name in model.components:
        file = f"{name}.safetensors"
        if name in parts and (checkpoint / file).is_file():
            path = checkpoint / file if is_verified else checked(checkpoint, file, sha256)
            _load_into(model.component(name), path, may_begin.get(name, ()))
            loaded.add(name)
    if model.backbone is not None and Component.BACKBONE in loaded:
        if TOKENIZER in sha256:
            checked(checkpoint, TOKENIZER, sha256)
        room = model.config.backbone.max_text_tokens
        model.backbone.tokenizer = checkpoint_tokenizer(checkpoint, max_tokens=room)
    return frozenset(loaded)


def _own(module: nn.Module) -> Mapping[str, Tensor]:
    own: Mapping[str, Tensor] = module.state_dict()
    return own


def without_new(own: Iterable[str], given: Iterable[str], may_begin: Iterable[str]) -> list[str]:
    """List a model's tensors but those of patterns in `may_begin` of which a checkpoint has none."""
    held = list(given)
    new = [names for names in may_begin if not any(fnmatchcase(key, names) for key in held)]
    return [key for key in own if not any(fnmatchcase(key, names) for names in new)]


def _load_into(module: nn.Module, path: Path, may_begin: tuple[str, ...]) -> None:
    """Fill a component's tensors one by one, so that the host never holds all of them."""
    shapes, own = _shapes(path), _own(module)
    own = {key: own[key] for key in without_new(own, shapes, may_begin)}
    for key in sorted(own.keys() | shapes.keys()):
        found, wanted = shapes.get(key, "absent"), tuple(own[key].shape) if key in own else "absent"
        if found != wanted:
            raise RequestError(
                f"{path}: {key} is {found}, but the recipe's model has {wanted}; use the same model config"
            )
    with _reading(path):
        read_into({f"{path.stem}/{key}": value for key, value in own.items()}, {path.stem: [path]})


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _reading(path), safe_open(path, framework="pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
