"""A stand-in of the hub on loopback: what uploading a dataset, with its files in the commit, and reading one ask."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40
_FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_REPO = re.compile(
    r"/api/datasets/(?P<repo>[^/]+/[^/]+)(?:/(?P<verb>revision|tree)/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?"
)


@dataclass
class Hub:
    """What was uploaded, to one of the repositories, and what was asked for."""

    address: str = ""
    is_private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    sent: list[tuple[str, int]] = field(default_factory=list)
    """Files that were read and how many bytes of them."""

    def entries(self, folder: str, *, recursive: bool) -> list[dict[str, object]]:
        """List a folder as the hub does."""
        start = f"{folder}/" if folder else ""
        found: dict[str, dict[str, object]] = {}
        for path, data in self.files.items():
            inner = path.removeprefix(start) if path.startswith(start) else ""
            for end in range(1, inner.count("/") + 1):
                above = start + "/".join(inner.split("/")[:end])
                found[above] = {"type": "directory", "path": above, "oid": "1" * 40}
            if inner:
                found[path] = {"type": "file", "path": path, "oid": "2" * 40, "size": len(data)}
        return [one for path, one in found.items() if recursive or "/" not in path.removeprefix(start)]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        """What the server holds."""
        assert isinstance(self.server, HubServer)
        return self.server.hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if file := _FILE.fullmatch(unquote(url.path)):
            self.send_file(file["repo"], file["revision"], file["path"])
            return
        asked = _REPO.fullmatch(unquote(url.path))
        if asked is None or not self.may_read(asked["repo"]):
            self.reply({"error": "no such repository"}, status=404, code="RepoNotFound")
        elif not self.is_known(asked["revision"] or COMMIT):
            self.reply({"error": "no such revision"}, status=404, code="RevisionNotFound")
        elif asked["verb"] == "tree":
            found = self.hub.entries(asked["path"] or "", recursive="recursive=true" in url.query.lower())
            self.reply(found) if found else self.reply({"error": "none"}, status=404, code="EntryNotFound")
        else:
            name = asked["repo"]
            self.reply({"id": name, "private": self.hub.is_private[name], "sha": COMMIT})

    def do_HEAD(self) -> None:
        self.do_GET()

    def is_known(self, revision: str) -> bool:
        """Tell whether there is a revision."""
        return revision in ("main", COMMIT, *self.hub.tags)

    def may_read(self, repo: str) -> bool:
        """Tell whether a repository exists for who asks."""
        return repo in self.hub.is_private and (
            not self.hub.is_private[repo] or self.headers["Authorization"] == "Bearer secret"
        )

    def send_file(self, repo: str, revision: str, path: str) -> None:
        if not self.may_read(repo):
            self.reply({"error": "no such repository"}, status=404, code="RepoNotFound")
            return
        data = self.hub.files.get(path)
        if data is None or not self.is_known(revision):
            self.reply({"error": "no such file"}, status=404, code="EntryNotFound")
            return
        start, stop, whole = 0, len(data), self.headers["Range"] is None
        if not whole:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1 if last else stop, stop)
        self.send_response(200 if whole else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.hub.sent.append((path, stop - start))
            self.wfile.write(data[start:stop])

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
        if self.command != "HEAD":
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
