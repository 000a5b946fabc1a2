"""Convert a request with openpi's keys to an observation, and the policy's decision to an answer."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vita_data.action_convention import Convention, require_convention, state_from_libero
from vita_data.errors import RequestError
from vita_data.slots import STATE_DIM
from vita_data.types import Bool, CameraRole, Float32, Image
from vita_model.policy.openpi import IMAGE_KEYS, PROMPT_KEY, SOURCE_KEY, STATE_KEY, STATE_MASK_KEY, Message
from vita_model.policy.policy import Observation, VitaPolicy

_MAX_SIDE = 4096
_MAX_PROMPT = 4096
_LIBERO_STATE = 8


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
            "action_horizon": spec.horizon, "action_dim": 7,
            "views": [str(view) for view in spec.views], "sources": list(spec.sources),
            "constants": {} if self._convention is None else dict(self._convention.as_json()),
        }  # fmt: skip

    def act(self, request: Message) -> Message:
        """Answer with `actions` [H, 7] in the convention; raises as `RequestHandler.act`."""
        begin_s = time.monotonic()
        state, mask = _state(request)
        observation = Observation(
            images=_images(request), instruction=_prompt(request), state=state, state_mask=mask,
            source=self._source(request),
        )  # fmt: skip
        decision = self._policy.decide([observation])[0]
        actions = self._policy.commands(decision, self._name, state=state)
        return {"actions": actions, "server_timing": {"infer_ms": 1e3 * (time.monotonic() - begin_s)}}

    def _source(self, request: Message) -> str | None:
        asked = request.get(SOURCE_KEY)
        if asked is not None and not isinstance(asked, str):
            raise RequestError(f"{SOURCE_KEY} must be a string; found {type(asked).__name__}")
        return asked or (self._name if self._convention is not None else None)


def _images(request: Message) -> Mapping[CameraRole, Image]:
    found: dict[CameraRole, Image] = {}
    for role, key in IMAGE_KEYS.items():
        value = request.get(key)
        if value is None:
            continue
        fits = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3
        if not fits or not min(value.shape) > 0 or max(value.shape) > _MAX_SIDE:
            raise RequestError(
                f"{key} must be uint8 [h, w, 3] with sides of at most {_MAX_SIDE}; found {_described(value)}"
            )
        found[role] = value
    if CameraRole.PRIMARY not in found:
        raise RequestError(f"a request must have observation/image; found {', '.join(sorted(request)) or 'nothing'}")
    return found


def _prompt(request: Message) -> str:
    prompt = request.get(PROMPT_KEY)
    if not isinstance(prompt, str) or not 0 < len(prompt) <= _MAX_PROMPT:
        raise RequestError(
            f"{PROMPT_KEY} must be a string of 1 to {_MAX_PROMPT} characters; found {_described(prompt)}"
        )
    return prompt


def _state(request: Message) -> tuple[Float32 | None, Bool | None]:
    value = request.get(STATE_KEY)
    if value is None:
        return None, None
    fits = (
        isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.shape in {(STATE_DIM,), (_LIBERO_STATE,)}
    )
    if not fits or not np.isfinite(value).all():
        raise RequestError(
            f"{STATE_KEY} must be finite numbers: {STATE_DIM} canonical ones or LIBERO's {_LIBERO_STATE}; found "
            f"{_described(value)}"
        )
    if value.shape == (_LIBERO_STATE,):
        return state_from_libero(value)
    mask = request.get(STATE_MASK_KEY)
    fits = mask is None or (isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (STATE_DIM,))
    if not fits:
        raise RequestError(f"{STATE_MASK_KEY} must be bool [{STATE_DIM}]; found {_described(mask)}")
    return value.astype(np.float32), mask


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
