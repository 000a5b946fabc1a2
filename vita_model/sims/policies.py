"""The policies that evaluation knows: a served one, one in this process, and random commands to compare with."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vita_data.errors import RequestError
from vita_data.types import Float64
from vita_model.sims.client import ServedPolicy
from vita_model.sims.conventions import CANONICAL, checked_chunk
from vita_model.sims.interfaces import Observation, Policy, PolicyInfo

RANDOM = "random"


class RandomPolicy:
    """Uniform commands in -1 .. 1, one a step, the gripper at random open or closed."""

    def __init__(self, convention: str, *, seed: int = 0) -> None:
        self._info, self._generator = PolicyInfo(name=RANDOM, convention=convention), np.random.default_rng(seed)

    @property
    def info(self) -> PolicyInfo:
        """Whatever convention is asked for."""
        return self._info

    def reset(self) -> None:
        """Go on drawing."""

    def act(self, observation: Observation) -> Float64:
        """Draw a chunk of one command."""
        command = self._generator.uniform(-1.0, 1.0, (1, 7))
        command[:, 6] = np.sign(command[:, 6])
        return command


class LocalPolicy:
    """`vita_model.policy.VitaPolicy` in this process, giving one source's commands or canonical actions."""

    def __init__(self, path: Path, convention: str) -> None:
        """Load a run or a checkpoint.

        Raises:
            RequestError: nothing is there, or it has no constants for the convention.
        """
        self._module: Any = import_module("vita_model.policy")
        self._policy = self._module.VitaPolicy.from_pretrained(path)
        known = self._policy.signature.conventions
        if convention != CANONICAL and convention not in known:
            raise RequestError(f"{path} has no constants of {convention}; it has {', '.join(known) or 'none'}")
        constants = {} if convention == CANONICAL else known[convention].as_json()
        self._info = PolicyInfo(name=str(path), convention=convention, constants=constants)
        sources = self._policy.signature.sources
        self._source = convention if convention in sources else None

    @property
    def info(self) -> PolicyInfo:
        """The convention asked for and the checkpoint's constants."""
        return self._info

    def reset(self) -> None:
        """Do nothing: the policy keeps no history."""

    def act(self, observation: Observation) -> Float64:
        """Predict a chunk."""
        state = observation.state
        asked = self._module.Observation(
            images=observation.images,
            instruction=observation.instruction,
            state=state.values if state.mask.any() else None,
            state_mask=state.mask if state.mask.any() else None,
            source=self._source,
        )
        decision = self._policy.decide([asked])[0]
        return checked_chunk(
            self._policy.commands(decision, self._info.convention, state=asked.state), who=self._info.name
        )


def load_policy(text: str, *, convention: str, seed: int = 0) -> Policy:
    """Find a policy by what `--policy` says: `random`, `ws://HOST:PORT`, or the folder of a run or checkpoint.

    Args:
        text: the option.
        convention: whose commands are needed.
        seed: of the random policy.

    Raises:
        RequestError: there is no such policy.
        VitaDataError: the server does not answer.
    """
    if text == RANDOM:
        return RandomPolicy(convention, seed=seed)
    if "://" in text:
        return ServedPolicy(text)
    if not Path(text).is_dir():
        raise RequestError(f"--policy {text}: no such run or checkpoint; give a folder, ws://HOST:PORT or {RANDOM}")
    return LocalPolicy(Path(text), convention)
