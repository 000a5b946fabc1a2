"""Checks what a policy answers against what a simulator takes; scales and signs stay with the policy.

A policy converts its canonical actions itself, by the constants of its checkpoint; what is done here is to refuse
another simulator's commands, to make the gripper binary, and to turn images as the policy's training images were.
"""

from collections.abc import Mapping

import numpy as np

from vita_data.action_convention import CANONICAL, Flip, turned
from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Float64, Image
from vita_model.policy.interfaces import Observation, Policy, PolicyInfo

_TURN_KEYS = ("flip", "orientation")
"""What the constants call the turn of images: as a policy names it, as the shards' extras do."""


class InConvention:
    """A policy whose answers are checked commands of one simulator, the gripper exactly -1 or 1."""

    def __init__(self, policy: Policy, wanted: str) -> None:
        """Wrap a policy.

        Raises:
            RequestError: its actions come in another convention.
        """
        info = policy.info
        if info.convention != wanted:
            raise RequestError(
                f"{info.name} gives actions in the convention {info.convention!r}, {wanted!r} is needed here: serve it "
                f"with --convention {wanted}"
            )
        self._policy = policy

    @property
    def info(self) -> PolicyInfo:
        """What the wrapped policy says."""
        return self._policy.info

    def reset(self) -> None:
        """Forget what was seen."""
        self._policy.reset()

    def act(self, observation: Observation) -> Float64:
        """Give commands [H, 7].

        Raises:
            VitaDataError: what came is no chunk of width 7 of finite numbers.
        """
        actions = checked_chunk(self._policy.act(observation), who=self.info.name)
        return actions if self.info.convention == CANONICAL else binary_gripper(actions)


def checked_chunk(answer: object, *, who: str) -> Float64:
    """Take an answer as a chunk [H, 7].

    Raises:
        VitaDataError: it is none, or not finite.
    """
    try:
        actions = np.asarray(answer, np.float64)
    except (TypeError, ValueError) as fault:
        raise VitaDataError(f"{who} answered with actions that are no numbers ({fault}); [H, 7] is needed") from fault
    if actions.ndim != 2 or actions.shape[1] != 7 or not len(actions):
        raise VitaDataError(f"{who} answered with actions of shape {actions.shape}; a chunk [H, 7] is needed")
    if not np.isfinite(actions).all():
        raise VitaDataError(f"{who} answered with actions that are not finite; nothing is carried out")
    return actions


def binary_gripper(commands: Float64) -> Float64:
    """Set the gripper of commands [H, 7] to -1 or 1 by its sign: CALVIN asserts that, robosuite does it itself."""
    return np.column_stack([commands[:, :6], np.where(commands[:, 6] > 0.0, 1.0, -1.0)])


def oriented(image: Image, constants: Mapping[str, object]) -> Image:
    """Turn a robosuite image, which is upside down, as the policy's training images were turned.

    Args:
        image: uint8 [h, w, 3].
        constants: of the policy; without a word on this, images are turned by 180 degrees, the reader's default.

    Raises:
        RequestError: the constants name a turn that is not known.
    """
    name = next((str(constants[key]) for key in _TURN_KEYS if key in constants), str(Flip.ROT180))
    if name not in list(Flip):
        raise RequestError(f"the policy's constants turn images by {name!r}; {', '.join(Flip)} are known")
    return turned(image, Flip(name))
