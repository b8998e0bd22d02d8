"""The OpenAPI document, made from the handlers and their schemas; also what validates their requests."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from aiohttp import web
from aiohttp_apispec import AiohttpApiSpec, docs, json_schema, querystring_schema, response_schema
from aiohttp_apispec.utils import get_path_keys
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls, resolve_schema_instance
from marshmallow import Schema

from tesgw.api.requests import RequestParser
from tesgw.api.schemas import ProblemSchema

H = TypeVar("H", bound=Callable[..., Awaitable[web.StreamResponse]])

_METHODS = {"get", "post", "put", "patch", "delete"}
_LOCATIONS = {"querystring": "query", "match_info": "path"}
_PROBLEMS = {
    400: "The request is malformed.",
    403: "The request comes from a foreign web page.",
    404: "There is no such task.",
    408: "The request body does not come to its end.",
    413: "The request body is too long.",
    415: "The request body cannot be JSON, or is in an unknown encoding.",
    503: "The database cannot be written now; nothing was changed.",
}


def endpoint(
    operation: str,
    *,
    answer: type[Schema] | Schema,
    body: type[Schema] | None = None,
    example: dict[str, Any] | None = None,
    query: type[Schema] | None = None,
    problems: Collection[int] = (),
) -> Callable[[H], H]:
    """Document a handler, its docstring included, and have its query and body validated before it runs.

    They arrive as `request["querystring"]` and `request["json"]`.
    """

    def decorate(handler: H) -> H:
        text = inspect.getdoc(handler) or ""
        decorated = docs(operationId=operation, summary=operation, description=text)(handler)
        decorated = response_schema(answer, 200, description="OK")(decorated)
        for status in problems:
            decorated = response_schema(ProblemSchema, status, description=_PROBLEMS[status])(decorated)
        if query:
            decorated = querystring_schema(query)(decorated)
        documented: H = json_schema(body, example=example)(decorated) if body else decorated
        return documented

    return decorate


class OpenApi3(AiohttpApiSpec):  # type: ignore[misc]  # it has no types
    """aiohttp-apispec 3.0.0b2 with OpenAPI 3 for Swagger 2, our request parser, and handlers that serve several paths.

    The original takes the schemas off a handler when it documents it, so that its second path has none, and tells
    operations apart by nothing but the id given with the handler.
    """

    def __init__(self, app: web.Application, **info: Any) -> None:
        super().__init__(url=None, title="", version="")
        self.plugin: Any = MarshmallowPlugin(schema_name_resolver=_schema_name)
        self.spec = APISpec(openapi_version="3.0.3", plugins=(self.plugin,), **info)
        self.register(app, in_place=True)
        app["_apispec_parser"] = RequestParser()

    def _update_paths(self, data: dict[str, Any], method: str, url_path: str) -> None:
        if method not in _METHODS:
            return
        old = url_path.startswith("/v1/")
        operation = {
            "operationId": data["operationId"] + ("_1_0" if old else ""),
            "tags": ["TES 1.0" if old else "TES 1.1"],
            "summary": data["summary"],
            "description": data["description"],
            "parameters": [_path_parameter(key) for key in get_path_keys(url_path)],
            "responses": {status: _response(response) for status, response in data["responses"].items()},
        }
        for schema in data["schemas"]:
            if schema["location"] == "json":
                operation["requestBody"] = {"required": True, "content": {"application/json": _content(schema)}}
            else:
                where = _LOCATIONS[schema["location"]]
                operation["parameters"] += self.plugin.converter.schema2parameters(schema["schema"], location=where)
        self.spec.path(path=url_path, operations={method: operation})


def _content(declared: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": declared["schema"]}
    if example := {key: value for key, value in declared.get("example", {}).items() if key != "add_to_refs"}:
        content["example"] = example
    return content


def _response(declared: dict[str, Any]) -> dict[str, Any]:
    return {"description": declared["description"], "content": {"application/json": _content(declared)}}


def _path_parameter(key: str) -> dict[str, Any]:
    return {"in": "path", "name": key, "required": True, "schema": {"type": "string"}}


def _schema_name(schema: Any) -> str:
    """`tesTask` for TaskSchema, as the specification calls it; `tesTaskView` where fields may be missing."""
    name = resolve_schema_cls(schema).__name__.removesuffix("Schema")  # type: ignore[union-attr]  # of one schema
    return f"tes{name}View" if resolve_schema_instance(schema).partial else f"tes{name}"
