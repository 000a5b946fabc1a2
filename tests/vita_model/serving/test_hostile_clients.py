"""Clients that mean harm or read slowly: they lose their places, and others are answered as if they were not there."""

import contextlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from vita_model.policy.openpi import pack, read_request
from vita_model.policy.websocket import WebSocket
from vita_model.serving.options import ServeOptions

GOOD = {"observation/image": np.full((8, 8, 3), 10, np.uint8), "prompt": "push"}
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SERVER = """
import sys
from tests.vita_model.serving.conftest import Echo, running
from vita_model.serving.options import ServeOptions
with running(Echo(), ServeOptions()) as port:
    print(port, flush=True)
    sys.stdin.read()
"""


def frame(data: bytes, *, is_masked: bool = True) -> bytes:
    bit = 0x80 if is_masked else 0
    if len(data) < 126:
        head = struct.pack("!BB", 0x82, bit | len(data))
    else:
        head = struct.pack("!BBQ", 0x82, bit | 127, len(data))
    return head + bytes(4 if is_masked else 0) + data  # masked by zeros


OPEN = ExitStack()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    OPEN.close()


def raw(port: int, headers: str = "") -> tuple[socket.socket, bytes]:
    """Shake hands; give the socket and the first line of the answer."""
    client = OPEN.enter_context(socket.create_connection(("127.0.0.1", port)))
    client.settimeout(20)
    client.sendall(f"{UPGRADE}{headers}\r\n".encode())
    return client, client.recv(4096).partition(b"\r\n")[0]


def status(port: int, headers: str = "") -> int:
    client, line = raw(port, headers)
    client.close()
    return int(line.split()[1])


def opened(port: int) -> WebSocket:
    client = OPEN.enter_context(contextlib.closing(WebSocket(f"ws://127.0.0.1:{port}", timeout_s=20)))
    client.receive()
    return client


def is_ended(client: socket.socket, within_s: float) -> bool:
    """Tell whether the server ends a connection."""
    client.settimeout(within_s)
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_a_web_page_does_not_reach_the_policy_unless_it_is_allowed(serve: Callable[..., int]) -> None:
    port = serve(origins=("http://localhost:3000",))
    for page in ("http://evil.example", "http://127.0.0.1:8000", "null", "http://localhost:3000.evil.example"):
        assert status(port, f"Origin: {page}\r\n") == 403
    assert status(port, "Origin: http://localhost:3000\r\nOrigin: http://evil.example\r\n") == 403
    assert status(port, "Origin: http://localhost:3000\r\n") == 101
    assert status(port) == 101


