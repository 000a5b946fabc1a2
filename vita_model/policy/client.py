"""Client for policy servers with openpi's websocket protocol (`vita-serve`, or openpi's own server)."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vita_data.action_convention import CANONICAL
from vita_data.errors import VitaDataError
from vita_data.types import Float64
from vita_model.policy.commands import checked_chunk
from vita_model.policy.interfaces import Observation, PolicyInfo, with_source
from vita_model.policy.observations import IMAGE_KEYS, PROMPT_KEY, SOURCE_KEY, STATE_KEY, STATE_MASK_KEY
from vita_model.policy.openpi import pack, unpack
from vita_model.policy.websocket import WebSocket


class ServedPolicy:
    """A policy on a server, with one connection for its whole life.

    Source: openpi-client 0.1.2: the server first sends metadata, then one answer per request; a text message is an
    error.
    """

    def __init__(
        self, address: str, *, timeout_s: float = 60.0, api_key: str | None = None, source: str | None = None
    ) -> None:
        """Connect; `source` selects the statistics for scaling, if the policy has several.

        Raises:
            RequestError: the address is invalid, or the policy needs a source or does not have the given one.
            VitaDataError: no policy server answers.
        """
        headers = (("Authorization", f"Api-Key {api_key}"),) if api_key else ()
        self._socket = WebSocket(address, timeout_s=timeout_s, headers=headers)
        self._asked = {} if source is None else {SOURCE_KEY: source}
        try:
            self._info = with_source(_info(address, self._answer()), source)
        except VitaDataError:
            self._socket.close()
            raise

    @property
    def info(self) -> PolicyInfo:
        """The server's metadata; the convention defaults to canonical."""
        return self._info

    def reset(self) -> None:
        """Do nothing: the protocol has no reset message, and the policy keeps no history."""

    def act(self, observation: Observation) -> Float64:
        """Request one chunk.

        Raises:
            VitaDataError: the server reports an error, disconnects, or sends an invalid answer.
        """
        self._socket.send(pack({**question(observation), **self._asked}))
        answer = self._answer()
        if "actions" not in answer:
            found = ", ".join(map(str, answer)) or "nothing"
            raise VitaDataError(f"{self._info.name}: expected an answer with 'actions', got {found}")
        return checked_chunk(answer["actions"], who=self._info.name)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _answer(self) -> Mapping[str, Any]:
        message = self._socket.receive()
        if message.is_text:
            told = message.data.decode(errors="replace").strip().splitlines()
            raise VitaDataError(f"{self._socket.address} reports an error: {told[-1] if told else 'no message'}")
        answer = unpack(message.data)
        if not isinstance(answer, dict):
            raise VitaDataError(f"{self._socket.address}: expected a map as answer, got a {type(answer).__name__}")
        return answer


def question(observation: Observation) -> dict[str, object]:
    """Convert an observation to a request of openpi; the state is the 64 canonical slots with their mask."""
    unknown = set(observation.images) - set(IMAGE_KEYS)
    if unknown:
        raise ValueError(f"expected cameras among {sorted(IMAGE_KEYS)}, got {sorted(unknown)}")
    images = {IMAGE_KEYS[role]: np.asarray(image, np.uint8) for role, image in observation.images.items()}
    return {
        **images,
        STATE_KEY: np.asarray(observation.state.values, np.float32),
        STATE_MASK_KEY: np.asarray(observation.state.mask, np.bool_),
        PROMPT_KEY: observation.instruction,
    }


def _info(address: str, metadata: Mapping[str, Any]) -> PolicyInfo:
    constants, step, sources = (metadata.get(key) for key in ("constants", "step", "sources"))
    return PolicyInfo(
        name=address,
        convention=str(metadata.get("convention", CANONICAL)),
        constants=_plain(constants) if isinstance(constants, Mapping) else {},
        step=step if isinstance(step, int) else None,
        sources=tuple(map(str, sources)) if isinstance(sources, list | tuple) else (),
        digest=str(metadata.get("digest", "")),
    )


def _plain(constants: Mapping[str, Any]) -> Mapping[str, object]:
    """Convert a server's constants to JSON values for results."""
    found: dict[str, object] = json.loads(
        json.dumps(
            {str(key): value for key, value in constants.items()},
            default=lambda value: value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value),
        )
    )
    return found
