"""The live page over HTTP: a handful of addresses, GET and HEAD only."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reinforced.errors import ReinforcedError
from reinforced.report import palette
from reinforced.report.live import LiveFolder

CONNECTIONS = 64
"""Answered at a time; others wait in the system's queue."""
QUEUE = 512
PATIENCE = 10.0
"""Seconds without a byte after which a client is left alone."""
_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report may have come with a run from anywhere: it is kept from this page and from the network.
_REPORT = (
    "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_Answer = tuple[str, bytes, str]


class LiveServer(ThreadingHTTPServer):
    """Serves one folder of runs; nothing outside it, and no file but by the name of a run."""

    daemon_threads = True
    request_queue_size = QUEUE

    def __init__(self, folder: Path, host: str, port: int) -> None:
        """Listen on ``host``; port 0 takes any that is free.

        Raises:
            ReinforcedError: the port is taken or not allowed, or there is no such host here.
        """
        self.live = LiveFolder(folder)
        self.host = host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ReinforcedError(_refused(error, host, port)) from None

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, as HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, once one is free."""
        self._slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's work."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: LiveServer
    timeout = PATIENCE
    server_version, sys_version = "reinforced", ""
    error_content_type, error_message_format = "text/plain", "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        """Answer one of the known addresses."""
        if not self._addressed_to_us():
            self._send(HTTPStatus.FORBIDDEN, _text("use this machine's IP address, or name it with --host"))
            return
        path, _, query = self.path.partition("?")
        given = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        answer = _ADDRESSES[path](self.server.live, given) if path in _ADDRESSES else None
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, _text("nothing here"))
        else:
            self._send(HTTPStatus.OK, answer)

    def do_HEAD(self) -> None:
        """The same without a body."""
        self.do_GET()

    def _refuse(self) -> None:
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, _text("this page only shows"))

    # The base class's names.
    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def _addressed_to_us(self) -> bool:
        """Whether the Host is an address, localhost or ``--host``: a name that someone rebound is neither."""
        named = self.headers.get_all("Host", [])
        try:
            host = urlsplit(f"//{named[0]}").hostname or ""
        except (IndexError, ValueError):
            return False
        return len(named) == 1 and (host in ("localhost", self.server.host.lower()) or _is_address(host))

    def _send(self, status: HTTPStatus, answer: _Answer) -> None:
        kind, body, policy = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page that asks every two seconds would fill the terminal."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _runs(live: LiveFolder, _given: dict[str, str]) -> _Answer | None:
    about = {"folder": live.root.name, "now": time.time(), "report": live.has_report}
    return _json({**about, "runs": live.overview()})


def _rows(live: LiveFolder, given: dict[str, str]) -> _Answer | None:
    after = given.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        return None
    found = live.rows(given.get("run", ""), given.get("start", ""), int(after))
    return None if found is None else _json(found)


def _report(live: LiveFolder, given: dict[str, str]) -> _Answer | None:
    page = live.report(given.get("run"))
    return None if page is None else ("text/html; charset=utf-8", page, _REPORT)


@cache
def _part(name: str) -> bytes:
    return files("reinforced.report").joinpath("live", name).read_bytes()


_ADDRESSES: dict[str, Callable[[LiveFolder, dict[str, str]], _Answer | None]] = {
    "/": lambda *_: ("text/html; charset=utf-8", _part("page.html"), _OWN),
    "/page.js": lambda *_: ("text/javascript; charset=utf-8", _part("page.js"), _OWN),
    "/page.css": lambda *_: ("text/css; charset=utf-8", palette.css().encode() + _part("page.css"), _OWN),
    "/runs.json": _runs,
    "/rows.json": _rows,
    "/report": _report,
}


def _json(value: Any) -> _Answer:
    return "application/json", json.dumps(value, allow_nan=False).encode(), _OWN


def _text(words: str) -> _Answer:
    return "text/plain; charset=utf-8", f"{words}\n".encode(), _OWN


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port, or --port 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} is not open to you; choose one above 1023"
    return f"cannot listen on {host}, port {port} ({error.strerror}); --host is an address of this machine"
