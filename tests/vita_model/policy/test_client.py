"""The client speaks openpi's protocol with a server that is written here from the standard alone."""

import base64
import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha1

import numpy as np
import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_model.policy.client import ServedPolicy, question
from vita_model.policy.opener import load_policy
from vita_model.policy.openpi import pack, unpack

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Serve = Callable[[Callable[["Peer"], None]], str]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, file: io.BufferedReader) -> None:
        self.connection, self.file = connection, file
        head = {}
        self.file.readline()
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            head[name.lower()] = value
        self.head = head
        answer = base64.b64encode(sha1((head["sec-websocket-key"] + _GUID).encode()).digest()).decode()
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {answer}\r\n\r\n".encode()
        )

    def send(self, data: bytes, code: int = 2, *, last: bool = True) -> None:
        size = len(data)
        if size < 126:
            form = struct.pack(">B", size)
        else:
            form = struct.pack(">BH", 126, size) if size < 1 << 16 else struct.pack(">BQ", 127, size)
        self.connection.sendall(bytes([(0x80 if last else 0) | code]) + form + data)

    def receive(self) -> tuple[int, bytes]:
        first, second = self.file.read(2)
        assert second & 0x80, "a client's frames are masked"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.file.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.file.read(8))[0]
        mask, data = self.file.read(4), self.file.read(size)
        return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


@pytest.fixture
def serve() -> Iterator[Serve]:
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def start(talk: Callable[[Peer], None]) -> str:
        def run() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as file:
                talk(Peer(connection, file))

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"ws://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(timeout=5)
    listener.close()


def _greet(peer: Peer, **metadata: object) -> None:
    peer.send(pack(metadata))


def test_metadata_then_a_question_then_an_answer(serve, observation):
    asked = []

    def talk(peer: Peer) -> None:
        _greet(peer, convention="libero", constants={"flip": "rot180"})
        asked.append(unpack(peer.receive()[1]))
        peer.send(pack({"actions": np.ones((12, 7), np.float32), "server_timing": {"infer_ms": 1.0}}))
        peer.receive()

    with closing(ServedPolicy(serve(talk))) as policy:
        actions = policy.act(observation)

    assert policy.info.convention == "libero"
    assert policy.info.constants == {"flip": "rot180"}
    assert actions.shape == (12, 7)
    assert asked[0]["prompt"] == "lift it"
    np.testing.assert_array_equal(asked[0]["observation/image"], np.full((8, 6, 3), 7, np.uint8))
    np.testing.assert_array_equal(asked[0]["observation/state"], observation.state.values)
    assert asked[0]["observation/state_mask"].sum() == 10


def test_a_question_has_the_keys_of_openpi(observation):
    assert {"observation/image", "observation/wrist_image", "observation/state", "prompt"} <= set(question(observation))


def test_pings_and_pieces_on_the_way_are_taken(serve, observation):
    def talk(peer: Peer) -> None:
        _greet(peer)
        peer.receive()
        peer.send(b"hello", code=9)
        assert peer.receive() == (10, b"hello")
        whole = pack({"actions": np.zeros((3, 7))})
        peer.send(whole[:10], last=False)
        peer.send(b"", code=10)
        peer.send(whole[10:], code=0)

    with closing(ServedPolicy(serve(talk))) as policy:
        assert policy.act(observation).shape == (3, 7)


def test_large_messages_pass_both_ways(serve, observation):
    def talk(peer: Peer) -> None:
        _greet(peer, padding="x" * 70000)
        peer.receive()
        peer.send(pack({"actions": np.zeros((2000, 7))}))

    with closing(ServedPolicy(serve(talk))) as policy:
        assert policy.act(observation).shape == (2000, 7)


def test_a_text_message_is_the_servers_error(serve, observation):
    def talk(peer: Peer) -> None:
        _greet(peer)
        peer.receive()
        peer.send(b"Traceback\n  ...\nValueError: image is missing", code=1)

    with (
        pytest.raises(VitaDataError, match="reports an error: ValueError: image is missing"),
        closing(ServedPolicy(serve(talk))) as policy,
    ):
        policy.act(observation)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"action": 1}, "expected an answer with 'actions', got action"),
        ({"actions": np.zeros((2, 8))}, r"expected actions \[H, 7\], got shape \(2, 8\)"),
        ({"actions": np.full((2, 7), np.nan)}, "expected finite actions"),
        ([1, 2], "expected a map as answer, got a list"),
        ({"actions": "up"}, r"expected actions \[H, 7\] as an array of numbers"),
        ({"actions": [[0.0] * 7, [0.0]]}, r"expected actions \[H, 7\] as an array of numbers"),
        ({"actions": {"x": 1}}, r"expected actions \[H, 7\] as an array of numbers"),
    ],
)
def test_other_answers_are_refused(serve, observation, answer, words):
    def talk(peer: Peer) -> None:
        _greet(peer)
        peer.receive()
        peer.send(pack(answer))

    with pytest.raises(VitaDataError, match=words), closing(ServedPolicy(serve(talk))) as policy:
        policy.act(observation)


