"""What a policy sees, and how it is read from a robot's plain dict or from a request with openpi's keys.

| in Python | with openpi's keys | value |
|---|---|---|
| `primary`, `secondary`, `wrist_right`, `wrist_left` | `observation/image`, -, `observation/wrist_image`, ... | image |
| `instruction` | `prompt` | text |
| `state`, `state_mask` | `observation/state`, `observation/state_mask` | 64 slots, or LIBERO's 8 (array or list) |
| `position_m`, `gripper_open`, `joints_rad`, and one of the rotations | - | the same state by name |
| `source` | `source` | whose statistics scale it |
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from vita_data.action_convention import right_arm_state, state_from_libero
from vita_data.errors import RequestError, did_you_mean
from vita_data.slots import STATE_DIM
from vita_data.types import Bool, CameraRole, Float32, Float64, Image

IMAGE_KEYS: Mapping[CameraRole, str] = {
    CameraRole.PRIMARY: "observation/image",
    CameraRole.WRIST_RIGHT: "observation/wrist_image",
    CameraRole.WRIST_LEFT: "observation/wrist_image_left",
}
"""Keys of images in openpi's requests; a camera's role is a key too."""
STATE_KEY, STATE_MASK_KEY, PROMPT_KEY = "observation/state", "observation/state_mask", "prompt"
SOURCE_KEY = "source"

_ROTATIONS = {"rotation_matrix": (3, 3), "rotation_vector_rad": (3,), "quaternion_xyzw": (4,)}
_MEASURED = ("position_m", "gripper_open", "joints_rad", *_ROTATIONS)
_KEYS = (
    *map(str, CameraRole), *IMAGE_KEYS.values(), "instruction", PROMPT_KEY, "state", "state_mask", STATE_KEY,
    STATE_MASK_KEY, *_MEASURED, SOURCE_KEY,
)  # fmt: skip
MAX_MEASURED = 1e6
"""Greatest m, rad or gripper position of a state; far greater numbers overflow when they are scaled."""
_MAX_SIDE = 4096
_MAX_TEXT = 4096
_LIBERO_STATE = 8
_MAX_JOINTS = 7
_NOTHING: tuple[None, None] = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """Input of the policy."""

    images: Mapping[CameraRole, Image]
    """uint8 [h, w, 3] RGB per camera; missing views of the model are masked."""
    instruction: str
    state: Float32 | None = None
    """[64] state slots (vita_data/README.md) in physical units; None: not measured."""
    state_mask: Bool | None = None
    """[64] mask of the state; None: the slots that the source has."""
    source: str | None = None
    """Source whose statistics are used for scaling; None: the checkpoint's only source."""


def read_observation(values: Mapping[str, Any], *, default_source: str | None = None) -> Observation:
    """Read a robot's dict or an openpi request; other keys are ignored.

    Args:
        values: the dict or request.
        default_source: whose statistics scale it if it does not say that itself.

    Raises:
        RequestError: an image, the instruction or the state is missing or has another type or shape.
    """
    state, mask = _state(values)
    return Observation(
        images=_images(values), instruction=_instruction(values), state=state, state_mask=mask,
        source=_source(values) or default_source,
    )  # fmt: skip


def require_known_keys(values: Mapping[str, Any]) -> None:
    """Refuse keys that no observation has, so that a misspelt camera is not silently missing; raises RequestError."""
    if not isinstance(values, Mapping):
        raise RequestError(
            f"an observation must be a dict with an image and an instruction; found {_described(values)}"
        )
    for key in values:
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS)
            raise RequestError(f"observation: unknown key {key!r}{hint and f'; {hint}'}; known: {', '.join(_KEYS)}")


def _images(values: Mapping[str, Any]) -> Mapping[CameraRole, Image]:
    found: dict[CameraRole, Image] = {}
    for role in CameraRole:
        key, value = _first(values, (IMAGE_KEYS.get(role, role), role))
        if value is None:
            continue
        fits = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3
        if not fits or not min(value.shape) > 0 or max(value.shape) > _MAX_SIDE:
            raise RequestError(
                f"{key} must be uint8 [h, w, 3] with sides of at most {_MAX_SIDE}; found {_not_fitting(value)}"
            )
        found[role] = value
    if CameraRole.PRIMARY not in found:
        given = ", ".join(sorted(map(str, values))) or "nothing"
        raise RequestError(f"an observation must have the image {CameraRole.PRIMARY} or observation/image; got {given}")
    return found


def _instruction(values: Mapping[str, Any]) -> str:
    key, text = _first(values, (PROMPT_KEY, "instruction"))
    if text is None:
        given = ", ".join(sorted(map(str, values))) or "nothing"
        raise RequestError(
            f"an observation must have an instruction (key `instruction` or `{PROMPT_KEY}`); got {given}"
        )
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT:
        found = f"{len(text)} characters" if isinstance(text, str) else _described(text)
        raise RequestError(f"{key} must be a string of 1 to {_MAX_TEXT} characters; found {found}")
    return text


def _source(values: Mapping[str, Any]) -> str | None:
    asked = values.get(SOURCE_KEY)
    if asked is not None and not isinstance(asked, str):
        raise RequestError(f"{SOURCE_KEY} must be a string; found {type(asked).__name__}")
    return asked or None


