"""Reads the files of a training run as typed values: metrics, evaluations and the newest previews.

Knows the format of these files but not the model that wrote them. No other files are opened.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.errors import RequestError, ShardError
from vita_data.formats.json_text import parse_json
from vita_data.nearby import meant, near_name
from vita_data.types import Bool, Float64

METRICS = "metrics.jsonl"
EVALUATION, EVALUATIONS = "evaluation.json", "evaluation.jsonl"
PREVIEWS = "previews"
ACTION_PREVIEW_DIM = 14
_WORDS = ("step", "stage", "modality", "shares")
_CODED = "token_perplexity"
"""Logged by each step whose encodings were mapped to codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One scalar over the steps of one modality, both [N]."""

    metric: str
    modality: str
    step: Float64
    value: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The content of metrics.jsonl: scalars by step and, per modality, the share of samples from each source so far."""

    stages: tuple[str, ...]
    num_steps: int
    curves: tuple[Curve, ...]
    shares: Mapping[str, Mapping[str, float]]
    num_steps_of: Mapping[str, int]
    """Number of logged steps per modality, the most frequent first."""
    continuous: tuple[int, int] | None
    """First and last step of a warmup's continuous phase, in which encodings are not mapped to codes; None without."""

    def of(self, metric: str) -> tuple[Curve, ...]:
        """Return the curves of one scalar, one per modality."""
        return tuple(curve for curve in self.curves if curve.metric == metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePreview:
    """A picture and the step after which it was drawn."""

    step: int
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures after a step by name (see vita_model/README.md), and sentences that explain them."""

    step: int
    figures: Mapping[str, float]
    verdict: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPreview:
    """Action chunks [S, H, 14] in normalized units, with the mask of valid values."""

    step: int
    true: Float64
    predicted: Float64
    mask: Bool


def read_metrics(run: Path) -> Metrics:
    """Read a run's metrics.

    Raises:
        RequestError: the folder is not a run, or the run has not written a step yet.
        ShardError: a line other than the last is damaged.
    """
    path = run / METRICS
    if not path.is_file():
        hint = near_name(run) or meant(run, lambda one: (one / METRICS).is_file())
        hint = hint or "; give a folder that `vita-train --out` wrote"
        told = f"{METRICS} not found in it" if run.is_dir() else "expected the folder of a run, but it does not exist"
        raise RequestError(f"--run {run}: {told}{hint}")
    rows = list(_rows(path))
    if not rows:
        raise RequestError(f"--run {run}: {METRICS} contains no steps yet; wait for the first step, or omit this run")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for metric, value in row.items():
            if metric not in _WORDS and isinstance(value, int | float):
                found.setdefault((metric, str(row["modality"])), []).append((row["step"], value))
    curves = [_curve(metric, modality, points) for (metric, modality), points in found.items()]
    return Metrics(
        stages=tuple(dict.fromkeys(str(row["stage"]) for row in rows)), num_steps=int(rows[-1]["step"]),
        curves=tuple(curves), shares={row["modality"]: row["shares"] for row in rows if row.get("shares")},
        num_steps_of=dict(Counter(str(row["modality"]) for row in rows).most_common()), continuous=_continuous(rows),
    )  # fmt: skip


def read_evaluation(run: Path) -> Evaluation | None:
    """Read a run's newest evaluation; None if it has none.

    Raises:
        ShardError: the file is damaged.
    """
    path = run / EVALUATION
    return _evaluation(path.read_text(), str(path)) if path.is_file() else None


def read_evaluations(run: Path) -> tuple[Evaluation, ...]:
    """Read all of a run's evaluations in the order of steps; earlier versions of training wrote none.

    Raises:
        ShardError: a line is damaged.
    """
    path = run / EVALUATIONS
    lines = path.read_text().splitlines() if path.is_file() else []
    return tuple(_evaluation(line, f"{path} line {number}") for number, line in enumerate(lines, 1))


def newest_frames(run: Path) -> PicturePreview | None:
    """Read the newest picture of predicted frames; None if the run has none."""
    return _picture(run, "frames.jpg")


def newest_latents(run: Path) -> PicturePreview | None:
    """Read the newest picture of the latents; None if the run has none."""
    return _picture(run, "latents.jpg")


def _picture(run: Path, ending: str) -> PicturePreview | None:
    path = _newest(run, ending)
    return None if path is None else PicturePreview(step=_step(path), jpeg=path.read_bytes())


def _evaluation(content: str, where: str) -> Evaluation:
    try:
        value = parse_json(content)
        figures = {name: float(one) for name, one in value.items() if isinstance(one, int | float) and name != "step"}
        verdict = tuple(str(line) for line in value.get("verdict", ()))
        return Evaluation(step=int(value["step"]), figures=figures, verdict=verdict)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{where}: expected a step and figures, got {error!r}; remove it, the run writes a new one"
                         ) from error  # fmt: skip


def newest_actions(run: Path) -> ActionPreview | None:
    """Read the newest predicted action chunks; None if the run has none.

    Raises:
        ShardError: the file does not have the format of this version.
    """
    path = _newest(run, "actions.json")
    if path is None:
        return None
    try:
        value = parse_json(path.read_text())
        true, predicted = (np.asarray(value[name], np.float64) for name in ("true", "predicted"))
        mask = np.asarray(value["mask"], bool)
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: cannot be read ({error!r}); remove it, the run writes a new one") from error
    if not (true.shape == predicted.shape == mask.shape and mask.ndim == 3 and mask.shape[2] == ACTION_PREVIEW_DIM):
        raise ShardError(f"{path}: true {true.shape}, predicted {predicted.shape} and mask {mask.shape} must all be "
                         f"[samples, H, {ACTION_PREVIEW_DIM}]")  # fmt: skip
    return ActionPreview(step=_step(path), true=true, predicted=predicted, mask=mask)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = parse_json(line)
            row["step"], row["stage"], row["modality"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                return  # a running or crashed run may leave an incomplete last line
            raise ShardError(f"{path} line {number}: expected step, stage and modality, got {error!r}") from error
        yield row


def _continuous(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Find the steps before the first one with codes; None if all steps have codes, or none has."""
    first = next((at for at, row in enumerate(rows) if _CODED in row), 0)
    is_warmup = rows[0]["stage"] == "warmup"
    return (int(rows[0]["step"]), int(rows[first - 1]["step"])) if first and is_warmup else None


def _curve(metric: str, modality: str, points: Sequence[tuple[float, float]]) -> Curve:
    values = np.array(points, np.float64)
    return Curve(metric=metric, modality=modality, step=values[:, 0], value=values[:, 1])


def _newest(run: Path, ending: str) -> Path | None:
    found = [path for path in (run / PREVIEWS).glob(f"step-*-{ending}") if path.name.split("-")[1].isdigit()]
    return max(found, key=_step, default=None)


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
