"""How requests are read: what is remembered, and what is done aside."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiohttp_apispec import validation_middleware
from marshmallow import Schema, post_load

from tesgw.api.openapi import OpenApi3, endpoint
from tesgw.api.requests import RequestParser
from tesgw.api.schemas import CancelTaskResponseSchema, Document, ListQuerySchema, ViewQuerySchema
from tesgw.errors import InvalidQuery
from tests.api.conftest import MakeClient


async def _query(schema: Schema, text: str) -> dict[str, Any]:
    request = make_mocked_request("GET", f"/tasks?{text}")
    return await RequestParser().parse(schema, request, location="querystring", unknown=None)


@pytest.mark.parametrize("prefix", ["%25a+b", "x" * 2000])
async def test_a_query_reads_the_same_however_often_it_comes(prefix: str) -> None:
    text = f"name_prefix={prefix}&tag_key=a&tag_key=b&tag_value=&page_size=7&surprise=1"
    schema = ListQuerySchema()

    first = await _query(schema, text)
    expected = {
        "name_prefix": prefix.replace("%25a+b", "%a b"),
        "tag_key": ["a", "b"],
        "tag_value": [""],
        "page_size": 7,
        "page_token": "",
        "view": "MINIMAL",
    }
    assert first == expected
    first.clear()
    assert await _query(schema, text) == expected


async def test_a_query_reads_by_the_schema_that_asks() -> None:
    assert await _query(ViewQuerySchema(), "view=FULL&state=PAUSED") == {"view": "FULL"}
    assert (await _query(ListQuerySchema(), "view=FULL&state=PAUSED"))["state"] == "PAUSED"


async def test_a_malformed_query_is_refused_however_often_it_comes() -> None:
    schema = ViewQuerySchema()

    for _ in range(2):
        with pytest.raises(InvalidQuery, match="The query is not valid: view: "):
            await _query(schema, "view=full")


async def test_others_are_answered_while_a_large_body_is_validated(aiohttp_client: MakeClient) -> None:
    loop = asyncio.get_running_loop()
    started, asked = asyncio.Event(), threading.Event()

    class Waiting(Document):
        @post_load
        def wait(self, data: Any, **_: Any) -> Any:
            loop.call_soon_threadsafe(started.set)
            assert asked.wait(timeout=5), "no other request was answered"
            return data

    @endpoint("Wait", answer=CancelTaskResponseSchema, body=Waiting)
    async def wait(request: web.Request) -> web.Response:
        return web.Response()

    async def other(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(middlewares=[validation_middleware])
    app.add_routes([web.post("/", wait), web.get("/", other)])
    OpenApi3(app, title="waiting", version="1")
    client = await aiohttp_client(app)
    large = io.BytesIO(orjson.dumps({"x": "x" * 300_000}))

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.post("/", data=large))
        await started.wait()
        assert (await client.get("/")).status == 200
        asked.set()
    assert waiting.result().status == 200
