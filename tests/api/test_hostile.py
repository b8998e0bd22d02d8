"""Whatever a request holds, the answer is a status, a sentence and our JSON shape; never a 500."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from tests.api.conftest import V1_0, V1_1, Gateway, task

GOOD = orjson.dumps(task())
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}


async def problem(answer: ClientResponse) -> dict[str, Any]:
    body = await answer.json()
    assert set(body) <= {"status_code", "msg", "errors"}
    assert body["status_code"] == answer.status
    assert body["msg"]
    assert "Traceback" not in str(body)
    return dict(body)


def nested(depth: int) -> bytes:
    return b'{"executors":' + b"[" * depth + b"]" * depth + b"}"


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", JSON, 400),
    "null": (b"null", JSON, 400),
    "list": (b"[]", JSON, 400),
    "string": (b'"x"', JSON, 400),
    "number": (b"7", JSON, 400),
    "empty object": (b"{}", JSON, 400),
    "cut short": (GOOD[:-1], JSON, 400),
    "more after the end": (GOOD + b"{}", JSON, 400),
    "NaN": (b'{"resources":{"ram_gb":NaN},' + GOOD[1:], JSON, 400),
    "Infinity": (b'{"resources":{"ram_gb":-Infinity},' + GOOD[1:], JSON, 400),
    "overflow": (b'{"resources":{"ram_gb":1e999},' + GOOD[1:], JSON, 400),
    "huge integer": (b'{"resources":{"cpu_cores":' + b"9" * 5000 + b"}," + GOOD[1:], JSON, 400),
    "lone surrogate": (b'{"name":"\\ud800",' + GOOD[1:], JSON, 400),
    "lone surrogate in a key": (b'{"tags":{"\\udfff":"x"},' + GOOD[1:], JSON, 400),
    "surrogate in UTF-8": (b'{"name":"\xed\xa0\x80",' + GOOD[1:], JSON, 400),
    "NUL": (b'{"name":"a\\u0000b",' + GOOD[1:], JSON, 400),
    "NUL after an escaped backslash": (b'{"name":"\\\\\\u0000",' + GOOD[1:], JSON, 400),
    "NUL in a key": (b'{"tags":{"\\u0000":"x"},' + GOOD[1:], JSON, 400),
    "raw NUL": (b'{"name":"a\0b",' + GOOD[1:], JSON, 400),
    "deep": (nested(500), JSON, 400),
    "absurdly deep": (nested(200_000), JSON, 400),
    "absurdly deep where nobody looks": (b'{"x":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_000 + b"}", JSON, 400),
    "Latin-1": ('{"name":"ü"}'.encode("latin-1"), JSON, 400),
    "Latin-1 that says so": ('{"name":"ü"}'.encode("latin-1"), {"Content-Type": "text/plain; charset=ISO-8859-1"}, 400),
    "UTF-16": (GOOD.decode().encode("utf-16"), JSON, 400),
    "unknown charset": (GOOD, {"Content-Type": "application/json; charset=klingon"}, 400),
    "garbage gzip": (b"garbage", GZIP, 400),
    "gzip cut short": (gzip.compress(GOOD)[:-12], GZIP, 400),
    "garbage deflate": (b"\xff garbage", {**JSON, "Content-Encoding": "deflate"}, 400),
    "too long": (b'{"name":"' + b"x" * (32 * 2**20) + b'"}', JSON, 413),
    "gzip bomb": (gzip.compress(b'{"name":"' + b"x" * (33 * 2**20) + b'"}'), GZIP, 413),
    "multipart": (b"--x\r\n\r\n--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
}


@pytest.mark.parametrize(("body", "headers", "status"), BODIES.values(), ids=BODIES)
async def test_a_hostile_body_gets_a_4xx(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with gateway.client.post(f"{V1_1}/tasks", data=io.BytesIO(body), headers=headers) as answer:
        assert answer.status == status
        await problem(answer)

    assert await gateway.get("/tasks") == {"tasks": []}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}),
        (GOOD, {"Content-Type": "text/plain; charset=ISO-8859-1"}),
        (GOOD, {"Content-Type": ""}),
        (GOOD, {"Content-Type": "nonsense"}),
        (GOOD, {"Authorization": "Basic Tm9uZTpOb25l"}),
        (gzip.compress(GOOD), GZIP),
        (zlib.compress(GOOD), {**JSON, "Content-Encoding": "deflate"}),
    ],
)
async def test_what_clients_really_send_is_read_as_json(gateway: Gateway, body: bytes, headers: dict[str, str]) -> None:
    async with gateway.client.post(f"{V1_0}/tasks", data=io.BytesIO(body), headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_many_faults_do_not_make_a_long_answer(gateway: Gateway) -> None:
    sent = task(inputs=[{"path": "x" * 10_000}] * 1000)

    async with gateway.post(sent) as answer:
        assert answer.status == 400
        assert len((await problem(answer))["errors"]) == 100
        assert len(await answer.read()) < 200_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/tasks", 404),
        ("GET", "/ga4gh/tes/v1", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/tasks/unknown", 404),
        ("GET", "/v1/tasks/a%00b", 404),
        ("GET", "/v1/tasks/..%2f..%2fetc", 404),
        ("GET", "/docs/../../secrets", 404),
        ("GET", "/docs/..%2f..%2froutes.py", 404),
        ("GET", "/docs/%2e%2e/routes.py", 404),
        ("GET", "/docs/nothing", 404),
        ("GET", "/docs/" + "x" * 3000, 404),
        ("POST", "/v1/tasks/unknown:cancel", 404),
        ("DELETE", "/v1/tasks/unknown", 405),
        ("PUT", "/v1/tasks", 405),
        ("GET", "/v1/tasks/unknown:cancel", 405),
        ("POST", "/v1/service-info", 405),
        ("POST", "//v1//service-info", 405),
    ],
)
async def test_unknown_paths_and_methods_are_told_in_json(gateway: Gateway, method: str, path: str, status: int) -> None:
    async with gateway.client.request(method, path, allow_redirects=False) as answer:
        assert answer.status == status
        assert ("Allow" in answer.headers) == (status == 405)
        await problem(answer)


async def test_a_fault_of_the_gateway_is_logged_and_not_told(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    task_id = await gateway.create(task())
    await gateway.store.close()

    async with gateway.client.get(f"{V1_1}/tasks/{task_id}") as answer:
        assert answer.status == 500
        body = await problem(answer)

    assert body["msg"] == "The gateway failed at this request; its log says why."
    assert caplog.records[-1].exc_info
