"""The live server: read only, nothing but the folder's runs, nobody but who is meant, and all who ask."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reinforced.errors import ReinforcedError
from reinforced.report import serve
from reinforced.report.serve import LiveServer

RECIPE = "name: quickstart/sl\nseed: 0\nphases: [{epochs: 3}]\n"
ROW = {"epoch": 1, "validation_accuracy": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``runs`` with one run, a secret beside it, and links that lead to the secret."""
    runs = tmp_path / "runs"
    for name in ("one", "linked"):
        (runs / name).mkdir(parents=True)
        (runs / name / "recipe.yaml").write_text(RECIPE)
    (runs / "one" / "metrics.jsonl").write_text(json.dumps(ROW) + "\n")
    (runs / "one" / "report.html").write_text("<p>a report")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "recipe.yaml").write_text(RECIPE)
    (outside / "report.html").write_text("secret")
    (outside / "metrics.jsonl").write_text('{"secret": 1}\n')
    (runs / "away").symlink_to(outside)
    (runs / "linked" / "report.html").symlink_to(outside / "report.html")
    (runs / "linked" / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    return runs


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with LiveServer(folder, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, Any]:
    """Status, body and headers; the path goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, "/", skip_host=True, skip_accept_encoding=True)
    line = f"{method} {path} HTTP/1.1".encode("latin-1")
    connection._buffer[0] = line  # type: ignore[attr-defined]  # http.client refuses some paths
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers


def test_the_page_and_its_data(port: int) -> None:
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, body, headers = ask(port, path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert body
    seen = json.loads(ask(port, "/runs.json")[1])
    (linked, one) = seen["runs"]  # and no run that a link leads to
    assert (one["name"], one["state"], one["epochs"], one["planned"]) == ("one", "unfinished", 1, 3)
    assert (linked["name"], linked["epochs"], linked["report"]) == ("linked", 0, False)
    rows = json.loads(ask(port, "/rows.json?run=one")[1])
    assert rows["rows"] == [ROW]
    status, body, headers = ask(port, "/report?run=one")
    assert (status, body) == (200, b"<p>a report")
    assert headers["Content-Security-Policy"].startswith("sandbox ")


def test_the_page_asks_nobody_else(port: int) -> None:
    class Addresses(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
            self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    page = Addresses()
    page.feed(ask(port, "/")[1].decode())
    assert sorted(page.found) == ["/page.css", "/page.js", "/report", "data:,"]
    policy = ask(port, "/")[2]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    script = ask(port, "/page.js")[1].decode()
    assert "innerHTML" not in script
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")


OUT = "../../etc/passwd"


@pytest.mark.parametrize(
    "path",
    [
        f"/{OUT}",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e/%252e%252e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/..\\..\\etc\\passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/page.js/../../records.py",
        "/page.js%00",
        "/one/report.html",
        "/outside/report.html",
        f"/report?run={OUT}",
        "/report?run=%2e%2e%2foutside",
        "/report?run=%252e%252e%252foutside",
        "/report?run=/etc",
        "/report?run=one%00",
        "/report?run=one/../../outside",
        "/report?run=away",
        "/report?run=linked",
        "/report?run=nothing",
        "/report",
        f"/rows.json?run={OUT}",
        "/rows.json?run=away",
        "/rows.json?run=one&after=-1",
        "/rows.json?run=one&after=%C2%B2",
        "/rows.json?run=one&after=99999999999",
    ],
)
def test_nothing_else_is_there(path: str, port: int) -> None:
    status, body, _ = ask(port, path)
    assert (status, body) == (404, b"nothing here\n")


def test_a_link_to_a_file_outside_gives_no_rows(port: int) -> None:
    assert json.loads(ask(port, "/rows.json?run=linked")[1])["rows"] == []


def test_a_pipe_does_not_hold_the_server_up(folder: Path, port: int) -> None:
    (folder / "pipe").mkdir()
    (folder / "pipe" / "recipe.yaml").write_text(RECIPE)
    os.mkfifo(folder / "pipe" / "metrics.jsonl")
    (folder / "pipe" / "report.html").symlink_to("metrics.jsonl")
    assert json.loads(ask(port, "/rows.json?run=pipe")[1])["rows"] == []
    assert ask(port, "/report?run=pipe")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_shows(method: str, port: int) -> None:
    status, _, headers = ask(port, "/runs.json", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(port: int) -> None:
    status, body, headers = ask(port, "/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(port, "/")[1])


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "a:b:c", "["]
)
def test_a_rebound_name_is_refused(host: str, port: int) -> None:
    status, body, _ = ask(port, "/runs.json", host=host or " ")
    assert status == 403
    assert b"one" not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:1", "192.0.2.7:8765"])
def test_addresses_and_localhost_are_served(host: str, port: int) -> None:
    assert ask(port, "/runs.json", host=host)[0] == 200


def test_two_hundred_at_once_are_all_answered(port: int) -> None:
    together = threading.Barrier(200)

    def one(number: int) -> int:
        together.wait(60)
        return ask(port, ("/", "/runs.json", "/rows.json?run=one", "/page.js")[number % 4])[0]

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(one, range(200))) == [200] * 200


def test_silent_clients_keep_nobody_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve._Handler, "timeout", 0.2)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(serve.CONNECTIONS + 10)]
    assert ask(port, "/runs.json")[0] == 200
    for client in silent:
        client.close()


def test_a_port_in_use_is_one_line(port: int, folder: Path) -> None:
    with pytest.raises(ReinforcedError, match=f"port {port} of 127.0.0.1 is in use"):
        LiveServer(folder, "127.0.0.1", port)
