"""Clients, theirs and hostile ones, against a server that must answer or refuse, and go on."""

import asyncio
import contextlib
import gc
import random
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import ClassVar

import aiohttp
import numpy as np
import pytest

from vita_model.policy.openpi import pack, read_request

IMAGE = np.full((8, 8, 3), 10, np.uint8)
GOOD = {"observation/image": IMAGE, "prompt": "push"}


def ask(port: int, *messages: bytes | str, key: str | None = None) -> list[str | dict]:
    """Send messages on one connection; give the metadata and what came back, texts as they are."""

    async def talk() -> list[str | dict]:
        headers = {"Authorization": f"Api-Key {key}"} if key else {}
        address = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(address) as ws:
            found: list[str | dict] = [read_request((await ws.receive()).data)]
            for message in messages:
                await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))
                answer = await ws.receive(timeout=20)
                found.append(answer.data if isinstance(answer.data, str) else read_request(answer.data))
            return found

    return asyncio.run(talk())


def get(port: int, path: str) -> tuple[int, str]:
    async def fetch() -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    return asyncio.run(fetch())


def test_metadata_comes_first_and_then_an_answer_a_question(serve: Callable[..., int]) -> None:
    metadata, *answers = ask(serve(), pack(GOOD), pack({**GOOD, "prompt": "pull"}))
    assert metadata == {"policy": "echo", "action_horizon": 4}
    assert [answer["prompt"] for answer in answers] == ["push", "pull"]  # type: ignore[index]
    assert answers[0]["actions"].tolist() == np.full((4, 7), 10.0).tolist()  # type: ignore[index]


def test_a_bad_request_is_answered_by_one_line_and_the_connection_goes_on(serve: Callable[..., int]) -> None:
    asked = [b"\xc1", pack({"prompt": "x"}), "hello", pack({**GOOD, "prompt": "break"}), pack(GOOD)]
    _, *answers = ask(serve(), *asked)
    assert [type(answer) for answer in answers] == [str, str, str, str, dict]
    assert "expected a msgpack message" in answers[0]
    assert answers[1] == "a request needs observation/image"
    assert "binary frame" in answers[2]
    assert "ZeroDivisionError" in answers[3]
    assert all("\n" not in answer for answer in answers[:4])


def test_health_and_unknown_paths(serve: Callable[..., int]) -> None:
    port = serve()
    assert get(port, "/healthz") == get(port, "/health") == (200, "OK\n")
    assert get(port, "/nothing")[0] == 404


def test_a_key_is_wanted_where_one_is_set(serve: Callable[..., int]) -> None:
    port = serve(api_key="secret")
    for key in (None, "wrong"):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            ask(port, pack(GOOD), key=key)
    assert len(ask(port, pack(GOOD), key="secret")) == 2


@pytest.mark.parametrize("path", ["/", "/vla-eval"])
def test_a_key_in_no_encoding_is_a_wrong_one(serve: Callable[..., int], path: str) -> None:
    with socket.create_connection(("127.0.0.1", serve(api_key="secret"))) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + b"Authorization: Api-Key \xff\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


def test_one_client_too_many_is_told_so(serve: Callable[..., int]) -> None:
    port = serve(max_clients=0)
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        ask(port)


def test_a_client_that_takes_no_answer_makes_room_for_another(serve: Callable[..., int]) -> None:
    class Long:
        metadata: ClassVar[dict[str, object]] = {}

        def act(self, request: dict) -> dict:
            return {"actions": b"x" * (16 << 20)}

    port = serve(Long(), max_clients=1, heartbeat_s=0.5)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        hello = b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        raw.sendall(b"GET / HTTP/1.1\r\n" + hello + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        raw.recv(10_000)
        raw.sendall(b"\x82\x81\0\0\0\0\x80")  # an empty map, masked by zeros
        for _ in range(100):
            with contextlib.suppress(aiohttp.WSServerHandshakeError):  # 503 as long as it is there
                assert ask(port) == [{}]
                return
            time.sleep(0.1)
    raise AssertionError("the client that reads nothing keeps its place")


def test_a_message_too_large_ends_its_connection_alone(serve: Callable[..., int]) -> None:
    port = serve(max_message_bytes=10_000)
    with pytest.raises((TypeError, ConnectionError, aiohttp.ClientError)):
        ask(port, pack({**GOOD, "observation/image": np.zeros((200, 200, 3), np.uint8)}))
    assert len(ask(port, pack(GOOD))) == 2


def test_a_queue_that_is_full_is_said(serve: Callable[..., int]) -> None:
    release = threading.Event()

    class Slow:
        metadata: ClassVar[dict[str, object]] = {}

        def act(self, request: dict) -> dict:
            release.wait(20)
            return {"actions": np.zeros((1, 7))}

    async def crowd(port: int) -> list[object]:
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(f"http://127.0.0.1:{port}/") for _ in range(4)]
            for ws in sockets:
                await ws.receive()
                await ws.send_bytes(pack(GOOD))
            answer = await sockets[-1].receive(timeout=20)
            release.set()
            others = [(await ws.receive(timeout=20)).data for ws in sockets[:-1]]
            for ws in sockets:
                await ws.close()
            return [answer.data, *others]

    busy, *answers = asyncio.run(crowd(serve(Slow(), max_waiting=2)))
    assert isinstance(busy, str)
    assert busy.startswith("busy")
    assert all(isinstance(answer, bytes) for answer in answers)


@pytest.mark.filterwarnings("ignore:connect")
def test_openpi_s_client_asks_200_times_from_four_threads(serve: Callable[..., int]) -> None:
    client = pytest.importorskip("openpi_client.websocket_client_policy", reason="openpi-client is not installed")
    port, faults = serve(), []

    def run(number: int) -> None:
        try:
            policy = client.WebsocketClientPolicy("127.0.0.1", port)
            assert policy.get_server_metadata()["policy"] == "echo"
            for turn in range(50):
                image = np.full((224, 224, 3), number * 50 + turn, np.uint8)
                answer = policy.infer({"observation/image": image, "prompt": f"{number}"})
                assert answer["prompt"] == f"{number}"
                assert np.allclose(answer["actions"], image[0, 0, 0])
        except BaseException as fault:  # noqa: BLE001 - told below, whatever it is
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults


def hostile(seed: int) -> bytes:
    """Bytes that a broken or hostile client may send as a request."""
    rng, good = random.Random(seed), bytearray(pack(GOOD))
    kind = seed % 4
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return bytes(good[: rng.randrange(len(good))])
    if kind == 2:
        for _ in range(rng.randrange(1, 20)):
            good[rng.randrange(len(good))] = rng.randrange(256)
        return bytes(good)
    return pack({rng.choice(["observation/image", "prompt", "x"]): rng.choice([1, None, "y", [1] * 50])})


def test_hundreds_of_hostile_requests_are_answered_and_leave_no_memory_behind(serve: Callable[..., int]) -> None:
    port = serve()
    for number in range(4):
        _, *answers = ask(port, *[hostile(seed) for seed in range(number * 100, number * 100 + 100)])
        assert len(answers) == 100
        if number == 0:
            gc.collect()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(40):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            # Half a handshake, or none: the connection is dropped while the server waits for more.
            raw.sendall(
                b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n"[: 5 + seed]
                if seed % 2
                else random.Random(seed).randbytes(80)
            )
    assert len(ask(port, pack(GOOD))) == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
