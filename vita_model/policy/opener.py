"""The policies for evaluation: on a server, in this process, or random commands as a baseline."""

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vita_data.action_convention import CANONICAL
from vita_data.errors import RequestError
from vita_data.installation import install_extra
from vita_data.nearby import near_name
from vita_data.types import Float64
from vita_model.policy.commands import checked_chunk
from vita_model.policy.interfaces import API_KEY, Observation, Policy, PolicyInfo, with_source
from vita_model.training.checkpoint.run_folder import find_policy

if TYPE_CHECKING:
    from vita_model.policy.policy import VitaPolicy

RANDOM = "random"


class RandomPolicy:
    """Uniform commands in -1 .. 1, one per step, with a randomly open or closed gripper."""

    def __init__(self, convention: str, *, seed: int = 0) -> None:
        self._info, self._seed = PolicyInfo(name=RANDOM, convention=convention), seed
        self._generator = np.random.default_rng(seed)

    @property
    def info(self) -> PolicyInfo:
        """The requested convention."""
        return self._info

    def reset(self) -> None:
        """Do nothing; commands are drawn from one continuous stream."""

    def restart(self, episode: str) -> None:
        """Begin the stream of an episode."""
        self._generator = np.random.default_rng([self._seed, zlib.crc32(episode.encode())])

    def act(self, observation: Observation) -> Float64:
        """Draw a chunk of one command."""
        command = self._generator.uniform(-1.0, 1.0, (1, 7))
        command[:, 6] = np.sign(command[:, 6])
        return command


class LocalPolicy:
    """`VitaPolicy` in this process, with canonical actions or the commands of one source."""

    def __init__(self, policy: "VitaPolicy", name: str, convention: str, *, source: str | None = None) -> None:
        """Wrap a loaded policy; `source` selects the statistics; None: those of the convention, or the only ones.

        Raises:
            RequestError: the checkpoint has no constants for the convention, needs a source, or does not have it.
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
        """The requested convention and the checkpoint's constants."""
        return self._info

    def reset(self) -> None:
        """Do nothing: the policy keeps no history."""

    def act(self, observation: Observation) -> Float64:
        """Predict a chunk."""
        from vita_model.policy.observations import Observation as Question

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
    """Open the policy given by `--policy`: `random`, `ws://HOST:PORT`, or the folder of a run or checkpoint.

    Args:
        text: value of the option.
        convention: convention of the commands.
        seed: seed of the random policy.
        source: source whose statistics scale states and actions, if a checkpoint has several.

    Raises:
        RequestError: the policy does not exist, or does not have the source.
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
        expected = f"; expected the folder of a run or checkpoint, ws://HOST:PORT or {RANDOM}"
        raise RequestError(f"--policy {text}: not found{near_name(Path(text)) or expected}")
    find_policy(Path(text))
    # only this kind of policy needs torch
    from vita_model.policy.policy import VitaPolicy

    return LocalPolicy(VitaPolicy.from_pretrained(Path(text)), text, convention, source=source)
