"""The checked request for a plan, with each stage's defaults (vita_data/README.md) filled in."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from vita_data.config.checks import is_finite, is_whole, plain
from vita_data.errors import ManifestError, RequestError
from vita_data.loader.order.pool import OpenEntry
from vita_data.types import Basis, CameraRole, DrawOrder, Modality, Stage, Starts, WindowSpec

MODALITIES: Mapping[Stage, tuple[Modality, ...]] = {
    Stage.WARMUP: (Modality.VIDEO, Modality.ACTION, Modality.PAIRED),
    Stage.COTRAIN: (Modality.VIDEO, Modality.PAIRED),
    Stage.FINETUNE: (Modality.PAIRED,),
}
"""The modalities of each stage."""
_ASKED_FOR: Mapping[Stage, frozenset[Modality]] = {Stage.WARMUP: frozenset({Modality.PAIRED})}
"""Modalities that are used only on request: by a share in modality_steps, or by `also`."""

GLOBAL_ORDER = DrawOrder()

_HORIZON = 12
_MAX_BATCH = 1 << 20
_VIEWS = f"distinct cameras among {', '.join(CameraRole)}, primary first"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """The arguments of `Plan.from_manifest` besides manifest and shards; None means the default."""

    stage: Stage
    batch_size: int | Mapping[str, int]
    seed: int = 0
    windows: WindowSpec | None = None
    modality_steps: Mapping[str, float] | None = None
    also: Collection[Modality] = ()
    """Modalities that get half of the steps, if sources have such windows and modality_steps is not given; the stage's
    usual modalities share the other half."""
    basis: Basis | None = None
    order: DrawOrder = GLOBAL_ORDER
    joints: bool = False
    """Whether actions in batches include joint targets."""

    def __post_init__(self) -> None:
        """Refuse values that no data could satisfy.

        Raises:
            RequestError: names the argument, the value found and the expected values.
        """
        if self.modality_steps is not None:
            self._check_numbers("modality_steps", self.modality_steps)
            if not any(self.modality_steps.values()):
                raise RequestError("modality_steps: at least one modality needs a share above 0")
        if isinstance(self.batch_size, Mapping):
            self._check_numbers("batch_size", self.batch_size)
        if self.windows is not None:
            _check_windows(self.windows)
        if not isinstance(self.joints, bool):
            raise RequestError(f"joints: expected True or False, got {self.joints!r}")
        if type(self.order.num_shards) is not int or self.order.num_shards < 1:
            raise RequestError(f"{self.order}: num_shards must be a whole number of at least 1")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The stage's modalities, without those that modality_steps omits and those that were not requested."""
        return drawn_modalities(self.stage, self.modality_steps, self.also)

    def batch_sizes(self, used: Sequence[Modality]) -> Mapping[Modality, int]:
        """Return the batch size of each modality in use.

        Raises:
            RequestError: a modality has none.
        """
        given = self.batch_size if isinstance(self.batch_size, Mapping) else dict.fromkeys(used, self.batch_size)
        for modality in used:
            size = given.get(modality)
            if type(size) is not int or not 1 <= size <= _MAX_BATCH:
                raise RequestError(
                    f"batch_size: stage {self.stage} needs a whole number from 1 to {_MAX_BATCH} for "
                    f"{modality} batches; found {self.batch_size!r}"
                )
        return {modality: given[modality] for modality in used}

    def given_steps(self, used: Sequence[Modality]) -> Mapping[Modality, float] | None:
        """Normalize modality_steps over the modalities in use; None if none were given.

        Raises:
            ManifestError: a modality with a share has no windows.
        """
        if self.modality_steps is None:
            return None
        for modality in self.modalities:
            if modality not in used:
                raise ManifestError(f"modality_steps asks for {modality} batches, but no source has {modality} windows")
        largest = max(self.modality_steps[modality] for modality in used)
        parts = {modality: self.modality_steps[modality] / largest for modality in used}
        return {modality: part / sum(parts.values()) for modality, part in parts.items()}

    def _check_numbers(self, name: str, given: Mapping[str, float]) -> None:
        known = MODALITIES[self.stage]
        for key, value in given.items():
            if key not in list(known):
                raise RequestError(f"{name}: stage {self.stage} has no {key!r} batches, only {', '.join(known)}")
            if not is_finite(value) or value < 0:
                raise RequestError(f"{name}: {key} must be a finite number, 0 or more; found {value!r}")


