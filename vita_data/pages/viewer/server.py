"""Serves the viewer to a browser on this machine: only GET, only known names, only to pages of its own address."""

import re
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from vita_data.command.exits import one_line
from vita_data.errors import RequestError, VitaDataError
from vita_data.pages.viewer.files import ASSETS, ViewerFiles, asset, failure

ADDRESS = "127.0.0.1"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "jpg": "image/jpeg",
}
_DATA = re.compile(r"/data/([a-z]+(?:/[0-9]{1,9}){0,3}\.(?:js|jpg))")
_MAX_CONNECTIONS = 128
"""Open connections; a browser opens six to an address."""
_OWN_SITES = frozenset({"same-origin", "none"})


class ViewerServer(ThreadingHTTPServer):
    """A server of one viewer on the loopback address."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, files: ViewerFiles, port: int) -> None:
        """Listen on a port; 0 means any free one.

        Raises:
            RequestError: the port is taken or not allowed.
        """
        self.files = files
        self._open: dict[socket.socket, None] = {}  # in the order in which they came
        self._counting = Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise RequestError(
                f"--port {port}: cannot listen there ({error.strerror}); give another port, or --port 0 for any"
            ) from error

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def is_own(self, host: str | None, site: str | None) -> bool:
        """Tell whether a request was made for this address by its own page or by a person.

        Other web sites could otherwise read the data, by a name that leads here or by loading the scripts.
        """
        hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        return host in hosts and (site is None or site in _OWN_SITES)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; if too many connections are open, the oldest of them is ended."""
        with self._counting:
            self._open[request] = None
            for one in list(self._open)[:-_MAX_CONNECTIONS]:
                del self._open[one]
                with suppress(OSError):  # it has just ended by itself
                    one.shutdown(socket.SHUT_RDWR)  # its thread ends and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._counting:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a fault of this program in one line; that a browser hangs up is not one."""
        fault = sys.exception()
        if not isinstance(fault, ConnectionError | TimeoutError):
            sys.stderr.write(one_line(f"vita-data view: a request failed ({fault!r:.500})") + "\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written one after the other
    timeout = 60
    server: ViewerServer

    def do_GET(self) -> None:
        """Answer with a file of the viewer."""
        if not self.server.is_own(self.headers.get("Host"), self.headers.get("Sec-Fetch-Site")):
            self._answer(HTTPStatus.FORBIDDEN, b"open the address that the command printed\n")
            return
        path = "/index.html" if self.path == "/" else self.path
        data = asset(path[1:]) if path[1:] in ASSETS else self._data(path)
        if data is None:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n")
        else:
            self._answer(HTTPStatus.OK, data, kind=_KINDS[path.rpartition(".")[2]])

    def _data(self, path: str) -> bytes | None:
        found = _DATA.fullmatch(path)
        if found is None:
            return None
        try:
            return self.server.files.read(found[1])
        except VitaDataError as error:
            # As a script, so that the page shows the message.
            return failure(found[1], one_line(str(error))) if found[1].endswith(".js") else None

    def _answer(self, status: HTTPStatus, data: bytes, *, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        """Name no version of Python."""
        return "vita-data"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing about each request."""
