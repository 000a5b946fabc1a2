"""Weak labels for the textual chain of thought, guessed from the arm's motion, because no source labels subtasks.

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
"""Change of the normalized gripper (-1 closed, 1 open) between two steps that counts as an event."""
_STILL = 0.1
"""Normalized motion per step below which an arm is idle."""
_UP = 0.5
"""A motion goes up or down if its vertical part exceeds this share of the displacement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakSubtasks:
    """A sequence of subtasks for each sample."""

    indices: Tensor
    """int64 [B, M] indices in `SUBTASKS`; `end_subtask` after the last one."""
    mask: Tensor
    """bool [B, M] True up to and including the first end; False everywhere where no arm's motion is known."""


def weak_subtasks(actions: Tensor, mask: Tensor, *, num_subtasks: int) -> WeakSubtasks:
    """Guess sequences of subtasks from normalized actions [B, H, A] with mask [B, H, A].

    A step with a gripper event is grasp (closing), place (opening while lowering or idle) or open (other opening).
    Other steps are rotate (if turning dominates), lift (rising with a closed hand) or move. Equal neighbours count as
    one subtask. Of two arms, the one that moves more, including gripper events, is used.

    Assumes: this mapping and these limits; the paper lists the subtasks, but no labels.
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
    """Give the subtask of each step [B, H], which steps are unmasked and not idle, and which are unmasked."""
    clean = torch.where(mask, actions, 0.0).float()
    busier = torch.stack([_activity(clean[..., arm], mask[..., arm]) for arm in ARMS]).argmax(dim=0)
    each = torch.arange(len(clean), device=clean.device)
    arm = torch.stack([clean[..., arm] for arm in ARMS])[busier, each]
    real = torch.stack([mask[..., arm][..., MOTION].any(dim=-1) for arm in ARMS])[busier, each]
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


def _activity(arm: Tensor, mask: Tensor) -> Tensor:
    """Measure the activity of an arm [B, H, 7]: motion and gripper changes, [B]; -1 if its motion is masked."""
    done = arm[..., MOTION].abs().sum(dim=(1, 2)) + torch.diff(arm[..., GRIPPER], dim=1).abs().sum(dim=1)
    return torch.where(mask[..., MOTION].flatten(1).any(dim=1), done, -1.0)
