"""vla-eval's envelope: recorded messages answered in its form, wrong ones refused in it, its own client if there."""

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable
from typing import Any

import aiohttp
import cv2
import msgpack
import numpy as np
import pytest

from vita_data.action_convention import Flip
from vita_data.errors import VitaDataError
from vita_model.policy.observations import read_observation
from vita_model.serving.vla_eval import EnvelopeConnection

from .envelopes import PICTURE, array, message, observation, picture, recorded

CONSTANTS = {
    "position_scale_m": 0.05, "rotation_scale_rad": 0.5, "turn": "axis-angle", "gripper_open": -1, "gripper_closed": 1,
    "limit": 1.0, "flip": "rot180",
}  # fmt: skip


class Counting:
    """Answers with chunks of three commands that are numbered through, and keeps what it was asked."""

    def __init__(self, convention: str = "libero", flip: Flip = Flip.ROT180) -> None:
        self.asked: list[dict[str, Any]] = []
        constants = {**CONSTANTS, "flip": str(flip)}
        self.metadata = {"convention": convention, "constants": constants, "views": ["primary", "wrist_right"]}

    def act(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        start = 10 * len(self.asked)
        return {"actions": np.arange(start, start + 3, dtype=np.float32)[:, None].repeat(7, axis=1)}


def opened(data: bytes | None) -> dict[str, Any]:
    assert data is not None
    answer: dict[str, Any] = msgpack.unpackb(data)
    assert sorted(answer) == ["payload", "seq", "timestamp", "type"]
    return answer


def command(answer: dict[str, Any]) -> list[float]:
    packed = answer["payload"]["actions"]
    assert packed["shape"] == [7]
    return np.frombuffer(packed["data"], packed["dtype"]).tolist()


def test_the_recorded_client_is_greeted_and_gets_an_action() -> None:
    handler = Counting()
    connection = EnvelopeConnection(handler, 2)
    hello = opened(connection.answer(recorded("hello")))
    assert (hello["type"], hello["seq"], hello["payload"]["protocol_version"]) == ("hello", 1, 1)
    assert hello["payload"]["observation_params"] == {"send_wrist_image": True, "send_state": True}
    assert connection.answer(recorded("episode_start")) is None
    action = opened(connection.answer(recorded("observation")))
    assert (action["type"], action["seq"], command(action)) == ("action", 3, [10.0] * 7)
    assert connection.answer(recorded("episode_end")) is None
    (asked,) = handler.asked
    assert np.array_equal(asked["observation/image"], PICTURE)
    assert asked["observation/state"].tolist() == pytest.approx(np.arange(8) / 10)
    assert asked["prompt"] == "push"


def test_a_chunk_is_carried_out_step_by_step_and_no_episode_gets_the_last_one_s() -> None:
    connection = EnvelopeConnection(Counting(), 2)
    given = [command(opened(connection.answer(observation())))[0] for _ in range(3)]
    connection.answer(message("episode_start", {"task": {}}))
    given += [command(opened(connection.answer(observation())))[0]]
    assert given == [10, 11, 20, 30]


@pytest.mark.parametrize(
    ("flip", "seen"), [(Flip.ROT180, PICTURE), (Flip.VFLIP, PICTURE[:, ::-1]), (Flip.NONE, PICTURE[::-1, ::-1])]
)
def test_pictures_are_turned_as_the_model_has_seen_them(flip: Flip, seen: np.ndarray) -> None:
    handler = Counting(flip=flip)
    EnvelopeConnection(handler, 1).answer(observation())
    assert np.array_equal(handler.asked[0]["observation/image"], seen)


@pytest.mark.parametrize(("form", "error"), [("png", 0), ("jpeg", 3)])
def test_pictures_may_be_files(form: str, error: int) -> None:
    handler, smooth = Counting(), np.full((40, 30, 3), (200, 100, 50), np.uint8)
    extension = {"png": ".png", "jpeg": ".jpg"}[form]
    data = cv2.imencode(extension, smooth[:, :, ::-1])[1].tobytes()
    EnvelopeConnection(handler, 1).answer(observation(images={"agentview": picture(data, form, smooth.shape)}))
    found = handler.asked[0]["observation/image"]
    assert (found.shape, found.dtype) == (smooth.shape, np.uint8)
    assert np.abs(found.astype(int) - smooth).max() <= error


BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000) + bytes(9)


def many_scans() -> bytes:
    """A JPEG whose last scan is repeated; each is a few bytes, and decoded over the whole image."""
    data = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 1000 + data[-2:]