def test_a_server_that_hangs_up_is_named(serve, observation):
    def talk(peer: Peer) -> None:
        _greet(peer)
        peer.receive()
        peer.send(struct.pack(">H", 1011) + b"broken", code=8)

    with (
        pytest.raises(VitaDataError, match=r"closed the connection \(code 1011 broken"),
        closing(ServedPolicy(serve(talk))) as policy,
    ):
        policy.act(observation)


def test_a_silent_server_is_not_waited_for_longer_than_asked(serve, observation):
    def talk(peer: Peer) -> None:
        _greet(peer)
        peer.receive()
        peer.receive()  # the goodbye

    with closing(ServedPolicy(serve(talk), timeout_s=0.2)) as policy, pytest.raises(VitaDataError, match="no answer"):
        policy.act(observation)


def test_a_key_goes_into_the_header(serve, monkeypatch):
    heads = []

    def talk(peer: Peer) -> None:
        heads.append(peer.head)
        _greet(peer)

    ServedPolicy(serve(talk), api_key="secret").close()
    assert heads[0]["authorization"] == "Api-Key secret"
    monkeypatch.setenv("VITA_API_KEY", "of the environment")
    load_policy(serve(talk), convention="libero").close()
    assert heads[1]["authorization"] == "Api-Key of the environment"


def test_nobody_there_and_no_address_are_said():
    with pytest.raises(VitaDataError, match="no server answers"):
        ServedPolicy("ws://127.0.0.1:9", timeout_s=1)
    with pytest.raises(RequestError, match=r"expected an address ws://HOST:PORT, got http://127\.0\.0\.1:9"):
        ServedPolicy("http://127.0.0.1:9")


@pytest.mark.parametrize("address", ["ws://h:abc", "ws://h:80000", "ws://h:0", "ws://[::1", "ws://a..b:9", "ws://"])
def test_a_typo_in_an_address_is_said(address):
    with pytest.raises(RequestError, match="expected an address ws://HOST:PORT, got ws://"):
        ServedPolicy(address, timeout_s=1)


@pytest.mark.parametrize(("status", "told"), [("404 Not Found", "404 Not Found"), ("401 No", "set VITA_API_KEY")])
def test_a_web_server_is_no_policy_server(status, told):
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with pytest.raises(VitaDataError, match=told):
        ServedPolicy(f"ws://127.0.0.1:{listener.getsockname()[1]}", timeout_s=5)
    thread.join(timeout=5)
    listener.close()


def test_a_source_is_asked_for_by_name(serve, observation):
    asked = []

    def talk(peer: Peer) -> None:
        _greet(peer, sources=["bridge", "fractal"], step=7)
        asked.append(unpack(peer.receive()[1]))
        peer.send(pack({"actions": np.zeros((3, 7))}))
        peer.receive()

    with closing(ServedPolicy(serve(talk), source="fractal")) as policy:
        policy.act(observation)
    assert asked[0]["source"] == "fractal"
    assert (policy.info.sources, policy.info.step) == (("bridge", "fractal"), 7)


def test_a_source_that_a_server_has_not_is_refused_before_it_is_asked(serve):
    def talk(peer: Peer) -> None:
        _greet(peer, sources=["bridge", "fractal"])
        peer.receive()

    with pytest.raises(RequestError, match=r"--source libero: .* has statistics only for bridge, fractal"):
        ServedPolicy(serve(talk), source="libero")
    with pytest.raises(RequestError, match=r"--source NAME is required: .* has statistics for bridge, fractal"):
        ServedPolicy(serve(talk))


def test_what_a_server_says_of_itself_becomes_plain_values(serve):
    def talk(peer: Peer) -> None:
        _greet(peer, constants={"scale": np.float32(0.5), "signs": np.array([1, -1])}, digest="abc")
        peer.receive()

    with closing(ServedPolicy(serve(talk))) as policy:
        assert json.loads(json.dumps(policy.info.as_json()))["constants"] == {"scale": 0.5, "signs": [1, -1]}
        assert policy.info.digest == "abc"
