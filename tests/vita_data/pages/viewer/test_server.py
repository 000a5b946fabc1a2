"""The server: known names by GET for its own address only, damage as a message on the page."""

import http.client
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.vita_data.pages.viewer.read_script import taken
from vita_data.errors import RequestError
from vita_data.pages.viewer.files import ASSETS, ViewerFiles, asset
from vita_data.pages.viewer.server import ADDRESS, ViewerServer


@contextmanager
def serving(files: ViewerFiles) -> Iterator[ViewerServer]:
    with ViewerServer(files, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(shard_folder: Path) -> Iterator[ViewerServer]:
    with serving(ViewerFiles([shard_folder / "arm"])) as found:
        yield found


def answer(
    server: ViewerServer, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, told in {"Host": f"{ADDRESS}:{server.server_port}", **headers}.items():
            connection.putheader(name.replace("_", "-"), told)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_page_style_scripts_and_data_are_served(server: ViewerServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/"
    assert answer(server, "/")[2] == asset("index.html")
    for name in ASSETS:
        status, headers, data = answer(server, f"/{name}")
        assert (status, data) == (200, asset(name))
        assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, data = answer(server, "/data/clip/0.js")
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert taken(data, "clip/0.js")["key"].startswith("arm-")
    assert answer(server, "/data/thumb/0.jpg")[1]["Content-Type"] == "image/jpeg"


def test_it_listens_on_this_machine_only(server: ViewerServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_host_is_refused(server: ViewerServer, host: str) -> None:
    """A name of a foreign site that leads here must not read the data."""
    status, _, data = answer(server, "/data/meta.js", Host=host)
    assert status == 403
    assert b"VITA" not in data


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_other_sites_may_not_load_the_scripts(server: ViewerServer, site: str, status: int) -> None:
    found, headers, _ = answer(server, "/data/meta.js", Sec_Fetch_Site=site)
    assert found == status
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/data/../index.html", "/data/%2e%2e/meta.js", "//etc/passwd", "/data//etc/passwd", "/data/",
     "/data/clip/0.js?x", "/files.py", "/assets/main.js", "/data/clip/5.js", "/data/thumb/0.js", "/favicon.ico"],
)  # fmt: skip
def test_no_path_of_a_client_is_opened(server: ViewerServer, path: str) -> None:
    assert answer(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_only_get_is_answered(server: ViewerServer, method: str) -> None:
    assert answer(server, "/data/meta.js", method=method)[0] == 501


def connected(server: ViewerServer) -> socket.socket:
    return socket.create_connection((ADDRESS, server.server_port), timeout=20)


def test_silent_clients_make_room_for_newcomers(server: ViewerServer) -> None:
    """Each has a thread and a file handle, of which there are about a thousand."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(server)) for _ in range(200)]
        assert answer(server, "/data/clip/0.js")[0] == 200
        assert [one.recv(1) for one in silent[:60]] == [b""] * 60  # ended, the oldest first
        silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent[-1].recv(100).startswith(b"HTTP/1.1 403")


def test_a_browser_that_hangs_up_is_not_an_error(server: ViewerServer, capfd: pytest.CaptureFixture[str]) -> None:
    request = f"GET /data/clip/0.js HTTP/1.1\r\nHost: {ADDRESS}:{server.server_port}\r\n\r\n".encode()
    before = set(threading.enumerate())
    for _ in range(20):
        with connected(server) as client:
            client.sendall(request * 20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
    end_s = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < end_s:
        time.sleep(0.05)
    assert answer(server, "/data/clip/0.js")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_fault_of_a_request_is_one_line(
    server: ViewerServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> bytes:
        raise ZeroDivisionError(f"{name}\x1b[2J")

    monkeypatch.setattr(server.files, "read", fail)
    with pytest.raises(http.client.RemoteDisconnected):
        answer(server, "/data/clip/0.js")
    assert capfd.readouterr().err == "vita-data view: a request failed (ZeroDivisionError('clip/0.js\\x1b[2J'))\n"


def test_damage_is_a_message_on_the_page_and_the_rest_is_served(shard_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(shard_folder / "arm", tmp_path / "arm")
    shard = tmp_path / "arm" / "train" / "arm-train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(bytes(data))
    with serving(ViewerFiles([tmp_path / "arm"])) as server:
        status, _, told = answer(server, "/data/clip/0.js")
        assert status == 200
        assert told.startswith(b'VITA.fail("clip/0.js", "shard ')
        assert told.count(b"\n") == 1
        assert answer(server, "/data/clip/1.js")[2].startswith(b"VITA.take(")


def test_a_port_that_is_taken_is_told(server: ViewerServer) -> None:
    with pytest.raises(RequestError, match=f"--port {server.server_port}: cannot listen there"):
        ViewerServer(server.files, server.server_port)
