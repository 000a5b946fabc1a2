"""The policies that evaluation knows: a served one, one in this process, and random commands to compare with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vita_data.action_convention import CANONICAL
from vita_data.errors import RequestError, install_extra
from vita_data.types import Float64
from vita_model.policy.commands import checked_chunk
from vita_model.policy.interfaces import API_KEY, Observation, Policy, PolicyInfo, with_source
from vita_model.training.checkpoint.run_folder import find_policy

if TYPE_CHECKING:
    from vita_model.policy.policy import VitaPolicy

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
    """`VitaPolicy` in this process, giving one source's commands or canonical actions."""

    def __init__(self, policy: "VitaPolicy", name: str, convention: str, *, source: str | None = None) -> None:
        """Wrap a loaded policy; `source` names whose statistics scale, None: the convention's own, or the only ones.

        Raises:
            RequestError: its checkpoint has no constants for the convention, needs a source, or has no such one.
        """
        known = policy.signature.conventions
        if convention != CANONICAL and convention not in known:
            raise RequestError(f"{name} has no constants for {convention}; it has {', '.join(known) or 'none'}")
        constants = {} if convention == CANONICAL else known[convention].as_json()
        spec = policy.signature
        said = PolicyInfo(
            name=name, convention=convention, constants=constants, step=spec.step, sources=spec.sources,
            digest=spec.digest,
        )  # fmt: skip
        self._policy, self._info = policy, with_source(said, source)

    @property
    def info(self) -> PolicyInfo:
        """The convention asked for and the checkpoint's constants."""
        return self._info

    def reset(self) -> None:
        """Do nothing: the policy keeps no history."""

    def act(self, observation: Observation) -> Float64:
        """Predict a chunk."""
        from vita_model.policy.policy import Observation as Question

        state = observation.state
        values, mask = (state.values, state.mask) if state.mask.any() else (None, None)
        question = Question(
            images=observation.images,
            instruction=observation.instruction,
            state=values,
            state_mask=mask,
            source=self._info.source,
        )
        decision = self._policy.decide([question])[0]
        commands = self._policy.commands(decision, self._info.convention, state=values)
        return checked_chunk(commands, who=self._info.name)


def load_policy(text: str, *, convention: str, seed: int = 0, source: str | None = None) -> Policy:
    """Find a policy by what `--policy` says: `random`, `ws://HOST:PORT`, or the folder of a run or checkpoint.

    Args:
        text: the option.
        convention: whose commands are needed.
        seed: of the random policy.
        source: whose statistics scale states and actions, where a checkpoint has several.

    Raises:
        RequestError: there is no such policy, or it does not know the source.
        VitaDataError: the server does not answer.
    """
    if text == RANDOM:
        return RandomPolicy(convention, seed=seed)
    if "://" in text:
        try:
            from vita_model.policy.client import ServedPolicy
        except ModuleNotFoundError as fault:
            raise RequestError(f"--policy {text}: {fault.name} is not installed; {install_extra('serve')}") from fault

        return ServedPolicy(text, api_key=os.environ.get(API_KEY), source=source)
    if not Path(text).is_dir():
        raise RequestError(
            f"--policy {text}: not found; expected the folder of a run or checkpoint, ws://HOST:PORT or {RANDOM}"
        )
    find_policy(Path(text))
    # torch is loaded for this kind of policy alone
    from vita_model.policy.policy import VitaPolicy

    return LocalPolicy(VitaPolicy.from_pretrained(Path(text)), text, convention, source=source)
