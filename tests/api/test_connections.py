"""What is answered before any of our code sees a request. Raw sockets, on a real `tesgw serve`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from scripts.gateway import serving as gateway_process
from tesgw.api import make_app, requests, serving
from tesgw.store import TaskStore
from tests.api.conftest import service, task

PATIENCE_SECONDS = 20.0
HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /v1/tasks HTTP/1.1\r\n" + HOST
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST
POST = b"POST /v1/tasks HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GOOD = orjson.dumps(task())
LENGTH = b"Content-Length: %d\r\n" % len(GOOD)


class Server:
    """A gateway in a process of its own and what it has logged."""

    def __init__(self, port: int, log: Path) -> None:
        self._port = port
        self._log = log
        self._read = 0

    def ask(self, *parts: bytes, waits: bool = True) -> bytes:
        """All that comes back for these bytes, each part sent when the one before it has been read, or at least could be."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_SECONDS) as connection:
            for number, part in enumerate(parts):
                time.sleep(0.1 if number else 0)
                connection.sendall(part)
            return b"".join(iter(lambda: connection.recv(65536), b"")) if waits else b""

    def logged(self) -> list[str]:
        """The lines since the last call."""
        text = self._log.read_text()
        new, self._read = text[self._read :], len(text)
        return new.splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    settings = {"LOCAL_WORK_DIR": str(home / "work"), "SQLALCHEMY_DATABASE_URI": "sqlite://"}
    with (home / "log").open("w") as log, gateway_process(0, settings, log=log) as gateway:
        yield Server(int(gateway.url.rpartition(":")[2]), home / "log")


def problem(answer: bytes) -> dict[str, Any]:
    """The body of an answer that is a problem, alone on its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    document: dict[str, Any] = orjson.loads(body)
    assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n"
    assert set(document) == {"status_code", "msg"}
    assert document["status_code"] == status
    assert document["msg"].endswith(".")
    assert not any(word in document["msg"] for word in ("Traceback", "aiohttp", "install", "b'", "\n", "secret"))
    return document


MALFORMED: dict[str, tuple[bytes, int]] = {
    "no HTTP": (b"garbage\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "unknown version": (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "odd port": (b"GET http://secret:99999/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (GET + HOST + b"\r\n", 400),
    "blank in a header's name": (GET + b"a b: c\r\n\r\n", 400),
    "NUL in a header": (GET + b"Authorization: secret\x00\r\n\r\n", 400),
    "long header": (GET + b"Authorization: Bearer secret" + b"x" * 10_000 + b"\r\n\r\n", 431),
    "long query": (b"GET /v1/tasks?name_prefix=" + b"x" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "many headers": (GET + b"a: b\r\n" * 500 + b"\r\n", 400),
    "unknown Transfer-Encoding": (POST + b"Transfer-Encoding: klingon\r\n\r\n", 400),
    "Content-Length of a chunked body": (POST + CHUNKED + LENGTH + b"\r\n" + GOOD, 400),
    "negative Content-Length": (POST + b"Content-Length: -5\r\n\r\n" + GOOD, 400),
    "two Content-Lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD, 400),
    "absurd Content-Length": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + GOOD, 400),
    "garbage for a chunk": (POST + CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
    "chunk with another length": (POST + CHUNKED + b"\r\n3\r\nabcdef\r\n0\r\n\r\n", 400),
    "brotli": (POST + LENGTH + b"Content-Encoding: br\r\n\r\n" + GOOD, 415),
    "zstd": (POST + LENGTH + b"Content-Encoding: zstd\r\n\r\n" + GOOD, 415),
}


@pytest.mark.parametrize(("request_", "status"), MALFORMED.values(), ids=MALFORMED)
def test_a_request_that_is_none_is_answered_in_json(server: Server, request_: bytes, status: int) -> None:
    server.logged()

    assert problem(server.ask(request_))["status_code"] == status

    [line] = server.logged()
    assert " INFO tesgw.api.connections request cannot be read " in line
    assert "secret" not in line


HANDLED: dict[str, tuple[bytes, int]] = {
    "unknown Content-Encoding": (POST + LENGTH + b"Content-Encoding: klingon\r\n\r\n" + GOOD, 415),
    "two Content-Encodings": (POST + LENGTH + b"Content-Encoding: gzip, gzip\r\n\r\n" + GOOD, 415),
    "broken gzip": (POST + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + GOOD, 400),
    "broken gzip for nobody": (
        b"POST /nothing HTTP/1.1\r\n" + HOST + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + GOOD,
        404,
    ),
    "Expect": (POST + LENGTH + b"Expect: klingon\r\n\r\n" + GOOD, 417),
    "Expect of nobody": (b"GET /nothing HTTP/1.1\r\n" + HOST + b"Expect: klingon\r\n\r\n", 417),
}


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(("request_", "status"), HANDLED.values(), ids=HANDLED)
def test_what_cannot_be_met_is_answered_in_json(server: Server, request_: bytes, status: int, pieces: int) -> None:
    server.logged()
    head, end, body = request_.replace(HOST, HOST + b"Connection: close\r\n").partition(b"\r\n\r\n")

    answer = server.ask(head + end + body) if pieces == 1 else server.ask(head + end, body)

    assert problem(answer)["status_code"] == status
    assert server.logged() == []


@pytest.mark.parametrize("path", [b"/v1/tasks", b"/nothing"])
def test_a_client_that_goes_away_is_no_fault_of_the_gateway(server: Server, path: bytes) -> None:
    server.logged()

    server.ask(b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n", b"{", b"}", waits=False)
    server.ask(HEALTH + b"Connection: close\r\n\r\n")

    assert server.logged() == []


def test_garbage_after_a_request_does_not_spoil_its_answer(server: Server) -> None:
    first, _, rest = server.ask(HEALTH + b"\r\n", b"garbage\r\n\r\n").partition(b'{"status":"ok"}')

    assert first.startswith(b"HTTP/1.1 200 ")
    assert problem(rest)["status_code"] == 400


@pytest.mark.parametrize("body", [b"{", b"zz\r\n"], ids=["stops half-way", "garbage for a chunk"])
async def test_a_body_that_does_not_end_is_not_waited_for(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    async with serving(make_app(service(store)), listener, grace_seconds=0.1), asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(POST + (LENGTH if body == b"{" else CHUNKED) + b"\r\n")
        await asyncio.sleep(0.1)
        writer.write(body)
        answer = await reader.readuntil(b"}")
        writer.close()

    assert problem(answer) == {"status_code": 408, "msg": "The request body did not come to its end."}


async def test_a_fault_outside_of_every_middleware_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    @web.middleware
    async def broken(request: web.Request, handler: Any) -> web.StreamResponse:
        raise RuntimeError("secret")

    listener = socket.create_server(("127.0.0.1", 0))
    async with serving(web.Application(middlewares=[broken]), listener, grace_seconds=1):
        answer = await asyncio.to_thread(Server(listener.getsockname()[1], Path()).ask, GET + b"\r\n")

    assert problem(answer) == {"status_code": 500, "msg": "The gateway failed at this request; its log says why."}
    assert "secret" in caplog.text
