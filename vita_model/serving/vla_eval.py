"""vla-eval's protocol: a HELLO for a HELLO, then one action [7] per observation, from chunks kept here.

Source: vla-eval 0.8.0 (protocol/, connection.py, benchmarks/libero): a message is msgpack with type, payload, seq and
timestamp; arrays are maps with the string key `__ndarray__`, images with `__image__`; answers repeat the seq; messages
for the start and end of an episode get no answer. LIBERO, CALVIN and SimplerEnv are supported (`vla_eval_benchmarks`);
the HELLO says which one it is.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from vita_data.action_convention import CANONICAL, Convention, Flip, turned
from vita_data.errors import RequestError, VitaDataError
from vita_data.types import Float32
from vita_model.policy.observations import PROMPT_KEY
from vita_model.policy.openpi import Message, decode_array, reading, unreadable
from vita_model.serving.pictures import decode_picture
from vita_model.serving.request_handler import RequestHandler
from vita_model.serving.vla_eval_benchmarks import LIBERO, benchmark_named, camera_fault

_VERSION = 1
_FIELDS = {"type", "payload", "seq", "timestamp"}
_log = logging.getLogger(__name__)


class EnvelopeConnection:
    """One connection: the rest of the current chunk, and the number of the current message."""

    def __init__(self, handler: RequestHandler, replan_steps: int) -> None:
        """Create a connection; `replan_steps` commands of each chunk are used before the handler is called again."""
        self._handler, self._replan_steps = handler, replan_steps
        self._benchmark = LIBERO
        self._commands: deque[Float32] = deque()
        self._seq = 0
        self._handlers: Mapping[str, Callable[[Message], bytes | None]] = {
            "hello": self._hello, "episode_start": self._drop_chunk, "episode_end": self._drop_chunk,
            "observation": self._observe, "error": self._note,
        }  # fmt: skip

    @property
    def greeting(self) -> None:
        """None, because the client sends the first message."""

    def answer(self, data: bytes) -> bytes | None:
        """Answer a message, or return None if it needs no answer; raises as `Connection.answer`."""
        self._seq = 0
        kind, payload, self._seq = _parsed(data)
        if kind not in self._handlers:
            raise RequestError(f"expected type {', '.join(self._handlers)}, got {kind!r}")
        return self._handlers[kind](payload)

    def refusal(self, told: str) -> bytes:
        """Make an error message; its seq is that of the last readable message."""
        return self._packed("error", {"error": told})

    def _hello(self, payload: Message) -> bytes:
        version = payload.get("protocol_version", _VERSION)
        if version != _VERSION:
            raise RequestError(f"expected protocol_version {_VERSION}, got {version!r}")
        self._benchmark = benchmark_named(payload.get("benchmark"))
        convention = self._convention()
        wants_wrist = len(self._handler.metadata.get("views", ())) > 1
        return self._packed("hello", {
            "protocol_version": _VERSION, "model_server": "vita-serve", "capabilities": {},
            "observation_params": {"send_wrist_image": wants_wrist, "send_state": True},
            "action_spec": {
                "position": {"name": "position", "dims": 3, "format": "delta_xyz"},
                "rotation": {"name": "rotation", "dims": 3, "format": self._benchmark.rotation_format(convention)},
                "gripper": {"name": "gripper", "dims": 1, "format": self._benchmark.gripper_format(convention)},
            },
        })  # fmt: skip

    def _drop_chunk(self, payload: Message) -> None:
        self._commands.clear()

    def _note(self, payload: Message) -> None:
        _log.warning("a client reported an error: %.200s", payload)

    def _observe(self, payload: Message) -> bytes:
        request = self._request(payload)
        if payload.get("episode_restart"):  # CALVIN's next instruction
            self._commands.clear()
        if not self._commands:
            actions = np.asarray(self._handler.act(request)["actions"][: self._replan_steps], np.float32)
            self._commands.extend(self._benchmark.commands(actions, self._convention()))
        return self._packed("action", {"actions": _plain(self._commands.popleft())})

    def _request(self, payload: Message) -> Message:
        benchmark, images, told = self._benchmark, payload.get("images"), payload.get("task_description")
        if fault := camera_fault(benchmark, images):
            raise RequestError(fault)
        if not isinstance(told, str) or not told:
            raise RequestError(f"task_description must be a non-empty string; found {type(told).__name__}")
        convention = self._convention()
        turns = [Flip.ROT180, convention.flip] if benchmark.is_turned and convention is not None else []
        pictures = {benchmark.cameras[name]: _as_stored(image, turns) for name, image in (images or {}).items()}
        return {**pictures, PROMPT_KEY: told, **benchmark.state(payload.get("states"))}

    def _convention(self) -> Convention | None:
        """Return the constants of the server's convention; None if it is canonical.

        Raises:
            RequestError: the server's convention is not the benchmark's.
        """
        metadata, wanted = self._handler.metadata, self._benchmark.convention
        if metadata.get("convention") != wanted:
            found = metadata.get("convention")
            raise RequestError(
                f"vla-eval's {self._benchmark.name} needs convention {wanted}, but this server uses {found}; run "
                f"vita-serve --convention {wanted}"
            )
        return None if wanted == CANONICAL else Convention.from_json(metadata["constants"])

    def _packed(self, kind: str, payload: Message) -> bytes:
        sealed = {"type": kind, "payload": payload, "seq": self._seq, "timestamp": time.time()}
        data: bytes = msgpack.packb(sealed)
        return data


def _parsed(data: bytes) -> tuple[str, Message, int]:
    try:
        message = msgpack.unpackb(data, **reading(_decoded))
    except VitaDataError:
        raise
    except Exception as fault:
        raise RequestError(str(unreadable(data, fault))) from fault
    if not isinstance(message, dict) or not set(message) >= _FIELDS:
        raise RequestError(f"a message must be a map with the keys {', '.join(sorted(_FIELDS))}")
    kind, payload, seq = message["type"], message["payload"], message["seq"]
    fits = isinstance(kind, str) and isinstance(payload, dict) and all(isinstance(key, str) for key in payload)
    if not fits or type(seq) is not int:
        raise RequestError("a message's type must be a string, its payload a map with string keys, its seq an integer")
    return kind, payload, seq


def _decoded(value: dict[Any, Any]) -> object:
    if "__ndarray__" in value:
        return decode_array(value.get("dtype"), value.get("shape"), value.get("data"))
    return value


def _as_stored(value: object, turns: Sequence[Flip]) -> object:
    """Decode an image and turn it like the training images.

    Other images are not decoded, because a small file can expand to a large image.
    """
    image = decode_picture(value) if isinstance(value, dict) and "__image__" in value else value
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        return image  # the handler refuses it and names its key
    for turn in turns:
        image = turned(image, turn)
    return image


def _plain(array: Float32) -> dict[str, object]:
    return {"__ndarray__": True, "data": array.tobytes(), "dtype": array.dtype.str, "shape": list(array.shape)}
