"""Convert a request with openpi's keys to an observation, and the policy's decision to an answer."""

import time
from collections.abc import Sequence
from typing import Protocol

from vita_data.action_convention import Convention, require_convention
from vita_model.policy.observations import read_observation
from vita_model.policy.openpi import Message
from vita_model.policy.policy import VitaPolicy


class RequestHandler(Protocol):
    """Answers requests, one at a time."""

    @property
    def metadata(self) -> Message:
        """First message to a client."""

    def act(self, request: Message) -> Message:
        """Answer a request.

        Raises:
            RequestError: the request is invalid.
        """


class PolicyRequestHandler:
    """A policy that answers in an action convention."""

    def __init__(self, policy: VitaPolicy, convention: str) -> None:
        """Wrap a policy; `convention` is `canonical` or a source whose constants its checkpoint has.

        Raises:
            RequestError: the checkpoint does not have the convention.
        """
        known = policy.signature.conventions
        require_convention(convention, known)
        self._policy, self._name = policy, convention
        self._convention: Convention | None = known.get(convention)

    @property
    def metadata(self) -> Message:
        """Describe the policy's inputs and outputs."""
        spec = self._policy.signature
        return {
            "policy": "vita", "step": spec.step, "digest": spec.digest, "convention": self._name,
            "action_horizon": spec.horizon, "action_dim": spec.num_commands,
            "views": [str(view) for view in spec.views], "sources": list(spec.sources),
            "constants": {} if self._convention is None else dict(self._convention.as_json()),
        }  # fmt: skip

    def act(self, request: Message) -> Message:
        """Answer with `actions` [H, 7] in the convention (joints: [H, n]); raises as `RequestHandler.act`."""
        return self.act_many([request])[0]

    def act_many(self, requests: Sequence[Message]) -> list[Message]:
        """Answer several requests with one call of the policy; raises as `act`, without answering any.

        The time in each answer is that of the whole call.
        """
        begin_s = time.monotonic()
        source = None if self._convention is None else self._name
        observations = [read_observation(request, default_source=source) for request in requests]
        commands = [
            self._policy.commands(decision, self._name, state=observation.state)
            for decision, observation in zip(self._policy.decide(observations), observations, strict=True)
        ]
        infer_ms = 1e3 * (time.monotonic() - begin_s)
        return [{"actions": actions, "server_timing": {"infer_ms": infer_ms}} for actions in commands]
