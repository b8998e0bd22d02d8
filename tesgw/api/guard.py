"""Who may ask from a browser: `Host`, `Origin` and CORS.

A web page must not drive a gateway on someone's laptop: not by posting to it across origins, and not by a name of its own
that it lets point to 127.0.0.1 (DNS rebinding). Clients that are no browsers send no `Origin` and are not concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from tesgw.api.problems import problem

_SAFE = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}
_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


def make_guard(origins: Collection[str], *, is_loopback: bool) -> Middleware:
    """Refuse what a foreign web page sends; tell browsers what the pages of `origins` (or `*`: of any) may read."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST)
        if is_loopback and host is not None and not _is_loopback_name(host):
            return problem(403, "The Host of this request is no name of this machine.")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return await handler(request)
        is_allowed = origin in origins or "*" in origins
        response = await _answer(request, handler, is_welcome=is_allowed or _is_same(origin, host))
        if is_allowed:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        return response

    return guard


async def _answer(request: web.Request, handler: Handler, *, is_welcome: bool) -> web.StreamResponse:
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers and request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers=_PREFLIGHT)
    if not is_welcome and request.method not in _SAFE:
        return problem(403, "The Origin of this request is not in CORS_ORIGINS.")
    return await handler(request)


def _is_same(origin: str, host: str | None) -> bool:
    return origin.partition("://")[2] == host


@lru_cache(maxsize=1024)
def _is_loopback_name(host: str) -> bool:
    try:
        name = URL(f"http://{host}").host or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
