"""A stand-in of the hub on loopback: what uploading a dataset asks of it, with all files sent inside the commit."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What was uploaded."""

    address: str = ""
    is_private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        """What the server holds."""
        assert isinstance(self.server, HubServer)
        return self.server.hub

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/datasets/").partition("?")[0]
        if name not in self.hub.is_private or self.headers["Authorization"] != "Bearer secret":
            self.reply({"error": "no such repository"}, status=404, code="RepoNotFound")
            return
        self.reply({"id": name, "private": self.hub.is_private[name], "sha": "0" * 40})

    def do_DELETE(self) -> None:
        tag = self.path.rsplit("/", 1)[1]
        if tag not in self.hub.tags:
            self.reply({"error": "no tag"}, status=404, code="RevisionNotFound")
            return
        self.hub.tags.remove(tag)
        self.reply({})

    def do_POST(self) -> None:
        told = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer secret":
            self.reply({"error": "no"}, status=401)
        elif self.path == "/api/repos/create":
            self.create(json.loads(told))
        elif "/preupload/" in self.path:
            named = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(told)["files"]]  # fmt: skip
            self.reply({"files": named})
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in told.splitlines()])
        elif "/tag/" in self.path:
            self.hub.tags.append(json.loads(told)["tag"])
            self.reply({})
        else:
            self.reply({"errors": [], "warnings": []})  # what the hub thinks of the card

    def create(self, told: dict[str, object]) -> None:
        name = f"{told['organization']}/{told['name']}"
        known = name in self.hub.is_private
        self.hub.is_private.setdefault(name, bool(told.get("private") or told.get("visibility") == "private"))
        self.reply({"url": f"{self.hub.address}/datasets/{name}"}, status=409 if known else 200)

    def commit(self, lines: list[dict[str, dict[str, str]]]) -> None:
        for line in lines:
            if line["key"] == "file":
                self.hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self.reply(
            {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.hub.address}/datasets/lab/arm/commit/1"}
        )

    def reply(self, value: object, *, status: int = 200, code: str = "") -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests short."""


class HubServer(ThreadingHTTPServer):
    """Has a hub."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()
    with HubServer(hub) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
