"""What vla-eval 0.8.0 sends, as its own `pack_message` packed it, and messages of the same form made here."""

import base64

import msgpack
import numpy as np

RECORDED = {
    "hello": "hKR0eXBlpWhlbGxvp3BheWxvYWSDr2hhcm5lc3NfdmVyc2lvbqUwLjguMLBwcm90b2NvbF92ZXJzaW9uAaliZW5jaG1hcmuxeDpM"
    "SUJFUk9CZW5jaG1hcmujc2VxAal0aW1lc3RhbXDLP/AAAAAAAAA=",
    "episode_start": "hKR0eXBlrWVwaXNvZGVfc3RhcnSncGF5bG9hZIGkdGFza4KkbmFtZaRwdXNop3Rhc2tfaWQAo3NlcQKpdGltZXN0YW1wyz"
    "/wAAAAAAAA",
    "observation": "hKR0eXBlq29ic2VydmF0aW9up3BheWxvYWSDpmltYWdlc4GpYWdlbnR2aWV3hKlfX2ltYWdlX1/DpmZvcm1hdKNwbmekZGF0"
    "YcROiVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR4nGNkYGRixgZYJCQkhpAEAJG7BBEc4dnCAAAAAElFTkSuQmCC"
    "pXNoYXBlkwgIA7B0YXNrX2Rlc2NyaXB0aW9upHB1c2imc3RhdGVzhKtfX25kYXJyYXlfX8OkZGF0YcRAAAAAAAAAAACamZmZmZm5P5qZmZmZ"
    "mck/MzMzMzMz0z+amZmZmZnZPwAAAAAAAOA/MzMzMzMz4z9mZmZmZmbmP6VkdHlwZaM8Zjilc2hhcGWRCKNzZXEDqXRpbWVzdGFtcMs/8AAA"
    "AAAAAA==",
    "episode_end": "hKR0eXBlq2VwaXNvZGVfZW5kp3BheWxvYWSCp21ldHJpY3OBp3N1Y2Nlc3PCpXN0ZXBzAaNzZXEEqXRpbWVzdGFtcMs/8AAA"
    "AAAAAA==",
}
PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
"""In the recorded observation, beside the states 0, 0.1 .. 0.7 and the task "push"."""


def recorded(kind: str) -> bytes:
    return base64.b64decode(RECORDED[kind])


def array(values: np.ndarray) -> dict[str, object]:
    return {"__ndarray__": True, "data": values.tobytes(), "dtype": values.dtype.str, "shape": list(values.shape)}


def picture(data: bytes, form: str, shape: tuple[int, ...]) -> dict[str, object]:
    return {"__image__": True, "format": form, "data": data, "shape": list(shape)}


def message(kind: str, payload: object, seq: int = 1) -> bytes:
    return msgpack.packb({"type": kind, "payload": payload, "seq": seq, "timestamp": 1.0})


def observation(**changed: object) -> bytes:
    payload = {"images": {"agentview": array(PICTURE)}, "task_description": "push", **changed}
    return message("observation", payload, 9)
