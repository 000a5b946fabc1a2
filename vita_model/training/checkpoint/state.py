"""state.json of a checkpoint: the progress of the run, and the sha256 of the checkpoint's files."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from vita_data.errors import VitaDataError
from vita_data.types import Json
from vita_model.training.checkpoint.schema import MAX_STATE_BYTES, check_state

SCHEMA_VERSION = 3
STATE, TRAINER, AVERAGES = "state.json", "trainer.pt", "averages.safetensors"
OPTIMIZER = "optimizer"
"""How the names of the files with the optimizer's state begin, one for each rank that wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChange:
    """A recipe field that a resumed run has changed; the values are JSON."""

    step: int
    """Number of steps that were completed with the value before."""
    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run; all values are JSON."""

    step: int
    """Number of completed steps."""
    stage: str
    recipe: Json
    sampler: Json
    """The loader's state: the position in the data."""
    statistics: Json
    """Normalization statistics of the sources; a policy needs them to undo the normalization."""
    drawn: Mapping[str, Mapping[str, int]]
    """Samples seen, per modality and source."""
    features: str
    """Identity of the frozen weights: `FrozenFeatures.identity`."""
    conventions: Json = field(default_factory=dict)
    """Per source, constants that convert canonical actions to its simulator's (`vita_data.action_convention`)."""
    resizes: Json = field(default_factory=dict)
    """Per source, how its images were made square (`vita_data.types.ResizeMode`); a policy must do the same."""
    bad_steps: int = 0
    """Number of steps that were skipped because their loss or gradient was not finite."""
    changes: Sequence[RecipeChange] = ()
    """What the run's resumptions have changed in the recipe, oldest first."""


class DamagedError(VitaDataError):
    """A file of a checkpoint is missing or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Content of state.json: the progress, and the sha256 of each file by name."""

    progress: Progress
    sha256: Mapping[str, str]


def load_progress(checkpoint: Path) -> Progress:
    """Read state.json of a checkpoint.

    Raises:
        DamagedError: it is missing or damaged.
        VitaDataError: it is of another schema version.
    """
    return read_state(checkpoint).progress


def read_state(checkpoint: Path) -> State:
    """Read state.json of a checkpoint; raises as `load_progress`."""
    path = checkpoint / STATE
    try:
        _require_file(path)
        if (num_bytes := path.stat().st_size) > MAX_STATE_BYTES:
            raise ValueError(f"expected at most {MAX_STATE_BYTES} bytes, got {num_bytes}")
        state = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        version = state.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise VitaDataError(f"{path}: expected schema version {SCHEMA_VERSION}, got {version!r:.80}")
        check_state(state)
        changes = tuple(RecipeChange(**change) for change in state.pop("changes", ()))
        return State(sha256=state.pop("sha256"), progress=Progress(**state, changes=changes))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise DamagedError(f"{path} cannot be read ({fault}){_advice(checkpoint)}") from fault


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, got {name}")


def weights_digest(checkpoint: Path, names: Collection[str]) -> str:
    """Give a digest of some components' weights, which is the same for a run, its checkpoint and its export."""
    sha256 = read_state(checkpoint).sha256
    text = " ".join(sha256.get(f"{name}.safetensors", "") for name in sorted(names))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checked(checkpoint: Path, file: str, sha256: Mapping[str, str]) -> Path:
    """Verify the sha256 of a file and give its path.

    Raises:
        DamagedError: the file is missing or damaged.
    """
    path = checkpoint / file
    try:
        _require_file(path)
        found = sha256_of(path)
    except OSError as fault:
        raise DamagedError(f"{path} cannot be read ({fault}){_advice(checkpoint)}") from fault
    if found != sha256.get(file):
        wanted = sha256.get(file, "none")
        raise DamagedError(
            f"{path} is damaged: expected sha256 {wanted[:12]} ({STATE}), got {found[:12]}{_advice(checkpoint)}"
        )
    return path


def _advice(checkpoint: Path) -> str:
    return f"; remove {checkpoint} to use the previous one"


def without_advice(fault: DamagedError, checkpoint: Path) -> str:
    """Give what is damaged, for a caller that uses the previous checkpoint by itself."""
    return str(fault).removesuffix(_advice(checkpoint))


def _require_file(path: Path) -> None:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise OSError("expected a file")


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_text(progress: Progress, sha256: Mapping[str, str]) -> str:
    """Give the text of state.json."""
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
        "bad_steps": progress.bad_steps,
        "changes": [asdict(change) for change in progress.changes],
    }
