"""What requests bring and what they are answered, for all kinds of resources alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tesgw_batch.fake_batch.account import Account
from tesgw_batch.fake_batch.filters import Allowed, predicate, selection
from tesgw_batch.fake_batch.problems import Problem, bad_query
from tesgw_batch.fake_batch.strict import check
from tesgw_batch.fake_batch.wire import Wire, headers

ACCOUNT = web.AppKey("account", Account)
PAGE = 1000
LARGEST = 1024**2


async def body(request: web.Request, model: type) -> Wire:
    """The body, of that model. Raises `Problem`."""
    kind = request.headers.get("Content-Type", "")
    if "application/json" not in kind:
        raise Problem(415, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
    text = await request.text()
    if len(text) > LARGEST:
        raise Problem(413, "RequestBodyTooLarge", "The size of the request body exceeds the maximum size permitted.")
    try:
        sent = json.loads(text)
    except ValueError as error:
        raise Problem(400, "InvalidRequestBody", "The specified request body is not syntactically valid.") from error
    given = check(model, sent)
    return {name: value for name, value in given.items() if value is not None}


async def optional_body(request: web.Request, model: type) -> Wire:
    """Nothing, if there is none."""
    return await body(request, model) if request.body_exists and await request.text() else {}


def changed(request: web.Request, wire: Wire, status: int) -> web.Response:
    """An answer that says which version of the resource there is now."""
    now = request.app[ACCOUNT].world.clock.now()
    return web.Response(status=status, headers={**headers(wire, now), "DataServiceId": str(request.url)})


def one(request: web.Request, wire: Wire, model: type) -> web.Response:
    """The resource, or what of it was selected."""
    _no_expansion(request)
    select = request.query.get("$select")
    shown = selection(select, model)(wire) if select else wire
    now = request.app[ACCOUNT].world.clock.now()
    more = headers(wire, now) if "eTag" in wire else {}
    return _json(request, {**shown}, more)


def many(request: web.Request, wires: Iterable[Wire], model: type, allowed: Allowed, key: str = "id") -> web.Response:
    """A page of those that the filter lets through, in the order of their keys, with a link to the next one."""
    _no_expansion(request)
    if text := request.query.get("$filter"):
        asked = predicate(text, allowed)
        wires = (wire for wire in wires if asked(wire))
    after, size = request.query.get("$skiptoken", ""), _size(request)
    found = sorted((wire for wire in wires if wire[key] > after), key=lambda wire: str(wire[key]))
    answer: Wire = {"value": found[:size]}
    if len(found) > size:
        answer["odata.nextLink"] = str(request.url.update_query({"$skiptoken": found[size - 1][key]}))
    if select := request.query.get("$select"):
        answer["value"] = list(map(selection(select, model), answer["value"]))
    return _json(request, answer)


def _json(request: web.Request, shown: Wire, more: dict[str, str] | None = None) -> web.Response:
    answer: Any = {"odata.metadata": f"{request.url.origin()}/$metadata#{request.path.strip('/')}", **shown}
    return web.json_response(answer, headers=more)


def _no_expansion(request: web.Request) -> None:
    if expand := request.query.get("$expand"):
        raise bad_query("$expand", expand, "The double of Azure Batch has no statistics.")


def _size(request: web.Request) -> int:
    text = request.query.get("maxresults", str(PAGE))
    if not text.isdecimal() or not 1 <= int(text) <= PAGE:
        raise bad_query("maxresults", text, f"It is no number from 1 to {PAGE}.")
    return int(text)