def drawn_modalities(
    stage: Stage, modality_steps: Mapping[str, float] | None, also: Collection[Modality]
) -> tuple[Modality, ...]:
    """List the modalities that a stage draws if sources have such windows; see `PlanRequest`."""
    left_out = _ASKED_FOR.get(stage, frozenset()) - set(also)
    return tuple(
        m for m in MODALITIES[stage] if (m not in left_out if modality_steps is None else modality_steps.get(m, 0) > 0)
    )


def plain_sizes(given: int | Mapping[str, int]) -> int | Mapping[str, int]:
    """Return batch sizes with numpy's whole numbers as ints; the plan checks them."""
    sizes: Any = {key: plain(value) for key, value in given.items()} if isinstance(given, Mapping) else plain(given)
    return sizes  # type: ignore[no-any-return]


def stage_named(stage: Stage | str) -> Stage:
    """Return the stage with a name.

    Raises:
        RequestError: the stage does not exist.
    """
    try:
        return Stage(stage)
    except ValueError:
        raise RequestError(f"unknown stage {stage!r}; the stages are: {', '.join(Stage)}") from None


def default_windows(stage: Stage, opened: Sequence[OpenEntry]) -> WindowSpec:
    """Return a stage's windows: F = 1, 12, 0; fine-tuning starts at all rows and adds the right wrist.

    It adds the left wrist if any clip has one; a camera that a clip lacks is masked.
    """
    if stage is not Stage.FINETUNE:
        return WindowSpec(starts=Starts.KEYFRAMES, horizon=_HORIZON, futures=1 if stage is Stage.WARMUP else 12)
    two_arms = any(
        CameraRole.WRIST_LEFT in pc.list_flatten(one.column("cameras")).unique().to_pylist() for one in opened
    )
    wrists = (CameraRole.WRIST_LEFT, CameraRole.WRIST_RIGHT) if two_arms else (CameraRole.WRIST_RIGHT,)
    return WindowSpec(starts=Starts.ROWS, horizon=_HORIZON, futures=0, views=(CameraRole.PRIMARY, *wrists))


def _check_windows(spec: object) -> None:
    if not isinstance(spec, WindowSpec):
        raise RequestError(f"windows: expected a WindowSpec, got {type(spec).__name__}")
    for name, fits, wanted in _window_rules(spec):
        if not fits:
            raise RequestError(f"windows: expected {name} to be {wanted}, got {getattr(spec, name)!r}")


def _window_rules(spec: WindowSpec) -> Iterator[tuple[str, bool, str]]:
    """Yield each field with whether its value fits and what was wanted."""
    yield "starts", spec.starts in list(Starts), " or ".join(Starts)
    yield "horizon", is_whole(spec.horizon, least=1), "a whole number from 1"
    yield "futures", is_whole(spec.futures, least=0), "a whole number from 0"
    yield "min_futures", is_whole(spec.min_futures, least=0, most=spec.futures), f"0 to futures={spec.futures}"
    yield "frame_interval_s", _is_duration(spec.frame_interval_s), "a number of seconds above 0"
    yield "chunk_s", spec.chunk_s is None or _is_duration(spec.chunk_s), "None or a number of seconds above 0"
    yield "views", _are_views(spec.views), _VIEWS


def _are_views(views: object) -> bool:
    if not isinstance(views, tuple) or not views or any(view not in list(CameraRole) for view in views):
        return False
    return len(set(views)) == len(views) and views[0] == CameraRole.PRIMARY


def _is_duration(value: object) -> bool:
    return is_finite(value) and float(str(value)) > 0
