"""How requests are read: JSON whatever its type says, faults as `InvalidTask` and `InvalidQuery`."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from marshmallow import Schema, ValidationError
from webargs.multidictproxy import MultiDictProxy
from yarl import URL

from tesgw.api.problems import UNKNOWN_CODING, flatten
from tesgw.errors import InvalidQuery, InvalidTask

# JSON is UTF-8 (RFC 8259, 8.1). Java's HttpClient calls any string ISO-8859-1; what it holds is ASCII, or not JSON.
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1"}
# aiohttp has decoded these, or refused them where it cannot; of any other it hands over the bytes as they are.
_CODINGS = {"", "identity", "gzip", "deflate", "br", "zstd"}
# An escaped NUL, not an escaped backslash before "u0000".
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

# Above this a body takes so long that others would wait for it.
_SMALL_BODY_BYTES = 256 * 1024
# The longest body takes so long at 1 Mbit/s. Bodies that stop half-way, and chunks gone wrong, of which aiohttp does not
# tell whoever reads them, must not hold a connection for ever.
BODY_SECONDS = 300.0
# Engines ask with a handful of query strings, again and again. Long ones hold page tokens or names, and seldom come twice.
_REMEMBERED_QUERIES = 1000
_SHORT_QUERY = 500


class RequestParser:
    """What aiohttp-apispec's validation asks to read requests; webargs' own parser has other ideas of bodies and errors."""

    async def parse(self, schema: Schema, request: web.Request, *, location: str, unknown: None) -> dict[str, Any]:
        """The body or the query as the schema loads it. InvalidTask or InvalidQuery if it does not."""
        if location == "json":
            return await _load_body(schema, request)
        text = request.rel_url.raw_query_string
        # A copy: what is remembered belongs to nobody.
        return dict(_load_known_query(schema, text)) if len(text) <= _SHORT_QUERY else _load_query(schema, text)


async def _load_body(schema: Schema, request: web.Request) -> dict[str, Any]:
    body = await _read(request)
    if len(body) <= _SMALL_BODY_BYTES:
        return _load_task(schema, body)
    return await asyncio.to_thread(_load_task, schema, body)


async def _read(request: web.Request) -> bytes:
    if request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType(text="A task is a JSON document, not a form with parts.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "").lower() not in _CODINGS:
        raise web.HTTPUnsupportedMediaType(text=UNKNOWN_CODING)
    if (request.charset or "utf-8").lower() not in _CHARSETS:
        raise InvalidTask(f"The request body is in {request.charset!r}: JSON is UTF-8.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The request body did not come to its end.") from None
    except (HttpProcessingError, ClientPayloadError, web.RequestPayloadError, ConnectionError) as error:
        raise InvalidTask("The request body cannot be read: it is cut short, or not encoded as its headers say.") from error


def _load_task(schema: Schema, body: bytes) -> dict[str, Any]:
    document = _parse(body)
    try:
        task: dict[str, Any] = schema.load(document)
    except ValidationError as error:
        raise InvalidTask(*_told("task", error)) from error
    return task


def _parse(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidTask(f"The request body is not JSON: {error}.") from error
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidTask("The request body holds a NUL character.")
    return document


def _load_query(schema: Schema, text: str) -> dict[str, Any]:
    if "%00" in text:
        raise InvalidQuery("The query holds a NUL character.")
    sent: Any = URL.build(query_string=text, encoded=True).query
    try:
        query: dict[str, Any] = schema.load(MultiDictProxy(sent, schema))
    except ValidationError as error:
        raise InvalidQuery(*_told("query", error)) from error
    return query


_load_known_query = lru_cache(_REMEMBERED_QUERIES)(_load_query)


def _told(what: str, error: ValidationError) -> tuple[str, dict[str, list[str]]]:
    """The first fault as a sentence, and all of them by field."""
    fields = dict(flatten(error.messages))
    field, (sentence, *_rest) = next(iter(fields.items()))
    return f"The {what} is not valid: {field}: {sentence}", fields
