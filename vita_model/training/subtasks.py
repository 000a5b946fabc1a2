"""Weak labels for the textual chain of thought, guessed from what an arm does: no dataset of ours labels subtasks.

Letters: B batch, H steps of a chunk, M subtasks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vita_data.slots import ARMS, GRIPPER, MOTION, TURN, XYZ
from vita_model.network.backbone import SUBTASKS

_GRASP, _LIFT, _MOVE, _PLACE, _ROTATE, _OPEN, _CLOSE, _END = (SUBTASKS.index(name) for name in (
    "grasp", "lift", "move", "place", "rotate", "open", "close", "end_subtask",
))  # fmt: skip
_SWITCH = 0.5
"""Change of the normalized gripper (-1 closed, 1 open) from one step to the next that is an event."""
_STILL = 0.1
"""Normalized motion a step below which an arm does nothing."""
_UP = 0.5
"""Share of the displacement that is vertical, from which a motion goes up or down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakSubtasks:
    """A chain of subtasks for each sample."""

    indices: Tensor
    """int64 [B, M], of `SUBTASKS`; the chain's end after the last one."""
    mask: Tensor
    """bool [B, M] up to and with the first end, where an idle arm is at once; nothing of samples without a real arm."""


def weak_subtasks(actions: Tensor, mask: Tensor, *, num_subtasks: int) -> WeakSubtasks:
    """Guess chains of subtasks from normalized actions [B, H, 14] with mask [B, H, 14].

    A step is a gripper event (closing: grasp; opening while lowering or still: place, else open), else what moves most:
    turning, rising with a closed hand (lift), or moving. Equal neighbours are one subtask. The arm that does more in a
    chunk, gripper events included, speaks for it.

    Assumes: this vocabulary and these limits; the paper names the subtasks and no labels.
    """
    steps, active, real = _steps(actions, mask)
    chain = torch.full((len(steps), num_subtasks), _END, device=steps.device)
    is_new = active.clone()
    is_new[:, 1:] &= (steps[:, 1:] != steps[:, :-1]) | ~active[:, :-1]
    place = is_new.long().cumsum(dim=1) - 1
    fits = is_new & (place < num_subtasks)
    sample, step = fits.nonzero(as_tuple=True)
    chain[sample, place[sample, step]] = steps[sample, step]
    ended = (chain == _END).long()
    known = (ended.cumsum(dim=1) - ended == 0) & real.any(dim=1, keepdim=True)
    return WeakSubtasks(indices=chain, mask=known)


def _steps(actions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Name the subtask of each step [B, H]; say which steps are real and not idle, and which are real."""
    clean = torch.where(mask, actions, 0.0).float()
    busier = torch.stack([_business(clean[..., arm], mask[..., arm]) for arm in ARMS]).argmax(dim=0)
    each = torch.arange(len(clean), device=clean.device)
    arm = torch.stack([clean[..., arm] for arm in ARMS])[busier, each]
    real = torch.stack([mask[..., arm].any(dim=-1) for arm in ARMS])[busier, each]
    shift, turn, gripper = arm[..., XYZ].norm(dim=-1), arm[..., TURN].norm(dim=-1), arm[..., GRIPPER]
    change = torch.diff(gripper, dim=1, prepend=gripper[:, :1])
    rises = arm[..., 2] > _UP * shift
    lowers = arm[..., 2] < -_UP * shift
    named = torch.where(rises & (gripper < 0), _LIFT, _MOVE)
    named = torch.where(turn > shift, _ROTATE, named)
    named = torch.where(change < -_SWITCH, _GRASP, named)
    opening = torch.where(lowers | (shift < _STILL), _PLACE, _OPEN)
    named = torch.where(change > _SWITCH, opening, named)
    active = (shift.maximum(turn) >= _STILL) | (change.abs() > _SWITCH)
    return named, real & active, real


def _business(arm: Tensor, mask: Tensor) -> Tensor:
    """Say how much an arm [B, H, 7] does: motion and changes of the gripper, [B]; below 0 where none of it is real."""
    done = arm[..., MOTION].abs().sum(dim=(1, 2)) + torch.diff(arm[..., GRIPPER], dim=1).abs().sum(dim=1)
    return torch.where(mask.flatten(1).any(dim=1), done, -1.0)
