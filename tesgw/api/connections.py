"""How the API is served: also what aiohttp answers before any middleware has our one JSON shape."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, InvalidURLError, LineTooLong

from tesgw.api.problems import FAILED, UNKNOWN_CODING, of_http, problem

log = logging.getLogger(__name__)

BACKLOG = 1024


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket, *, grace_seconds: float) -> AsyncIterator[None]:
    """Start the application and serve it at `listener`; at the end requests get `grace_seconds`, then it is cleaned up."""
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, shutdown_timeout=grace_seconds)
    try:
        await runner.setup()
        server = runner.server
        assert server is not None
        listening = await loop.create_server(lambda: _Connection(server, loop=loop), sock=listener, backlog=BACKLOG)
        try:
            yield
        finally:
            listening.close()
    finally:
        await runner.cleanup()


class _Connection(web.RequestHandler):
    """A client's connection. What it overrides is what `aiohttp.web.RequestHandler` calls where it answers by itself."""

    __slots__ = ()

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]  # None: no access log

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to bytes that are no request, or to a fault that no middleware saw; the connection closes after it."""
        if isinstance(exc, HttpProcessingError):
            status, sentence = _what_is_wrong(exc)
            log.info("request cannot be read", extra={"client": request.remote, "cause": sentence})
            answer = problem(status, sentence)
        else:
            super().handle_error(request, status, exc, message)  # logs it
            answer = problem(status, FAILED)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        # What the middlewares raise they have answered, but aiohttp looks at Expect before it calls them.
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = of_http(resp)
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A body that breaks after its request was answered is the client's fault, and nothing that we still want.
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


def _what_is_wrong(error: HttpProcessingError) -> tuple[int, str]:
    """A status and a sentence, for the client and for the log: of what was sent it repeats nothing, tokens least of all."""
    match error:
        case ContentEncodingError():
            return 415, UNKNOWN_CODING
        case LineTooLong(args=(_, limit, *_)):
            return 431, f"The request line or a header is longer than {limit} bytes."
        case InvalidURLError():
            return 400, "The URL of this request cannot be read."
    # After an empty line aiohttp shows the place.
    cause = " ".join(error.message.partition("\n\n")[0].split()).rstrip(".:")
    return 400, f"This is no HTTP request that can be read: {cause}."
