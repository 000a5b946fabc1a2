"""Scales physical units to the network's inputs, and back, by a source's q01 and q99 (vita_data/README.md).

Works with the JSON form of the statistics, which both a plan and a checkpoint contain, so that a policy scales as in
training. Columns without statistics count as masked, since they have no scale.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from vita_data.errors import RequestError
from vita_data.shards.schema import json_bytes
from vita_data.slots import (
    ACTION_DIM,
    BATCH_COLUMNS,
    GRIPPER,
    JOINT_TARGETS,
    LEFT_ACTION,
    LEFT_STATE,
    RIGHT_ACTION,
    RIGHT_STATE,
    STATE_DIM,
    STATE_GRIPPER,
    STATE_ROT6D,
    batch_columns,
)
from vita_data.types import Bool, Float32, Float64, Int64, Json

ACTION14 = np.array(BATCH_COLUMNS)
"""Columns of the 40 that a batch holds: the left arm's canonical action, then the right arm's."""
MIN_RANGE = 1e-6
_LIMIT = 2.0


class Rule(Enum):
    """How a column is scaled."""

    QUANTILES = "2 (x - q01) / (q99 - q01) - 1, clipped"
    UNIT = "0..1 to -1..1"
    NONE = "unchanged"


def _rules(dim: int, *, unit: tuple[int, ...], unchanged: tuple[int, ...] = ()) -> tuple[Rule, ...]:
    return tuple(
        Rule.UNIT if column in unit else Rule.NONE if column in unchanged else Rule.QUANTILES for column in range(dim)
    )


ACTION_RULES = _rules(ACTION_DIM, unit=tuple(arm + GRIPPER for arm in (LEFT_ACTION, RIGHT_ACTION)))
STATE_RULES = _rules(
    STATE_DIM,
    unit=tuple(arm + STATE_GRIPPER for arm in (LEFT_STATE, RIGHT_STATE)),
    unchanged=tuple(
        column for arm in (LEFT_STATE, RIGHT_STATE) for column in range(arm + STATE_ROT6D.start, arm + STATE_ROT6D.stop)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """y = (x - shift) * scale per column [D], clipped where `clipped`; a column with scale 0 becomes 0.

    The arrays may have leading axes that match those of the values.
    """

    shift: Float64
    scale: Float64
    clipped: Bool
    known: Bool
    """Columns that can be scaled: they have statistics or need none."""

    @classmethod
    def of(cls, stats: Mapping[str, Any] | None, rules: tuple[Rule, ...]) -> Self:
        """Make the scaling of a vector from its part of stats.json; None if the source does not have the vector."""
        dim = len(rules)
        quantiles = np.array([rule is Rule.QUANTILES for rule in rules])
        unit = np.array([rule is Rule.UNIT for rule in rules])
        known = ~quantiles if stats is None else ~quantiles | np.array(stats["mask"], bool)
        shift, scale = np.where(unit, 0.5, 0.0), np.where(unit, 2.0, 1.0)
        if stats is not None:
            low, high = (np.array([x or 0.0 for x in stats[name]]) for name in ("q01", "q99"))
            span = high - low
            wide = span >= MIN_RANGE
            shift = np.where(quantiles, low + span / 2, shift)
            scale = np.where(quantiles, np.divide(2.0, span, out=np.zeros(dim), where=wide), scale)
        return cls(shift=shift, scale=scale, clipped=quantiles, known=known)

    def take(self, columns: Int64) -> Self:
        """Keep some columns, in that order."""
        return type(self)(
            shift=self.shift[columns], scale=self.scale[columns], clipped=self.clipped[columns],
            known=self.known[columns],
        )  # fmt: skip

    @classmethod
    def stack(cls, scalings: Sequence[Self]) -> Self:
        """Stack the scalings of several sources as rows [S, D]."""
        return cls(**{one.name: np.stack([getattr(each, one.name) for each in scalings]) for one in fields(cls)})

    def rows(self, numbers: Int64, *, num_axes: int) -> Self:
        """Take rows [n] of a stack, shaped for values with `num_axes` axes [n, ..., D]."""
        shape = (len(numbers), *(1,) * (num_axes - 2), -1)
        return type(self)(**{one.name: getattr(self, one.name)[numbers].reshape(shape) for one in fields(self)})

    def normalize(self, values: Float32, real: Bool) -> Float32:
        """Scale values [..., D] in physical units; entries that are not `real` [..., D] become 0."""
        real = real & self.known
        # Values that are not real may be anything, even infinite.
        scaled = (np.where(real, values, np.float32(0)) - self.shift) * self.scale
        scaled = np.where(self.clipped, np.clip(scaled, -_LIMIT, _LIMIT), scaled)
        return np.where(real, scaled, 0.0).astype(np.float32)

    def unnormalize(self, values: Float32) -> Float32:
        """Convert scaled values [..., D] back to physical units; a constant column gets its middle value."""
        inverse = np.divide(1.0, self.scale, out=np.zeros(len(self.scale)), where=self.scale != 0)
        return (values * inverse + self.shift).astype(np.float32)


def action_scaling(statistics: Mapping[str, Json], source: str, *, joints: bool = False) -> Scaling:
    """Return the scaling of a source's actions [..., 14], from the statistics of a plan or a checkpoint.

    `joints` adds the joint targets: [..., 28].

    Raises:
        RequestError: they do not contain that source.
    """
    columns = np.array(batch_columns(joints=joints))
    return Scaling.of(_part(statistics, source, "action"), ACTION_RULES).take(columns)


def unnormalize_actions(actions: ArrayLike, source: str | Sequence[str], statistics: Mapping[str, Json]) -> Float32:
    """Convert the normalized actions of a batch, or a model's predictions of them, back to m, rad and 0 to 1.

    Args:
        actions: [..., 14], or [..., 28] with joint targets; an array or a tensor of any device. It is not clipped.
        source: whose statistics to use; or one source for each sample, as in `batch.source`.
        statistics: `loader.plan.statistics`, also after a way through JSON.

    Returns:
        An array of the same shape. Columns that the source does not have are 0, constant ones their middle value.

    Raises:
        RequestError: the statistics are no mapping or do not contain a source, or the shape does not fit.
    """
    values = _as_array(actions)
    if not isinstance(statistics, Mapping):
        raise RequestError(
            f"statistics: expected the mapping `loader.plan.statistics`, got {type(statistics).__name__}; of a JSON "
            "file give what json.loads returns"
        )
    if isinstance(source, str):
        return _physical(values, source, statistics)
    if len(source) != len(values):
        raise RequestError(f"expected a source for each of {len(values)} samples, got {len(source)}")
    rows = [_physical(row, each, statistics) for row, each in zip(values, source, strict=True)]
    return np.stack(rows) if rows else values


def _as_array(values: Any) -> Float32:
    """Take numbers out of a tensor too, without torch: numpy itself takes none with a gradient or of a GPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float()
    array = np.asarray(values, np.float32)
    if array.ndim == 0 or array.shape[-1] not in (len(batch_columns(joints=joints)) for joints in (False, True)):
        raise RequestError(f"expected actions [..., 14] or [..., 28], got shape {list(array.shape)}")
    return array


