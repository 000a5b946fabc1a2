"""Finds by how many rows a hand's motion follows its actions, and how sure that is; used by probe P4 and for LIBERO.

The peak of a correlation is not enough: a slow controller spreads its response over several rows, and smooth motion is
similar in neighbouring rows. So two questions are asked. Is the motion equal to the action at exactly one lag? If not,
which is the first row whose motion an action affects, given the actions of all other rows?
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from vita_data.slots import NUM_JOINTS
from vita_data.types import Bool, Float64

MAX_LAG = 3
MIN_MARGIN = 0.4
_LAGS = range(-MAX_LAG, MAX_LAG + 1)
_EXACT, _MOVING, _MIN_SHARE = 1e-4, 0.05, 0.9
_LEAD, _TAIL = 1, 2
"""Extra rows before and after the tested lags that are fitted too, so that their response is not counted as a lag's."""
_ONSET, _MIN_SURE = 0.3, 4.0
_NUM_BLOCKS, _MIN_ROWS = 8, 40
_RANK = 1e-6
EXACT = "share of rows whose motion is the action"
_ANSWER = "answer to an action, of its strongest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The axes [A] of a motion."""

    still: Float64
    """[A] Motion per row below which an axis stands still."""
    groups: tuple[slice, ...]
    """Axes of one unit, whose motions are compared by their common length."""


HAND = Axes(still=np.array([1e-5] * 3 + [1e-4] * 3), groups=(slice(0, 3), slice(3, 6)))
"""Displacement in m and turn in rad of a hand."""
JOINTS = Axes(still=np.full(NUM_JOINTS, 1e-4), groups=(slice(0, NUM_JOINTS),))
"""Joints of an arm, in rad; those that it lacks stand still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Consecutive rows of one arm, [n, A] unless noted; row t of all fields starts at the same pose."""

    action: Float64
    """The commanded motion, such as the canonical one in m and rad."""
    target_step: Float64 | None
    """[n - 1, A] how far the target moved since the previous row, from row 1 on; None if the action is a delta."""
    motion: Float64
    """The motion of the hand, or of the joints, to the next row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The lag that was found, and the evidence for it."""

    lag: int | None
    """In rows; the likeliest lag if `is_sure` is false, None if no lag was found."""
    margin: float
    """Its lead over the next best lag, from 0 to 1."""
    is_sure: bool
    by_lag: Mapping[int, float]
    """Per lag, the share of rows whose motion equals the action, or the response relative to the strongest one."""
    what: str
    """Which of the two `by_lag` contains."""


def response(runs: Sequence[Run], *, most: Float64, expected: int, axes: Axes = HAND) -> Response | None:
    """Find by how many rows the motion follows the action; None if nothing moves in any row.

    Args:
        runs: runs of one source; all have the same lag.
        most: [A] per axis; rows with more motion are skipped, since one outlier outweighs all other rows.
        expected: the lag that the source should have.
        axes: what the columns of the runs are.
    """
    moving = [run for run in runs if len(run.motion) > 1]
    if not moving or not _moves(np.concatenate([run.motion for run in moving]), most, axes).any():
        return None
    stepping = [_stepping(run) for run in moving]
    exact = _exact(stepping, most, axes)
    if exact.is_sure:
        return exact
    found = _first_answer(moving, most, axes)
    has_targets = any(run.target_step is not None for run in moving)
    return _agreed(found, _first_answer(stepping, most, axes), expected) if has_targets else found


def _stepping(run: Run) -> Run:
    """Return a run whose actions are the steps of its targets, without rows in which these are unknown."""
    if run.target_step is None:
        return run
    return Run(action=run.target_step, target_step=None, motion=run.motion[1:])


def _agreed(by_distance: Response, by_step: Response, expected: int) -> Response:
    """Choose between the result for the targets' distance from the hand and the result for the targets' own steps.

    If a target was computed from the measured hand, its steps contain the disturbances of the hand; otherwise its
    distance does. Which kind a dataset's targets are is unknown: the result that is sure counts. If two sure results
    contradict each other, the lag is unknown, unless neither is the expected one.
    """
    if not (by_distance.is_sure and by_step.is_sure):
        return by_distance if by_distance.is_sure else by_step
    contradict = by_distance.lag != by_step.lag and expected in (by_distance.lag, by_step.lag)
    return replace(by_step, is_sure=False) if contradict else by_step


def _moves(values: Float64, most: Float64, axes: Axes) -> Bool:
    kept = values[_within(values, most)]
    size = np.sqrt(np.mean(kept**2, axis=0)) if len(kept) else np.zeros(len(axes.still))
    return np.asarray(size > axes.still)


def _within(values: Float64, most: Float64) -> Bool:
    return np.asarray((np.abs(values) <= most).all(axis=tuple(range(1, values.ndim))))


# ---------------------------------------------------------------------------------------- motion equal to the action


def _exact(runs: Sequence[Run], most: Float64, axes: Axes) -> Response:
    """Find the lag at which the motion equals the action up to one factor, as when actions are the reached poses.

    Assumes: equal means within 1e-4 of the usual motion, in nine of ten rows that move. A slow controller's response to
        a very smooth command, which looks like a delayed copy, differs by more than that.
    """
    shares: dict[int, float] = {}
    for lag in _LAGS:
        pairs = list(_pairs(runs, lag))
        told, made = (
            (np.concatenate(each) for each in zip(*pairs, strict=True)) if pairs else (np.zeros((0, len(most))),) * 2
        )
        kept = _within(told, most) & _within(made, most)
        if kept.sum() > 1:
            shares[lag] = _share_equal(told[kept], made[kept], axes)
    lag, margin = _best(shares)
    return Response(
        lag=lag, margin=margin, is_sure=margin >= MIN_MARGIN and shares[lag] >= _MIN_SHARE, by_lag=shares,
        what=EXACT,
    )  # fmt: skip