def _state(values: Mapping[str, Any]) -> tuple[Float32, Bool | None] | tuple[None, None]:
    key, value = _first(values, (STATE_KEY, "state"))
    if value is None:
        return _measured(values) if any(name in values for name in _MEASURED) else _NOTHING
    if both := [name for name in _MEASURED if name in values]:
        raise RequestError(f"expected either {key} or measurements by name, got both: {key}, {', '.join(both)}")
    value = _as_array(value)
    fits = _is_numbers(value) and value.shape in {(STATE_DIM,), (_LIBERO_STATE,)} and are_measured(value)
    if not fits:
        raise RequestError(
            f"{key} must be finite numbers up to {MAX_MEASURED:,.0f}: {STATE_DIM} canonical ones or LIBERO's "
            f"{_LIBERO_STATE}; found {_not_fitting(value)}"
        )
    if value.shape == (_LIBERO_STATE,):
        return state_from_libero(value)
    mask_key, mask = _first(values, (STATE_MASK_KEY, "state_mask"))
    fits = mask is None or (isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (STATE_DIM,))
    if not fits:
        raise RequestError(f"{mask_key} must be bool [{STATE_DIM}]; found {_not_fitting(mask)}")
    return value.astype(np.float32), mask


def _measured(values: Mapping[str, Any]) -> tuple[Float32, Bool]:
    """Fill the slots of a single arm, which is the right one, from measurements by name."""
    if missing := [name for name in ("position_m", "gripper_open") if name not in values]:
        given = [name for name in _MEASURED if name in values]
        raise RequestError(
            f"expected position_m, gripper_open and a rotation together, got {', '.join(given)} without "
            f"{' and '.join(missing)}"
        )
    opening = float(_numbers(values, "gripper_open", ()))
    if not 0 <= opening <= 1:
        raise RequestError(f"gripper_open must lie between 0 (closed) and 1 (open); found {opening:g}")
    joints = values.get("joints_rad")
    if joints is not None:
        count = np.size(joints)
        if not 0 < count <= _MAX_JOINTS:
            raise RequestError(f"joints_rad must be 1 to {_MAX_JOINTS} numbers; found {count}")
        joints = _numbers(values, "joints_rad", (count,))
    return right_arm_state(_numbers(values, "position_m", (3,)), _rotation(values), opening, joints)


def _rotation(values: Mapping[str, Any]) -> Float64:
    given = [name for name in _ROTATIONS if name in values]
    if len(given) != 1:
        raise RequestError(f"expected one of {', '.join(_ROTATIONS)}, got {', '.join(given) or 'none'}")
    (name,) = given
    numbers = _numbers(values, name, _ROTATIONS[name])
    if name == "rotation_matrix":
        if not np.allclose(numbers @ numbers.T, np.eye(3), atol=1e-2) or np.linalg.det(numbers) < 0:
            raise RequestError(f"rotation_matrix must be a rotation; found {numbers.tolist()}")
        return numbers
    if name == "quaternion_xyzw" and abs(np.linalg.norm(numbers) - 1) > 1e-2:
        raise RequestError(f"quaternion_xyzw must have length 1; found {np.linalg.norm(numbers):g}")
    from scipy.spatial.transform import Rotation  # imported late, because it is slow

    turn = Rotation.from_rotvec(numbers) if name == "rotation_vector_rad" else Rotation.from_quat(numbers)
    return np.asarray(turn.as_matrix(), np.float64)


def _numbers(values: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Float64:
    value = values.get(key)
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape != shape or not are_measured(array):
        expected = f"{list(shape)} finite numbers up to {MAX_MEASURED:,.0f}" if shape else "a finite number"
        raise RequestError(f"{key} must be {expected}; found {'nothing' if value is None else _described(value)}")
    return array


def _first(values: Mapping[str, Any], keys: Iterable[str]) -> tuple[str, Any]:
    """Return the first key that has a value; the first key and None if there is none."""
    keys = tuple(map(str, keys))
    return next(((key, values[key]) for key in keys if values.get(key) is not None), (keys[0], None))


def _as_array(value: Any) -> Any:
    """Return a list of numbers as an array; anything else unchanged."""
    if isinstance(value, list | tuple) and all(type(number) in (int, float) for number in value):
        with suppress(OverflowError):
            return np.array(value, np.float64)
    return value


def _is_numbers(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf"


def are_measured(values: np.ndarray[Any, Any]) -> bool:
    """Tell whether numbers can be a state's: they are finite and not huge."""
    with np.errstate(over="ignore"):
        wide = np.asarray(values, np.float64)  # the limit itself does not fit a float16
    return bool((np.abs(wide) <= MAX_MEASURED).all())  # false for a NaN


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def _not_fitting(value: Any) -> str:
    """Describe what should be an array, and say how a list or a tensor becomes one."""
    if hasattr(value, "detach"):  # a tensor of torch, which need not be imported
        return f"{_described(value)}; give a numpy array: .cpu().numpy()"
    return _described(value) + ("; give a numpy array: np.asarray(...)" if isinstance(value, list | tuple) else "")
