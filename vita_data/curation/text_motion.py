"""Compares an instruction with what the grippers do: cheap, and only where the text is plain about it."""

import re

import numpy as np

from vita_data.slots import GRIPPER, LEFT_ACTION, RIGHT_ACTION
from vita_data.types import Clip, Float32

_CLOSED, _OPEN = 0.3, 0.7
"""Below and above these, a gripper (0 closed, 1 open) is closed and open."""
_GRASPS = re.compile(r"\b(pick|grasp|grab|lift|take)(s|ed|ing)?\b")
_RELEASES = re.compile(r"\b(place|put|release|drop|stack)(s|d|ed|ing)?\b")


def text_doubt(clip: Clip, idle_share: float | None) -> str:
    """Say what an instruction names and the actions lack; empty if nothing, or if there is neither text nor action.

    A gripper that is closed from the first row on may hold an object already: that is no doubt.
    """
    text = clip.instruction.text.lower()
    if not text or clip.action is None:
        return ""
    if idle_share == 1.0:
        return "nothing moves"
    grippers = _grippers(clip)
    if not grippers:
        return ""
    if (verb := _GRASPS.search(text)) and not any((gripper < _CLOSED).any() for gripper in grippers):
        return f"says {verb[1]}, but no gripper closes"
    if (verb := _RELEASES.search(text)) and not any((gripper > _OPEN).any() for gripper in grippers):
        return f"says {verb[1]}, but no gripper opens"
    return ""


def _grippers(clip: Clip) -> list[Float32]:
    """Return the commands [T] of each gripper in the rows that may be learned from."""
    if clip.action is None:
        return []
    track, valid = clip.action.track, clip.action.is_valid
    columns = [start + GRIPPER for start in (LEFT_ACTION, RIGHT_ACTION)]
    return [np.asarray(track.values[valid, column]) for column in columns if track.mask[column] and valid.any()]
