"""What the client is asked to make, and services that answer as they like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from azure.batch import models
from azure.core.credentials import AzureNamedKeyCredential
from tesgw_batch.client import Batch

from tests.plugins.batch.fake_batch.double import ACCOUNT, KEY, pool, task

CREDENTIAL = AzureNamedKeyCredential(ACCOUNT, KEY)
ADD = "POST /jobs/{jobId}/addtaskcollection"


def described(pool_id: str = "pool") -> models.BatchPoolCreateOptions:
    return models.BatchPoolCreateOptions(pool(pool_id, targetDedicatedNodes=1))


def tasks(*ids: str, program: str = "endless") -> list[models.BatchTaskCreateOptions]:
    return [models.BatchTaskCreateOptions(task(each, program)) for each in ids]


@asynccontextmanager
async def answering(status: int, body: Any = None, **headers: str) -> AsyncIterator[Batch]:
    """A service that gives everybody the same answer."""

    async def answer(request: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=headers)
        return web.json_response(body, status=status, headers=headers) if body else web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    batch = Batch(f"http://127.0.0.1:{runner.addresses[0][1]}", CREDENTIAL)
    try:
        yield batch
    finally:
        await batch.close()
        await runner.cleanup()


def problem(code: str, text: str, **values: str) -> dict[str, Any]:
    details = [{"key": key, "value": value} for key, value in values.items()]
    return {"code": code, "message": {"lang": "en-US", "value": f"{text}\nRequestId:1\nTime:now"}, "values": details}


async def gone(batch: Batch) -> bool:
    return not await batch.pools("") and not await batch.jobs("")
