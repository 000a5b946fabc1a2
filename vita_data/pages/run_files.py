"""The files that a training run leaves, read back as typed values: metrics.jsonl and the newest previews.

Knows the form of these files and nothing of the model that wrote them. A run stands alone: nothing else is opened.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.errors import RequestError, ShardError
from vita_data.nearby import meant
from vita_data.types import Bool, Float64

METRICS = "metrics.jsonl"
PREVIEWS = "previews"
ACTION_PREVIEW_DIM = 14
_WORDS = ("step", "stage", "modality", "shares")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One scalar over the steps of one modality, both [N]."""

    metric: str
    modality: str
    step: Float64
    value: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What metrics.jsonl says: scalars step by step and, per modality, the share of samples each source had so far."""

    stages: tuple[str, ...]
    num_steps: int
    curves: tuple[Curve, ...]
    shares: Mapping[str, Mapping[str, float]]

    def of(self, metric: str) -> tuple[Curve, ...]:
        """The curves of one scalar, one a modality."""
        return tuple(curve for curve in self.curves if curve.metric == metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePreview:
    """A grid of images: a row a sample; start, true futures, predicted futures."""

    step: int
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPreview:
    """Action chunks [S, H, 14] in normalized units, with the mask of what is real."""

    step: int
    true: Float64
    predicted: Float64
    mask: Bool


def read_metrics(run: Path) -> Metrics:
    """Read a run's metrics.

    Raises:
        RequestError: the folder is no run, or the run has not written a step yet.
        ShardError: a line other than the last is damaged.
    """
    path = run / METRICS
    if not path.is_file():
        hint = meant(run, lambda one: (one / METRICS).is_file()) or "; give a folder that `vita-train --out` wrote"
        raise RequestError(f"--run {run}: {METRICS} is missing there{hint}")
    rows = list(_rows(path))
    if not rows:
        raise RequestError(f"--run {run}: {METRICS} holds no step yet; wait for the first, or leave this run out")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for metric, value in row.items():
            if metric not in _WORDS and isinstance(value, int | float):
                found.setdefault((metric, str(row["modality"])), []).append((row["step"], value))
    curves = [_curve(metric, modality, points) for (metric, modality), points in found.items()]
    return Metrics(
        stages=tuple(dict.fromkeys(str(row["stage"]) for row in rows)), num_steps=int(rows[-1]["step"]),
        curves=tuple(curves), shares={row["modality"]: row["shares"] for row in rows if row.get("shares")},
    )  # fmt: skip


def newest_frames(run: Path) -> FramePreview | None:
    """Read the newest picture of predicted frames, None if the run has none."""
    path = _newest(run, "frames.jpg")
    return None if path is None else FramePreview(step=_step(path), jpeg=path.read_bytes())


def newest_actions(run: Path) -> ActionPreview | None:
    """Read the newest predicted action chunks, None if the run has none.

    Raises:
        ShardError: the file is not in the form of this version.
    """
    path = _newest(run, "actions.json")
    if path is None:
        return None
    try:
        value = json.loads(path.read_text())
        true, predicted = (np.asarray(value[name], np.float64) for name in ("true", "predicted"))
        mask = np.asarray(value["mask"], bool)
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: cannot be read ({error!r}); remove it, the run writes another") from error
    if not (true.shape == predicted.shape == mask.shape and mask.ndim == 3 and mask.shape[2] == ACTION_PREVIEW_DIM):
        raise ShardError(f"{path}: true {true.shape}, predicted {predicted.shape} and mask {mask.shape} must all be "
                         f"[samples, H, {ACTION_PREVIEW_DIM}]")  # fmt: skip
    return ActionPreview(step=_step(path), true=true, predicted=predicted, mask=mask)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row["step"], row["stage"], row["modality"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return  # a run that is being written, or died, may leave half a line
            raise ShardError(f"{path} line {number}: is no row of step, stage and modality ({error!r})") from error
        yield row


def _curve(metric: str, modality: str, points: Sequence[tuple[float, float]]) -> Curve:
    values = np.array(points, np.float64)
    return Curve(metric=metric, modality=modality, step=values[:, 0], value=values[:, 1])


def _newest(run: Path, ending: str) -> Path | None:
    found = [path for path in (run / PREVIEWS).glob(f"step-*-{ending}") if path.name.split("-")[1].isdigit()]
    return max(found, key=_step, default=None)


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
