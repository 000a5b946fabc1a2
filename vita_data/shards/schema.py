"""Names, types and byte format of a shard's content; the only module that knows clip.json and the index columns.

Source: the shard contract (vita_data/README.md), SCHEMA_VERSION 1. Reads and writes no files.
"""

import io
import json
import tokenize
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import simplejpeg

from vita_data import SCHEMA_VERSION
from vita_data.shards.clip_fields import CLIP_JSON, DEPTH, parse_clip
from vita_data.slots import ACTION_DIM, STATE_DIM
from vita_data.types import (
    IMAGE_SIZE,
    ActionOrigin,
    Arms,
    CameraRole,
    Clip,
    Float32,
    Gaps,
    Instruction,
    Json,
    Modality,
    Split,
    StoredDepth,
    StoredFrame,
    Track,
    UnifiedAction,
)

ACTION_NPY, STATE_NPY = "action.npy", "state.npy"
_COLOUR = "YCbCr"

_MEMBER = pa.struct([("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())])
_FRAME = pa.struct(
    [
        ("camera", pa.string()),
        ("step", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int32()),
        ("crc32", pa.uint32()),
    ]
)

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("episode", pa.string()),
        ("split", pa.string()),
        ("modality", pa.string()),
        ("embodiment", pa.string()),
        ("instruction", pa.string()),
        ("suite", pa.string()),
        ("task", pa.string()),
        ("hz", pa.float64()),
        ("stride", pa.int32()),
        ("num_steps", pa.int32()),
        ("cameras", pa.list_(pa.string())),
        # Rows on the 1-second stride.
        ("keyframes", pa.list_(pa.int32())),
        # step_index as runs: from `row` on, consecutive rows have consecutive native steps starting at `step`.
        ("step_runs", pa.list_(pa.struct([("row", pa.int32()), ("step", pa.int32())]))),
        ("gaps", pa.string()),
        ("action_valid", pa.list_(pa.struct([("start", pa.int32()), ("stop", pa.int32())]))),
        ("clip", _MEMBER),
        ("action", _MEMBER),
        ("state", _MEMBER),
        ("frames", pa.list_(_FRAME)),
    ]
)


_NPY_PREFIX = 10
"""Number of bytes before the text of a .npy header of format 1.0."""


class MemberRef(NamedTuple):
    """The place of a member's bytes in a shard: first data byte, length, zlib's crc32.

    A tuple, since a loader makes thousands of them per second.
    """

    offset: int
    size: int
    crc32: int


def frame_name(camera: str, step: int) -> str:
    """Return a frame's member name after the key's dot: camera role (or `depth_` and the role) and native step."""
    return f"{camera}.{step:06d}.{'npy' if camera.startswith(DEPTH) else 'jpg'}"


def json_bytes(value: object) -> bytes:
    """Encode JSON in one canonical form for hashing: sorted keys, no spaces, UTF-8, no NaN.

    Half of a surrogate pair, which a raw text may contain but UTF-8 cannot encode, stays a JSON escape.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace")


def npy_bytes(values: Float32) -> bytes:
    """Encode an array as a .npy file of format 1.0."""
    return _npy_header(values.shape, values.dtype.str) + np.ascontiguousarray(values).tobytes()


@lru_cache(maxsize=256)
def _npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npy_array(data: bytes | memoryview) -> Float32:
    """Decode a .npy file of format 1.0: rows [T, D] float32, read-only.

    Raises:
        ValueError: the bytes are not such a file.
    """
    start = _NPY_PREFIX + int.from_bytes(data[_NPY_PREFIX - 2 : _NPY_PREFIX], "little")
    return np.frombuffer(data, np.float32, offset=start).reshape(_npy_shape(bytes(data[:start])))


# Headers repeat, and parsing one takes longer than reading a clip's rows.
@lru_cache(maxsize=4096)
def _npy_shape(header: bytes) -> tuple[int, ...]:
    stream = io.BytesIO(header)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("expected a .npy file of format 1.0")
    try:
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (tokenize.TokenError, SyntaxError, RecursionError) as error:  # numpy passes on what Python's parser raises
        raise ValueError(f"the header of a .npy file cannot be read ({error})") from None
    if is_fortran or dtype != np.float32:
        raise ValueError(f"expected rows of float32, got {dtype}")
    return shape


def clip_members(clip: Clip) -> Iterator[tuple[str, bytes]]:
    """Yield a clip's members (name after the key's dot, bytes), names sorted; images are read one at a time."""
    steps = clip.step_index.tolist()
    members: list[tuple[str, bytes | StoredFrame | StoredDepth]] = [(CLIP_JSON, json_bytes(_clip_meta(clip)))]
    if clip.action is not None:
        members.append((ACTION_NPY, npy_bytes(clip.action.track.values)))
    if clip.state is not None:
        members.append((STATE_NPY, npy_bytes(clip.state.values)))
    for camera, frames in clip.frames.items():
        members += [(frame_name(camera, steps[frame.row]), frame) for frame in frames]
    for camera, depths in clip.depths.items():
        members += [(frame_name(DEPTH + camera, steps[depth.row]), depth) for depth in depths]
    members.sort(key=itemgetter(0))
    for name, content in members:
        yield name, _member_bytes(content)


def _member_bytes(content: bytes | StoredFrame | StoredDepth) -> bytes:
    if isinstance(content, StoredFrame):
        return content.jpeg
    return npy_bytes(content.metres) if isinstance(content, StoredDepth) else content


def _clip_meta(clip: Clip) -> Json:
    action, state = clip.action, clip.state
    return {
        "schema_version": SCHEMA_VERSION,
        "source": clip.source,
        "release": clip.release,
        "episode": clip.episode,
        "split": clip.split,
        "modality": clip.modality,
        "embodiment": clip.embodiment,
        "arms": clip.arms,
        "hz": clip.hz,
        "stride": clip.stride,
        "num_steps": clip.num_steps,
        "step_index": clip.step_index.tolist(),
        "frames": {camera: [frame.row for frame in frames] for camera, frames in clip.frames.items()}
        | {DEPTH + camera: [depth.row for depth in depths] for camera, depths in clip.depths.items()},
        "keyframes": list(clip.keyframes),
        "instruction": {"text": clip.instruction.text, "origin": clip.instruction.origin},
        "instructions": [{"text": text.text, "origin": text.origin} for text in clip.instructions],
        "action_mask": None if action is None else action.track.mask.tolist(),
        "action_valid": None if action is None else [list(span) for span in action.valid],
        "action_origin": None if action is None else action.origin,
        "state_mask": None if state is None else state.mask.tolist(),
        "gaps": clip.gaps,
        "provenance": dict(clip.provenance),
        "extras": dict(clip.extras),
    }


def require_image(name: str, data: bytes) -> bytes:
    """Refuse an image member of another form, before anybody decodes it: a few bytes may declare gigabytes of pixels.

    Raises:
        ValueError: it is not such an image; names the member.
    """
    size = (IMAGE_SIZE, IMAGE_SIZE)
    if name.startswith(DEPTH):
        if (found := npy_array(data).shape) != size:
            raise ValueError(f"member {name}: expected depth of {size}, got {found}")
        return data
    height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
    if (height, width, colour) != (*size, _COLOUR):
        raise ValueError(f"member {name}: expected {IMAGE_SIZE}x{IMAGE_SIZE} {_COLOUR}, got {width}x{height} {colour}")
    return data


def clip_from_members(key: str, members: Mapping[str, bytes], *, with_frames: bool = True) -> Clip:
    """Rebuild a clip from its members, keyed by the name after the key's dot; without frames `frames` is empty."""
    meta = parse_clip(members[CLIP_JSON])
    step_index = np.asarray(meta["step_index"], np.int64)
    action = state = None
    if meta["action_mask"] is not None:
        values = _vectors(members, ACTION_NPY, (meta["num_steps"], ACTION_DIM))
        track = Track(values=values, mask=np.asarray(meta["action_mask"], bool))
        valid = tuple((start, stop) for start, stop in meta["action_valid"])
        action = UnifiedAction(track=track, valid=valid, origin=ActionOrigin(meta["action_origin"]))
    if meta["state_mask"] is not None:
        values = _vectors(members, STATE_NPY, (meta["num_steps"], STATE_DIM))
        state = Track(values=values, mask=np.asarray(meta["state_mask"], bool))
    stored = meta["frames"] if with_frames else {}
    found = {
        camera: [(row, _image(members, frame_name(camera, int(step_index[row])))) for row in rows]
        for camera, rows in stored.items()
    }
    frames = {
        CameraRole(camera): tuple(StoredFrame(row, data) for row, data in rows)
        for camera, rows in found.items()
        if not camera.startswith(DEPTH)
    }
    depths = {
        CameraRole(camera.removeprefix(DEPTH)): tuple(StoredDepth(row, npy_array(data)) for row, data in rows)
        for camera, rows in found.items()
        if camera.startswith(DEPTH)
    }
    return Clip(
        key=key,
        source=meta["source"],
        release=meta["release"],
        episode=meta["episode"],
        split=Split(meta["split"]),
        modality=Modality(meta["modality"]),
        embodiment=meta["embodiment"],
        arms=Arms(meta["arms"]),
        hz=meta["hz"],
        stride=meta["stride"],
        step_index=step_index,
        frames=frames,
        keyframes=tuple(meta["keyframes"]),
        instruction=Instruction(**meta["instruction"]),
        instructions=tuple(Instruction(**text) for text in meta["instructions"]),
        action=action,
        state=state,
        gaps=Gaps(meta["gaps"]),
        provenance=meta["provenance"],
        extras=meta["extras"],
        depths=depths,
    )