def raw_picture(dtype: str, shape: list[int]) -> dict[str, object]:
    return {"__image__": True, "format": "raw", "dtype": dtype, "shape": shape, "data": b""}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"\xc1", "expected a msgpack message"),
        (msgpack.packb([1]), "must be a map with the keys payload, seq, timestamp, type"),
        (msgpack.packb({"type": "hello", "payload": {}, "seq": 1}), "must be a map with"),
        (message("hello", 3), "its payload a map"),
        (message("hello", {}, seq="1"), "its seq an integer"),  # type: ignore[arg-type]
        (message("hello", {"protocol_version": 2}), "expected protocol_version 1, got 2"),
        (message("action", {}), "expected type hello, .*, got 'action'"),
        (observation(images={"rgb_static": array(PICTURE)}), "LIBERO's cameras, .* found rgb_static"),
        (observation(images=None), "found NoneType"),
        (observation(task_description=""), "task_description must be a non-empty string"),
        (observation(states=array(np.zeros(9))), "states must be LIBERO's 8"),
        (
            observation(states={"__ndarray__": True, "dtype": "|O", "shape": [1], "data": b"x" * 8}),
            "expected booleans, integers or floats",
        ),
        (
            observation(states={"__ndarray__": True, "dtype": "<f8", "shape": [9], "data": b""}),
            "its bytes do not match its type",
        ),
        (
            observation(images={"agentview": picture(BOMB, "png", (60_000, 60_000, 3))}),
            "at most 4096 .* got 60000x60000",
        ),
        (observation(images={"agentview": picture(BOMB, "png", (8, 8, 3))}), r"got 60000x60000 with shape \[8, 8, 3\]"),
        (
            observation(images={"agentview": picture(b"x" * 40, "png", (8, 8, 3))}),
            "expected a PNG file, got 40 bytes without a PNG header",
        ),
        (
            observation(images={"agentview": picture(b"x", "jpeg", (8, 8, 3))}),
            "cannot read the header of a jpeg image of 1 bytes",
        ),
        (observation(images={"agentview": picture(b"x", "gif", (8, 8, 3))}), "got format 'gif'"),
        (observation(images={"agentview": picture(many_scans(), "jpeg", (64, 64, 3))}), "a JPEG of 10[0-9]{2} scans"),
        (observation(images={"agentview": raw_picture("f4,,", [0])}), "numpy does not know its type 'f4,,'"),
        (observation(images={"agentview": raw_picture("(1,)" * 15, [0])}), "numpy does not know its type"),
        (observation(images={"agentview": raw_picture("|u1", [0, 1 << 63])}), "numpy has none of type uint8 and shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_policy_sees_it(sent: bytes, told: str) -> None:
    handler = Counting()
    with pytest.raises(VitaDataError, match=told):
        EnvelopeConnection(handler, 1).answer(sent)
    assert not handler.asked


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_are_answered_or_refused_and_nothing_else(seed: int) -> None:
    rng, connection = random.Random(seed), EnvelopeConnection(Counting(), 1)
    for _ in range(250):
        damaged = bytearray(recorded("observation"))
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(VitaDataError):
            connection.answer(bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]))


def test_another_convention_is_refused_at_once() -> None:
    with pytest.raises(VitaDataError, match="uses canonical; run vita-serve --convention libero"):
        EnvelopeConnection(Counting("canonical"), 1).answer(recorded("hello"))


CALVIN_CONSTANTS = {
    "position_scale_m": 0.02, "rotation_scale_rad": 0.05, "turn": "euler-difference", "gripper_open": 1,
    "gripper_closed": -1, "limit": 1.0, "flip": "none",
}  # fmt: skip


def greeted(handler: Counting, benchmark: str, replan_steps: int = 2) -> tuple[EnvelopeConnection, dict[str, Any]]:
    connection = EnvelopeConnection(handler, replan_steps)
    hello = {"harness_version": "0.8.0", "protocol_version": 1, "benchmark": f"vla_eval.benchmarks:{benchmark}"}
    return connection, opened(connection.answer(message("hello", hello)))["payload"]["action_spec"]


def test_calvin_gets_metres_and_radians_and_its_own_names() -> None:
    handler = Counting("calvin")
    handler.metadata["constants"] = CALVIN_CONSTANTS
    connection, spec = greeted(handler, "CALVINBenchmark")
    assert [spec[name]["format"] for name in ("rotation", "gripper")] == ["euler_xyz", "binary_close_negative"]

    states = np.array([0.1, 0.2, 0.3, 0.0, 0.0, np.pi / 2, 0.04, 1.0], np.float32)
    images = {"rgb_static": array(PICTURE), "rgb_gripper": array(PICTURE[::-1].copy())}
    seen = {"images": images, "states": array(states)}
    first = command(opened(connection.answer(observation(**seen))))
    assert first == pytest.approx([0.2] * 3 + [0.5] * 3 + [10.0])  # 10 units of 0.02 m and 0.05 rad
    (asked,) = handler.asked
    assert np.array_equal(asked["observation/image"], PICTURE)  # not turned
    assert np.array_equal(asked["observation/wrist_image"], PICTURE[::-1])
    read = read_observation(asked)
    assert read.state is not None
    assert read.state[24:34] == pytest.approx([0.1, 0.2, 0.3, 0, 1, 0, -1, 0, 0, 0.5], abs=1e-6)

    restarted = command(opened(connection.answer(observation(**seen, episode_restart=True))))
    assert restarted[6] == 20.0  # the rest of the chunk belongs to the last instruction
    with pytest.raises(VitaDataError, match="CALVIN's cameras, rgb_static and optionally rgb_gripper; found agentview"):
        connection.answer(observation())
    with pytest.raises(VitaDataError, match="states must be CALVIN's 8"):
        connection.answer(observation(images=images, states=array(np.zeros(7))))


