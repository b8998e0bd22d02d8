"""START HERE for the API: every path, and the order in which a request is guarded, answered and validated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp_apispec import validation_middleware
from yarl import URL

from tesgw.api.guard import make_guard
from tesgw.api.ids import TaskIds
from tesgw.api.openapi import OpenApi3
from tesgw.api.problems import answer_problems
from tesgw.api.service import DESCRIPTION, Service, ServiceInfo, version
from tesgw.api.tasks import ID, Tasks
from tesgw.model import Dialect

BASES = {"/ga4gh/tes/v1": Dialect.TES_1_1, "/v1": Dialect.TES_1_0}
BODY_MAX_BYTES = 32 * 1024 * 1024

_HERE = Path(__file__).parent
# Swagger UI styles its elements in place and shows its icons as data.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def make_app(service: Service) -> web.Application:
    """The API as an application of its own. It starts and ends nothing: `service` belongs to the caller."""
    guard = make_guard(service.cors_origins, is_loopback=service.is_loopback)
    app = web.Application(middlewares=[guard, answer_problems, validation_middleware], client_max_size=BODY_MAX_BYTES)
    info, ids = ServiceInfo(service), TaskIds(service.now)
    for base, dialect in BASES.items():
        app.add_routes(_task_routes(base, Tasks(service, dialect, ids), info))
    _add_pages(app)
    app.router.register_resource(CollapsedPath(app.router))
    return app


def _task_routes(base: str, tasks: Tasks, info: ServiceInfo) -> Iterator[web.RouteDef]:
    yield web.get(f"{base}/service-info", info.get)
    # Before `/tasks/{id}`: TES 1.0 asks for service-info here.
    yield web.get(f"{base}/tasks/service-info", info.get_old)
    yield web.get(f"{base}/tasks", tasks.list)
    yield web.post(f"{base}/tasks", tasks.create)
    yield web.get(f"{base}/tasks/{ID}", tasks.get)
    yield web.post(f"{base}/tasks/{ID}:cancel", tasks.cancel)


def _add_pages(app: web.Application) -> None:
    document = OpenApi3(app, title="tesgw", version=version(), info={"description": DESCRIPTION}).swagger_dict()
    body = orjson.dumps(document)
    page = (_HERE / "docs.html").read_bytes()

    async def openapi(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def docs(request: web.Request) -> web.Response:
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS)

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(body=b'{"status":"ok"}', content_type="application/json")

    async def home(request: web.Request) -> web.Response:
        raise web.HTTPFound("docs")

    async def from_below(request: web.Request) -> web.Response:
        raise web.HTTPFound("../docs")

    app.add_routes([web.get("/openapi.json", openapi), web.get("/docs", docs), web.get("/healthz", healthz)])
    app.add_routes([web.get("/", home), web.get("/docs/", from_below)])
    # aiohttp's route for a directory has answers of its own for files that it does not find.
    app.add_routes([web.get(f"/docs/{file.name}", _sender(file)) for file in (_HERE / "static").iterdir()])


def _sender(file: Path) -> Handler:
    async def send(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    return send


class CollapsedPath(web.PlainResource):
    """Routes a path with empty components as if it had none: clients join base URLs and paths carelessly.

    A redirect would turn their POST into a GET.
    """

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__("/")
        self._router = router

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        path = re.sub("/{2,}", "/", request.rel_url.raw_path)
        if path == request.rel_url.raw_path:
            return None, set()
        return await self._router.resolve(request.clone(rel_url=URL.build(path=path, encoded=True))), set()