def _vectors(members: Mapping[str, bytes], name: str, shape: tuple[int, int]) -> Float32:
    values = npy_array(members[name])
    if values.shape != shape:
        raise ValueError(f"member {name}: shape {values.shape}, expected {shape}")
    return values


def _image(members: Mapping[str, bytes], name: str) -> bytes:
    return require_image(name, members[name])


def index_row(key: str, meta: Json, members: Mapping[str, MemberRef]) -> Json:
    """Make a clip's index row from its clip.json and the places of its members."""
    step_index = np.asarray(meta["step_index"], np.int64)
    run_rows = [0, *(np.flatnonzero(np.diff(step_index) != 1) + 1).tolist()]
    steps: list[int] = step_index.tolist()
    valid, extras = meta["action_valid"], meta["extras"]
    frames = meta["frames"]
    if not isinstance(extras, Mapping) or not isinstance(frames, Mapping):
        raise TypeError(f"clip {key}: extras and frames must be objects")
    instruction = meta["instruction"]
    return {
        "key": key,
        **{name: meta[name] for name in ("episode", "split", "modality", "embodiment", "hz", "stride", "num_steps")},
        "instruction": instruction["text"] if isinstance(instruction, Mapping) else "",
        "suite": extras.get("suite"),
        "task": extras.get("task"),
        "cameras": sorted(frames),
        "keyframes": meta["keyframes"],
        "step_runs": [{"row": row, "step": steps[row]} for row in run_rows],
        "gaps": meta["gaps"],
        "action_valid": None if valid is None else [{"start": a, "stop": b} for a, b in valid],  # type: ignore[attr-defined]
        "clip": _struct(members[CLIP_JSON]),
        "action": _struct(members.get(ACTION_NPY)),
        "state": _struct(members.get(STATE_NPY)),
        "frames": [
            _frame_struct(camera, steps[row], members[frame_name(camera, steps[row])])
            for camera in sorted(frames)
            for row in frames[camera]
        ],
    }


def _frame_struct(camera: str, step: int, ref: MemberRef) -> dict[str, str | int]:
    return {"camera": camera, "step": step, "offset": ref.offset, "size": ref.size, "crc32": ref.crc32}


def _struct(ref: MemberRef | None) -> dict[str, int] | None:
    return None if ref is None else {"offset": ref.offset, "size": ref.size, "crc32": ref.crc32}