def test_simplerenv_gets_rotation_vectors_and_openings() -> None:
    class Turning(Counting):
        def act(self, request: dict[str, Any]) -> dict[str, Any]:
            super().act(request)
            return {"actions": np.array([[0.01, 0, 0, np.pi / 2, 0, np.pi / 2, 1.0]])}

    handler = Turning("canonical")
    handler.metadata["constants"] = {}
    connection, spec = greeted(handler, "SimplerEnvBenchmark")
    assert [spec[name]["format"] for name in ("rotation", "gripper")] == ["euler_xyz", "binary_close_positive"]

    sent = observation(images={"primary": array(PICTURE)}, states=array(np.zeros(8)), task_name="x")
    moved = command(opened(connection.answer(sent)))
    third = 2 * np.pi / 3 / np.sqrt(3)  # both quarter turns together: 120 degrees about the diagonal
    assert moved == pytest.approx([0.01, 0, 0, third, third, third, 1.0], abs=1e-6)
    (asked,) = handler.asked
    assert np.array_equal(asked["observation/image"], PICTURE)
    assert "observation/state" not in asked
    with pytest.raises(VitaDataError, match="SimplerEnv's cameras, primary; found rgb_static"):
        connection.answer(observation(images={"rgb_static": array(PICTURE)}))


@pytest.mark.parametrize(
    ("served", "benchmark", "wanted"),
    [("libero", "CALVINBenchmark", "calvin"), ("libero", "SimplerEnvBenchmark", "canonical"),
     ("calvin", "LIBEROProBenchmark", "libero")],
)  # fmt: skip
def test_each_benchmark_names_the_convention_that_it_needs(served: str, benchmark: str, wanted: str) -> None:
    with pytest.raises(VitaDataError, match=f"needs convention {wanted}, .* run vita-serve --convention {wanted}"):
        greeted(Counting(served), benchmark)


def test_errors_come_in_the_envelope_and_the_connection_goes_on(serve: Callable[..., int]) -> None:
    async def connection(port: int) -> list[dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/vla-eval") as ws,
        ):
            found = []
            for sent in (recorded("hello"), b"\xc1", observation(images=None), recorded("observation")):
                await ws.send_bytes(sent)
                found.append(opened((await ws.receive(timeout=20)).data))
            await ws.send_str("hello")
            return [*found, opened((await ws.receive(timeout=20)).data)]

    answers = asyncio.run(connection(serve(Counting())))
    assert [(answer["type"], answer["seq"]) for answer in answers[:4]] == [
        ("hello", 1), ("error", 0), ("error", 9), ("action", 3),
    ]  # fmt: skip
    assert "images must be" in answers[2]["payload"]["error"]
    assert answers[4]["payload"] == {"error": "expected msgpack in a binary frame, got a text frame"}


@pytest.mark.filterwarnings("ignore:connect")
def test_vla_eval_s_own_client_runs_an_episode(serve: Callable[..., int]) -> None:
    connection = pytest.importorskip("vla_eval.connection", reason="vla-eval is not installed")
    specs = pytest.importorskip("vla_eval.specs")
    port = serve(Counting(), replan_steps=2)

    async def episode() -> list[float]:
        seen = {"images": {"agentview": PICTURE, "wrist": PICTURE}, "task_description": "push", "states": np.zeros(8)}
        async with connection.Connection(f"ws://127.0.0.1:{port}/vla-eval") as client:
            given = {name: specs.DimSpec.from_dict(raw) for name, raw in client.server_info["action_spec"].items()}
            libero = {
                "position": specs.POSITION_DELTA, "rotation": specs.ROTATION_AA, "gripper": specs.GRIPPER_CLOSE_POS
            }  # fmt: skip
            assert specs.check_specs(given, libero, {}, {}) == []
            await client.start_episode({"task": {"name": "push"}})
            steps = [(await client.act(seen))["actions"] for _ in range(3)]
            with pytest.raises(RuntimeError, match=r"Server error: .*task_description must be a non-empty string"):
                await client.act({**seen, "task_description": None})
            await client.end_episode({"metrics": {}})
            assert all(step.shape == (7,) for step in steps)
            return [float(step[0]) for step in steps]

    assert asyncio.run(episode()) == [10, 11, 20]
