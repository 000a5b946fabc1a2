"""state.json of a checkpoint: where the run stands, and the sha256 of the files beside it, which readings check."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vita_data.errors import VitaDataError
from vita_data.types import Json

SCHEMA_VERSION = 3
STATE = "state.json"


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
    """By source, the constants that turn canonical actions into its simulator's (`vita_data.action_convention`)."""
    resizes: Json = field(default_factory=dict)
    """By source, how its images became square (`vita_data.types.ResizeMode`), which a policy repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What state.json says: the progress, and the sha256 of each file beside it, by name."""

    progress: Progress
    sha256: Mapping[str, str]


def load_progress(checkpoint: Path) -> Progress:
    """Read state.json of a checkpoint.

    Raises:
        VitaDataError: it is missing, damaged, or of another schema version.
    """
    return read_state(checkpoint).progress


def read_state(checkpoint: Path) -> State:
    """Read state.json of a checkpoint; raises as `load_progress`."""
    path = checkpoint / STATE
    try:
        state = json.loads(path.read_text())
        version = state.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise VitaDataError(f"{path}: expected schema version {SCHEMA_VERSION}, got {version}")
        sha256 = {str(file): str(digest) for file, digest in state.pop("sha256").items()}
        return State(progress=Progress(**state), sha256=sha256)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}); remove {checkpoint} to use the previous one") from fault


def weights_digest(checkpoint: Path, names: Collection[str]) -> str:
    """Name the weights of some components, the same in a run, its checkpoint and what was exported of them."""
    sha256 = read_state(checkpoint).sha256
    text = " ".join(sha256.get(f"{name}.safetensors", "") for name in sorted(names))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checked(checkpoint: Path, file: str, sha256: Mapping[str, str]) -> Path:
    """Give the path of a file whose bytes are those that were written.

    Raises:
        VitaDataError: it is missing or damaged.
    """
    path = checkpoint / file
    try:
        found = sha256_of(path)
    except OSError as fault:
        raise VitaDataError(f"{path} cannot be read ({fault}); remove {checkpoint} to use the previous one") from fault
    if found != sha256.get(file):
        wanted = sha256.get(file, "none")
        raise VitaDataError(
            f"{path} is damaged: expected sha256 {wanted[:12]} ({STATE}), got {found[:12]}; remove {checkpoint} to use "
            "the previous one"
        )
    return path


def sha256_of(path: Path) -> str:
    """Sum a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_text(progress: Progress, sha256: Mapping[str, str]) -> str:
    """Lay out what state.json holds."""
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
