"""The API over the real store on SQLite in memory. Nothing runs the tasks."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from tesgw.api import Service, make_app
from tesgw.store import TaskStore

NOW = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
V1_1 = "/ga4gh/tes/v1"
V1_0 = "/v1"

Client = TestClient[web.Request, web.Application]
MakeClient = Callable[..., Awaitable[Client]]


@dataclass
class Gateway:
    """A client of the API, and what is behind it."""

    client: Client
    store: TaskStore
    woken: list[str] = field(default_factory=list)

    def post(self, task: Any, base: str = V1_1) -> AbstractAsyncContextManager[ClientResponse]:
        # As a stream: the client warns of large bodies that are bytes.
        body = io.BytesIO(orjson.dumps(task))
        return self.client.post(f"{base}/tasks", data=body, headers={"Content-Type": "application/json"})

    async def create(self, task: dict[str, Any], base: str = V1_1) -> str:
        async with self.post(task, base) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            assert list(body) == ["id"]
            return str(body["id"])

    async def refuse(self, task: Any) -> dict[str, Any]:
        """The errors that come back for a task."""
        async with self.post(task) as answer:
            body = await answer.json()
            assert answer.status == 400, body
            assert body["status_code"] == 400
            assert isinstance(body["msg"], str)
            errors: dict[str, Any] = body["errors"]
            return errors

    async def get(self, path: str, base: str = V1_1, status: int = 200) -> Any:
        async with self.client.get(f"{base}{path}") as answer:
            body = await answer.json()
            assert answer.status == status, body
            return body


def executor(**fields: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": ["true"], **fields}


def task(**fields: Any) -> dict[str, Any]:
    return {"executors": [executor()], **fields}


@pytest.fixture
async def store() -> AsyncIterator[TaskStore]:
    store = await TaskStore.open("sqlite+aiosqlite://")
    yield store
    await store.close()


def service(store: TaskStore, **changes: Any) -> Service:
    settings: dict[str, Any] = {
        "store": store,
        "backend": "local",
        "backend_parameters": {"vmsize": "The size of the machine."},
        "has_zones": False,
        "has_preemptible": False,
        "storage": ("file:///data",),
        "missing_outputs": None,
        "site_name": "Test site",
        "organization_name": "Test organization",
        "organization_url": "https://tes.example.org",
        "cors_origins": (),
        "is_loopback": True,
        "wake": lambda task_id: None,
        "now": lambda: NOW,
    }
    return Service(**settings | changes)


@pytest.fixture
def gateway_with(store: TaskStore, aiohttp_client: MakeClient) -> Callable[..., Awaitable[Gateway]]:
    """Make a gateway with other settings than the usual ones."""

    async def make(**changes: Any) -> Gateway:
        woken: list[str] = []
        app = make_app(service(store, wake=woken.append, **changes))
        # Without its checks the client joins "//v1" to its own URL as it is.
        client = await aiohttp_client(app, server_kwargs={"skip_url_asserts": True})
        return Gateway(client, store, woken)

    return make


@pytest.fixture
async def gateway(gateway_with: Callable[..., Awaitable[Gateway]]) -> Gateway:
    return await gateway_with()
