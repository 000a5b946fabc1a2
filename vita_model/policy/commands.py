"""Check a policy's actions before they are sent to a simulator.

The policy itself converts canonical actions to commands, with the constants of its checkpoint. This module refuses
commands of another simulator, makes the gripper binary, and turns images like the policy's training images.
"""

from collections.abc import Mapping

import numpy as np

from vita_data.action_convention import CANONICAL, Flip, turned
from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Float64, Image
from vita_model.policy.interfaces import Observation, Policy, PolicyInfo, restart

_TURN_KEYS = ("flip", "orientation")
"""Keys for the turn of images: in a policy's constants, and in the shards' extras."""


class InConvention:
    """A policy whose actions are verified commands of one simulator, with a gripper of exactly -1 or 1."""

    def __init__(self, policy: Policy, wanted: str) -> None:
        """Wrap a policy.

        Raises:
            RequestError: its actions have another convention.
        """
        info = policy.info
        if info.convention != wanted:
            raise RequestError(
                f"expected actions in convention {wanted!r}, but {info.name} uses {info.convention!r}; serve it with "
                f"--convention {wanted}"
            )
        self._policy = policy

    @property
    def info(self) -> PolicyInfo:
        """Information on the wrapped policy."""
        return self._policy.info

    def reset(self) -> None:
        """Reset the wrapped policy."""
        self._policy.reset()

    def restart(self, episode: str) -> None:
        """Begin an episode, if the wrapped policy draws at random."""
        restart(self._policy, episode)

    def act(self, observation: Observation) -> Float64:
        """Give commands [H, 7].

        Raises:
            VitaDataError: the policy's answer is not a chunk of finite numbers of width 7.
        """
        actions = checked_chunk(self._policy.act(observation), who=self.info.name)
        return actions if self.info.convention == CANONICAL else binary_gripper(actions)


def checked_chunk(answer: object, *, who: str) -> Float64:
    """Verify that an answer is a chunk [H, 7].

    Raises:
        VitaDataError: it has another type or shape, or is not finite.
    """
    try:
        actions = np.asarray(answer, np.float64)
    except (TypeError, ValueError) as fault:
        raise VitaDataError(f"{who}: expected actions [H, 7] as an array of numbers ({fault})") from fault
    if actions.ndim != 2 or actions.shape[1] != 7 or not len(actions):
        raise VitaDataError(f"{who}: expected actions [H, 7], got shape {actions.shape}")
    if not np.isfinite(actions).all():
        raise VitaDataError(f"{who}: expected finite actions, got NaN or infinity; none are executed")
    return actions


def binary_gripper(commands: Float64) -> Float64:
    """Set the gripper of commands [H, 7] to -1 or 1 by its sign; CALVIN requires that, robosuite does it itself."""
    return np.column_stack([commands[:, :6], np.where(commands[:, 6] > 0.0, 1.0, -1.0)])


def oriented(image: Image, constants: Mapping[str, object]) -> Image:
    """Turn a robosuite image, which is upside down, as the policy's training images were turned.

    Args:
        image: uint8 [h, w, 3].
        constants: the policy's constants; by default, images are turned by 180 degrees, as the reader does.

    Raises:
        RequestError: the constants have an unknown turn.
    """
    name = next((str(constants[key]) for key in _TURN_KEYS if key in constants), str(Flip.ROT180))
    if name not in list(Flip):
        raise RequestError(f"the policy's constants: expected an image turn of {', '.join(Flip)}, got {name!r}")
    return turned(image, Flip(name))