def _pairs(runs: Sequence[Run], lag: int) -> Iterator[tuple[Float64, Float64]]:
    for run in runs:
        size = len(run.motion) - abs(lag)
        if size > 0:
            yield run.action[max(0, -lag) :][:size], run.motion[max(0, lag) :][:size]


def _share_equal(told: Float64, made: Float64, axes: Axes) -> float:
    equal, moving = np.ones(len(made), bool), np.zeros(len(made), bool)
    for group in axes.groups:
        size = np.sqrt(np.mean(np.sum(made[:, group] ** 2, axis=1)))
        if size <= axes.still[group][0]:
            continue
        factor = np.sum(told[:, group] * made[:, group]) / max(np.sum(told[:, group] ** 2), np.finfo(float).tiny)
        off = np.linalg.norm(factor * told[:, group] - made[:, group], axis=1)
        equal &= (off <= _EXACT * size) & (factor > 0)
        moving |= np.linalg.norm(made[:, group], axis=1) > _MOVING * size
    return float(equal[moving].mean()) if moving.any() else 0.0


def _best(shares: Mapping[int, float]) -> tuple[int, float]:
    """Return the lag with the largest share (the smallest in size if several tie), and its lead over the next."""
    order = sorted(shares, key=lambda lag: (-shares[lag], abs(lag)))
    if not order:
        return 0, 0.0
    return order[0], shares[order[0]] - (shares[order[1]] if len(order) > 1 else 0.0)


# -------------------------------------------------------------------------------------- motion that responds to actions


def _first_answer(runs: Sequence[Run], most: Float64, axes: Axes) -> Response:
    """Find the first row whose motion an action affects, given the actions of the rows around it and the last motion.

    A controller that reaches part of a step responds in the same row and in later ones, never in an earlier one; what
    an operator or a feedback loop does in response to a motion has the opposite sign.

    Assumes: a response counts from 0.3 of the strongest one; it is sure if it exceeds all earlier ones by 0.4 of the
        strongest and by 4 standard errors.
    """
    fits = (_Fit.of(runs, most, axes, max_lag=max_lag) for max_lag in range(MAX_LAG, 0, -1))
    fit = next((fit for fit in fits if len(fit.motion) >= _MIN_ROWS), None)
    answers = np.zeros(1) if fit is None else fit.answers(np.ones(len(fit.motion), bool))
    strongest = float(answers.max())
    if fit is None or strongest <= 0:
        return Response(lag=None, margin=0.0, is_sure=False, by_lag={}, what=_ANSWER)
    first = int(np.argmax(answers >= _ONSET * strongest))
    ahead, error = float(answers[first] - max([0.0, *answers[:first]])), fit.errors()[: first + 1]
    limit = max(MIN_MARGIN * strongest, _MIN_SURE * float(np.hypot(error[-1], error.max())))
    return Response(
        lag=fit.lags[first], margin=ahead / strongest, is_sure=first >= _LEAD and ahead >= limit,
        by_lag={lag: float(answer) / strongest for lag, answer in zip(fit.lags, answers, strict=True)}, what=_ANSWER,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """The rows [N] of all runs for which every lag exists, centred: the actions at all lags and the last motion."""

    lags: range
    told: Float64
    """[N, lags + 1, A], with the last motion at the end"""
    motion: Float64
    """[N, A]"""
    axes: Axes

    @classmethod
    def of(cls, runs: Sequence[Run], most: Float64, axes: Axes, *, max_lag: int) -> Self:
        lags = range(-max_lag - _LEAD, max_lag + _TAIL + 1)
        told, motion = [np.zeros((0, len(lags) + 1, len(most)))], [np.zeros((0, len(most)))]
        for run in runs:
            rows = np.arange(lags[-1], len(run.motion) + lags[0])
            if len(rows):
                told.append(np.stack([*(run.action[rows - lag] for lag in lags), run.motion[rows - 1]], axis=1))
                motion.append(run.motion[rows])
        x, y = np.concatenate(told), np.concatenate(motion)
        kept = _within(x, most) & _within(y, most)
        return cls(lags=lags, told=x[kept], motion=y[kept], axes=axes)

    def answers(self, rows: Bool) -> Float64:
        """Fit some rows; return the responses [lags] to an action of the usual size, as shares of the usual motion.

        They are means over the axes that move, without axes whose actions are so similar in all rows that any action
        explains the others.
        """
        x, y = self.told[rows], self.motion[rows]
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        sizes = np.sqrt((x[:, :-1] ** 2).mean(axis=(0, 1))), y.std(axis=0)
        found = []
        for axis in np.flatnonzero((sizes[0] > self.axes.still) & (sizes[1] > self.axes.still)):
            told = x[:, :, axis] / np.append(np.full(len(self.lags), sizes[0][axis]), sizes[1][axis])
            answer, _, rank, _ = np.linalg.lstsq(told, y[:, axis] / sizes[1][axis], rcond=_RANK)
            if rank == told.shape[1]:
                found.append(answer[:-1])
        return np.asarray(np.mean(found, axis=0) if found else np.zeros(len(self.lags)))

    def errors(self) -> Float64:
        """Estimate the standard errors [lags] of the responses by leaving out an eighth of the rows at a time."""
        block = np.arange(len(self.motion)) * _NUM_BLOCKS // len(self.motion)
        without = np.stack([self.answers(block != number) for number in range(_NUM_BLOCKS)])
        return np.asarray(np.sqrt((_NUM_BLOCKS - 1) * without.var(axis=0)))
