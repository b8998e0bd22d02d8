"""Which error is which status, and the one JSON shape of all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from tesgw.errors import InvalidQuery, InvalidTask, StoreUnavailable, TaskNotFound

log = logging.getLogger(__name__)

# Whoever sends a million faults, or one of a million characters, need not read all of it.
_MAX_ERRORS = 100
_MAX_LENGTH = 500

UNKNOWN_CODING = "The request body has a Content-Encoding that is not known here: send it as it is, or as gzip or deflate."
FAILED = "The gateway failed at this request; its log says why."

_SENTENCES = {
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
    413: "The request body is longer than 32 MiB: give large inputs a url.",
    417: "Nothing but 100-continue can be expected here.",
}


def problem(
    status: int, sentence: str, fields: Mapping[str, Sequence[str]] | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer to a request that failed."""
    body: dict[str, Any] = {"status_code": status, "msg": sentence[:_MAX_LENGTH]}
    if fields:
        listed = islice(fields.items(), _MAX_ERRORS)
        body["errors"] = {field[:_MAX_LENGTH]: [text[:_MAX_LENGTH] for text in texts] for field, texts in listed}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into its answer. What nobody raised on purpose is logged, and none of it is told to the client."""
    try:
        return await handler(request)
    except StoreUnavailable as error:
        log.error("database unavailable", extra={"cause": str(error)})
        return problem(503, str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return of_http(error)
    except Exception as error:
        response = _answer(request, error)
    if request.content.exception():
        # The body broke while it was read, and the connection with it. aiohttp would read on, and log what it meets.
        request.content.feed_eof()
        response.force_close()
    return response


def _answer(request: web.Request, error: Exception) -> web.Response:
    match error:
        case InvalidTask() | InvalidQuery():
            return problem(400, str(error), error.fields)
        case TaskNotFound():
            return problem(404, str(error))
    log.error("request failed", exc_info=error, extra={"method": request.method, "path": request.path})
    return problem(500, FAILED)


def of_http(error: web.HTTPException) -> web.Response:
    """What aiohttp or a handler answers by raising, in our shape."""
    headers = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
    return problem(error.status, _SENTENCES.get(error.status, error.text or error.reason), headers=headers)


def flatten(messages: Any, at: str = "") -> Iterator[tuple[str, list[str]]]:
    """marshmallow's nested messages, one by one, under paths like `executors.0.command`."""
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            # `_schema` is about the whole, `value` about a map's value: both are what lies above them.
            own = "" if key == "_schema" else str(key)
            yield from flatten(below, ".".join(part for part in (at, own) if part))
    else:
        yield at or "body", [str(text) for text in messages]