def times_beside(
    port: int, attack: Callable[[], None], stop: threading.Event, *, num_clients: int, num_requests: int
) -> list[float]:
    """How long an honest client waits for each answer, in s, while others attack until `stop` is set."""
    threads = [threading.Thread(target=attack) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    honest, times_s = opened(port), []
    for _ in range(num_requests):
        start_s = time.monotonic()
        honest.send(pack(GOOD))
        honest.receive()
        times_s.append(time.monotonic() - start_s)
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    return times_s


@pytest.mark.parametrize("opcode", [0x9, 0xA])
def test_a_flood_of_control_frames_ends_its_connection(serve: Callable[..., int], opcode: int) -> None:
    """Each takes as long as many bytes of a message: 40,000 in one piece would keep all others waiting for seconds."""
    port = serve()
    client, _ = raw(port)
    with contextlib.suppress(OSError):
        for _ in range(20):
            client.sendall(bytes([0x80 | opcode, 0x80, 0, 0, 0, 0]) * 40_000)
    assert is_ended(client, 5)
    honest = opened(port)
    honest.send(pack(GOOD))
    assert not honest.receive().is_text


def test_others_are_answered_while_clients_flood_with_pings(server_process: tuple[int, int]) -> None:
    _, port = server_process
    stop, pings = threading.Event(), b"\x89\x80\0\0\0\0" * 40_000

    def flood() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(f"{UPGRADE}\r\n".encode())
                client.recv(4096)
                while not stop.is_set():
                    client.sendall(pings)

    times_s = times_beside(port, flood, stop, num_clients=4, num_requests=5)
    assert np.median(times_s) < 1  # 0.02; 4.7 where every ping is answered


def test_an_unmasked_frame_ends_its_connection(serve: Callable[..., int]) -> None:
    client, _ = raw(serve())
    client.sendall(frame(pack(GOOD), is_masked=False))
    client.settimeout(5)
    answer = b""
    while block := client.recv(4096):
        answer += block
    assert b"\x03\xea" in answer  # code 1002, a breach of the protocol
    assert b"actions" not in answer


@pytest.mark.parametrize(
    "message",
    [
        pack({"x" * 1_000_000: 1, "observation/image": 1}),
        pack({"image": {b"__ndarray__": True, b"dtype": "f" * 1_000_000, b"shape": [1], b"data": b""}}),
        pack({"image": {b"__ndarray__": True, b"dtype": "<f4", b"shape": [1] * 50_000, b"data": b""}}),
        b"\xd9" + b"\xff" * 1000,
    ],
)
def test_a_refusal_quotes_little(serve: Callable[..., int], message: bytes) -> None:
    class Telling:
        metadata: ClassVar[dict[str, object]] = {}

        def act(self, request: dict) -> dict:
            from vita_model.policy.observations import read_observation

            read_observation(request)
            return {}

    client = opened(serve(Telling()))
    client.send(message)
    answer = client.receive()
    assert answer.is_text
    assert 0 < len(answer.data) < 600
    assert answer.data.decode().isprintable()


def test_an_array_that_declares_more_items_than_it_has_takes_no_memory(serve: Callable[..., int]) -> None:
    client = opened(serve())
    client.send(b"\xdd\x01\xff\xff\xff" * 500 + bytes(1 << 20))
    assert b"at most 10000 maps and lists" in client.receive().data


def test_silent_clients_make_room_for_newcomers(serve: Callable[..., int]) -> None:
    port = serve(max_clients=4, open_s=3.0, idle_s=1000)
    served = opened(port)
    served.send(pack(GOOD))
    assert not served.receive().is_text
    silent = [raw(port)[0] for _ in range(3)]
    assert status(port) == 503
    time.sleep(3.2)
    newcomer = opened(port)
    assert sum(is_ended(one, 0.3) for one in silent) == 1
    for client in (newcomer, served):
        client.send(pack(GOOD))
        assert not client.receive().is_text


def test_a_client_without_requests_makes_room_after_a_while(serve: Callable[..., int]) -> None:
    port = serve(max_clients=1, open_s=20, idle_s=3.0)
    served = opened(port)
    served.send(pack(GOOD))
    served.receive()
    assert status(port) == 503
    time.sleep(3.2)
    assert status(port) == 101


def test_handshakes_that_never_end_keep_nobody_out(serve: Callable[..., int]) -> None:
    port = serve(open_s=1000)
    hanging = [OPEN.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
    assert status(port) == 101
    assert sum(is_ended(one, 0.01) for one in hanging) >= 60


@pytest.fixture
def server_process() -> Iterator[tuple[int, int]]:
    """A server with default limits; gives its process and port."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        assert server.stdout is not None
        try:
            yield server.pid, int(server.stdout.readline())
        finally:
            server.kill()


def peak_mb(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def test_a_flood_of_large_messages_takes_little_memory(server_process: tuple[int, int]) -> None:
    """Whole messages, and some that lack their ends."""
    pid, port = server_process
    before = peak_mb(pid)
    size = ServeOptions().max_message_bytes - 5
    message = frame(b"\xc6" + struct.pack("!I", size) + bytes(size))

    def flood(missing: int) -> None:
        with contextlib.suppress(OSError), raw(port)[0] as client:
            client.sendall(message[: len(message) - missing])
            time.sleep(2)

    threads = [threading.Thread(target=flood, args=(1000 * (number % 2),)) for number in range(20)]
    for thread in threads:
        thread.start()
    honest, num_answers = opened(port), 0
    while any(thread.is_alive() for thread in threads):
        honest.send(pack(GOOD))
        num_answers += "actions" in read_request(honest.receive().data)
    assert num_answers > 5
    assert peak_mb(pid) - before < 400


def test_30_clients_that_read_slowly_do_not_delay_another(serve: Callable[..., int]) -> None:
    class Steady:
        metadata: ClassVar[dict[str, object]] = {}

        def act(self, request: dict) -> dict:
            time.sleep(0.02)
            return {"actions": np.zeros((12, 7), np.float32)}

    port, stop = serve(Steady()), threading.Event()

    def read_slowly() -> None:
        with contextlib.suppress(OSError), raw(port)[0] as client:
            data, at = frame(pack(GOOD)) * 20, 0
            client.settimeout(0.05)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    at = (at + client.send(data[at:])) % len(data)
                with contextlib.suppress(TimeoutError):
                    client.recv(10)

    times_s = times_beside(port, read_slowly, stop, num_clients=30, num_requests=15)
    assert np.median(times_s) < 0.3  # one turn of another and its own, 0.04; in order of arrival 0.62
