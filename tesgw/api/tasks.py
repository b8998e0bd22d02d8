"""The task operations of TES: create, list, get, cancel."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import orjson
from aiohttp import web

from tesgw.api.ids import TaskIds
from tesgw.api.openapi import endpoint
from tesgw.api.parameters import keep_supported, missing_outputs, unheeded_hints
from tesgw.api.parts import JsonParts
from tesgw.api.schemas import (
    EXAMPLE_TASK,
    CancelTaskResponseSchema,
    CreateTaskResponseSchema,
    ListQuerySchema,
    ListTasksResponseSchema,
    TaskSchema,
    ViewQuerySchema,
)
from tesgw.api.service import Service
from tesgw.errors import InvalidQuery
from tesgw.model import Dialect, MissingOutputs, View
from tesgw.states import State
from tesgw.store import NewTask, TaskQuery

ID = "{id:[0-9A-Za-z_-]+}"

_MISSING_OUTPUTS = {Dialect.TES_1_0: MissingOutputs.WARN, Dialect.TES_1_1: MissingOutputs.ERROR}


class Tasks:
    """The handlers for clients of one dialect."""

    def __init__(self, service: Service, dialect: Dialect, ids: TaskIds) -> None:
        self._service = service
        self._ids = ids
        self._dialect = dialect
        self._supported = service.supported_parameters

    @endpoint(
        "CreateTask",
        answer=CreateTaskResponseSchema,
        body=TaskSchema,
        example=EXAMPLE_TASK,
        problems=(400, 403, 408, 413, 415, 503),
    )
    async def create(self, request: web.Request) -> web.Response:
        """Take a task. The answer comes when the task is stored for good, before any work on it."""
        new = self._new_task(request["json"])
        await self._service.store.add(new)
        self._service.wake(new.id)
        return _json(orjson.dumps({"id": new.id}))

    @endpoint("ListTasks", answer=ListTasksResponseSchema, query=ListQuerySchema, problems=(400,))
    async def list(self, request: web.Request) -> web.Response:
        """The tasks that match all filters, newest first, page by page."""
        page = await self._service.store.page(_task_query(request["querystring"], self._dialect))
        return web.Response(body=JsonParts(page))

    @endpoint("GetTask", answer=TaskSchema(partial=True), query=ViewQuerySchema, problems=(400, 404))
    async def get(self, request: web.Request) -> web.Response:
        """One task, as much of it as the view shows."""
        view = View(request["querystring"]["view"])
        return _json(await self._service.store.get(request.match_info["id"], view, self._dialect))

    @endpoint("CancelTask", answer=CancelTaskResponseSchema, problems=(403, 404, 503))
    async def cancel(self, request: web.Request) -> web.Response:
        """End a task. One that has ended stays as it is; the request may be repeated."""
        task_id = request.match_info["id"]
        await self._service.store.cancel(task_id)
        self._service.wake(task_id)
        return _json(b"{}")

    def _new_task(self, document: dict[str, Any]) -> NewTask:
        service = self._service
        dropped = keep_supported(document.get("resources", {}), self._supported)
        hints = unheeded_hints(document, has_zones=service.has_zones, has_preemptible=service.has_preemptible)
        return NewTask(
            id=self._ids.new(),
            created=service.now(),
            backend=service.backend,
            document=document,
            missing_outputs=missing_outputs(document) or service.missing_outputs or _MISSING_OUTPUTS[self._dialect],
            warnings=(*dropped, *hints),
        )


def _task_query(query: dict[str, Any], dialect: Dialect) -> TaskQuery:
    keys, values = query["tag_key"], query["tag_value"]
    if len(values) > len(keys):
        raise InvalidQuery(
            "The query is not valid: tag_value: More values than keys.", {"tag_value": ["More values than keys."]}
        )
    return TaskQuery(
        name_prefix=query["name_prefix"],
        state=State(query["state"]) if "state" in query else None,
        tags=tuple(zip_longest(keys, values, fillvalue="")),
        page_size=query["page_size"],
        page_token=query["page_token"],
        view=View(query["view"]),
        dialect=dialect,
    )


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