def _physical(values: Float32, source: str, statistics: Mapping[str, Json]) -> Float32:
    columns = np.array(batch_columns(joints=values.shape[-1] != len(BATCH_COLUMNS)))
    part = _part(statistics, source, "action")
    has = np.zeros(len(columns), bool) if part is None else np.array(part["mask"], bool)[columns]
    back = Scaling.of(part, ACTION_RULES).take(columns).unnormalize(np.where(has, values, np.float32(0)))
    return np.where(has, back, np.float32(0))


def acts_by_joints(statistics: Mapping[str, Json], source: str) -> bool:
    """Tell whether a source has an arm with joint targets and no motion of the hand; raises like `action_scaling`."""
    part = _part(statistics, source, "action")
    arms = (LEFT_ACTION, RIGHT_ACTION)
    return part is not None and any(part["mask"][arm + JOINT_TARGETS] and not part["mask"][arm] for arm in arms)


def state_scaling(statistics: Mapping[str, Json], source: str) -> Scaling:
    """Return the scaling of a source's states [..., 64]; otherwise like `action_scaling`."""
    return Scaling.of(_part(statistics, source, "state"), STATE_RULES)


def scaling_digest(statistics: Mapping[str, Json], source: str) -> str:
    """Hash the numbers that a source's actions and states are scaled by; raises like `action_scaling`."""
    parts = [_part(statistics, source, vector) for vector in ("action", "state")]
    figures = [None if part is None else [part[name] for name in ("q01", "q99", "mask")] for part in parts]
    return hashlib.sha256(json_bytes(figures)).hexdigest()


def _part(statistics: Mapping[str, Json], source: str, vector: str) -> Mapping[str, Any] | None:
    file: Any = statistics.get(source)
    if file is None:
        raise RequestError(f"no statistics of source {source!r}; available: {', '.join(sorted(statistics))}")
    part: Mapping[str, Any] | None = file["source"][source].get(vector)
    return part
